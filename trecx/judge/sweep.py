"""Everything that a threshold can do to a trace, counted exactly.

The device leaves where `criteria.sums(logits) <= limit`, so between two neighbouring sums that occur in a trace no
decision changes: trying each of them, and "never", is trying every threshold. One sort and running sums do it, without
running the model again. Accuracy is a step function of the threshold: a numeric search would miss its optima.

All early exits share one threshold, as in T-RecX's evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trecx import criteria
from trecx.errors import TrecxError
from trecx.judge.trace import Trace

_BEYOND = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Sweep:
    """What each attainable limit does to the samples of a trace, from "never" upwards.

    `limits`: int64 `(points,)`, rising, the first is `criteria.NEVER`.
    `taken`: int64 `(points, exits)`, samples that leave at each exit.
    `right`: int64 `(points, exits)`, those of them whose answer there is right.
    `samples`: number of samples.
    """

    limits: np.ndarray
    taken: np.ndarray
    right: np.ndarray
    samples: int

    @property
    def exit_rate(self) -> np.ndarray:
        """Share of samples that leave before the final exit, `(points,)`."""
        return 1.0 - self.taken[:, -1] / self.samples

    @property
    def accuracy(self) -> np.ndarray:
        """Share of right answers, `(points,)`."""
        return np.asarray(self.right.sum(axis=1) / self.samples)

    def mean_cost(self, costs: Sequence[float]) -> np.ndarray:
        """Mean cost per sample, `(points,)`, for the cost from input to each exit's answer (MACs or instructions)."""
        return np.asarray(self.taken @ np.asarray(costs, np.float64) / self.samples)


def sweep(trace: Trace, scales: Sequence[float]) -> Sweep:
    """All attainable limits of a labelled trace; `scales` are those of the early exits' logits."""
    intervals = exit_intervals(trace, scales)
    limits = attainable(intervals)
    return Sweep(
        limits=limits,
        taken=count(intervals, limits, np.ones((len(trace), trace.exits), np.int64)),
        right=count(intervals, limits, trace.right().astype(np.int64)),
        samples=len(trace),
    )


def exit_intervals(trace: Trace, scales: Sequence[float]) -> np.ndarray:
    """For which limits each sample leaves at each exit: int64 `(n, exits, 2)`, [from, until).

    Exit k answers from its own sum on, as long as the limit stays below the sums of all earlier exits; the final exit
    answers from 0 on. Where `until` is not above `from`, that exit never answers for that sample.
    """
    if len(trace) == 0:
        raise TrecxError("The trace has no samples.", "Calibration and evaluation need at least one.")
    if len(scales) != trace.exits - 1:
        raise TrecxError(f"{len(scales)} logit scales for {trace.exits - 1} early exits.", "Give one for each.")
    early = [criteria.sums(trace.logits[:, k], scales[k]).astype(np.int64) for k in range(len(scales))]
    from_ = np.stack([*early, np.zeros(len(trace), np.int64)], axis=1)
    before = np.full((len(trace), 1), _BEYOND, np.int64)
    until = np.minimum.accumulate(np.concatenate([before, *(e[:, None] for e in early)], axis=1), axis=1)
    return np.stack([from_, until], axis=-1)


def attainable(intervals: np.ndarray) -> np.ndarray:
    """The limits at which a decision changes, rising, "never" first."""
    return np.unique(np.concatenate([[criteria.NEVER], intervals[:, :-1, 0].reshape(-1)]))


def count(intervals: np.ndarray, limits: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sum of `weight` `(n, exits)` over the samples that leave at each exit, `(points, exits)`, for every limit."""
    totals = np.zeros((len(limits) + 1, intervals.shape[1]), np.int64)
    for exit_index in range(intervals.shape[1]):
        from_, until = intervals[:, exit_index, 0], intervals[:, exit_index, 1]
        answers = from_ < until
        np.add.at(totals[:, exit_index], np.searchsorted(limits, from_[answers]), weight[answers, exit_index])
        np.subtract.at(totals[:, exit_index], np.searchsorted(limits, until[answers]), weight[answers, exit_index])
    return np.cumsum(totals, axis=0)[:-1]
