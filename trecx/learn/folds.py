"""Training data in parts, each left out of one training: what an exit that never saw a sample says of it.

On a frozen backbone only the heads learn, so heads that were trained without a sample answer it as they would a new
one, and there are many more of these answers for thresholds to be chosen on. They are another head's than the
firmware's, which learned from all: where it is surer, losses look smaller than they are, so whoever uses them must see
that both let the same shares leave (`steps/left_out.py`). The backbone may have seen both kinds of samples; then its
final exit is too right on either, which makes the loss look larger than it is.

Source: cross-validation's out-of-fold predictions; for bounds of a model that is trained on all, R. F. Barber et al.,
"Predictive inference with the jackknife+", arXiv:1905.02928.
"""

from dataclasses import replace

import numpy as np

from mlperf_tiny.task import Data, Split

# Answers of emulators and compilers take time, and beyond so many samples bounds hardly move.
MOST = 10_000


def parts(split: Split, count: int, seed: int) -> np.ndarray:
    """The part of each training sample, int `(n,)` from 0 to `count` - 1: groups stay together."""
    rng = np.random.default_rng((seed, count))
    alone = np.char.add("\0", np.arange(len(split)).astype(str))  # no group is called so
    group = alone if split.group is None else np.where(split.group == "", alone, split.group)
    _, members, sizes = np.unique(group, return_inverse=True, return_counts=True)
    part, filled = np.empty(len(sizes), np.int64), np.zeros(count)
    for one in rng.permutation(len(sizes)):
        part[one] = filled.argmin()
        filled[part[one]] += sizes[one]
    return part[members]


def without(data: Data, part: np.ndarray, number: int) -> Data:
    """The data without one part of the training samples; nobody judges it, so test samples are not in it."""
    return replace(data, train=data.train.rows(part != number), test=data.validation)


def left_out(data: Data, part: np.ndarray, number: int, seed: int) -> Split:
    """Samples of one part on which thresholds may be chosen: those that are like the validation samples for it.

    Augmented copies, and sources of which validation has none, are not. At most an equal share of `MOST`, at random.
    """
    train, like = data.train, data.validation.of(data.calibration)
    wanted = part == number
    if train.source is not None and like.source is not None:
        wanted = wanted & np.isin(train.source, np.unique(like.source))
    rows = np.flatnonzero(wanted)
    most = MOST // (int(part.max()) + 1)
    chosen = np.random.default_rng((seed, number)).permutation(rows)[:most]
    return train.rows(np.sort(chosen))
