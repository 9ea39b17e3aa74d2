"""How right and how cheap a model with exits is, on one split, at the thresholds in force and at all others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from trecx.decision import Criterion
from trecx.errors import TrecxError
from trecx.judge.calibrate import break_even, thresholds
from trecx.judge.losses import paired_interval
from trecx.judge.quality import Quality, auroc, quality
from trecx.judge.sweep import Sweep, sweep
from trecx.judge.trace import Trace

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Accuracy:
    """Share of right answers with its 95 % Wilson interval, and on what it was measured."""

    value: float
    low: float
    high: float
    right: int
    samples: int
    split: str


@dataclass(frozen=True)
class ExitEvaluation:
    """One exit: MACs from input to its answer, every head on the way included; how many leave there.

    `accuracy` is over all samples, `accuracy_taken` over those that leave here (None if nobody does). `auroc` is the
    chance that a right answer of this exit has a higher score than a wrong one (0.5: the score says nothing); None for
    the final exit and where all answers are right, or all wrong. `quality` is None where no scale of logits is.
    """

    name: str
    macs: int
    accuracy: Accuracy
    taken: int
    rate: float
    accuracy_taken: Accuracy | None
    auroc: float | None
    quality: Quality | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """Accuracy against mean MACs over all attainable thresholds, from "never" upwards; arrays `(points,)`.

    `limits` is `(points, early exits)`; `thresholds` has those of a point. At the last point every sample leaves early.
    A threshold of None is "never".
    """

    decisions: tuple[Criterion, ...]
    limits: np.ndarray
    exit_rate: np.ndarray
    accuracy: np.ndarray
    macs: np.ndarray

    def thresholds(self, point: int) -> tuple[float | None, ...]:
        """The thresholds of a point."""
        return thresholds(self.decisions, self.limits[point])


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model with exits on one split.

    `macs_worst`, `macs_mean`, `macs_backbone` per inference; `saving` is the share of the backbone's MACs saved in the
    mean. `loss` is the accuracy lost against the backbone alone, in points (None where it was not run), and
    `loss_interval` its paired 95 % interval. `overthinking`
    is the share of samples that an early exit gets right and the final one wrong; `oracle` the accuracy if every sample
    left at its first right exit, `oracle_macs` the mean cost of that. `random_exit` is the accuracy of leaving at
    random at the same exit rates, `most_frequent` that of always naming the most frequent class. `ended` is the share
    of inferences that end at each exit: where the surest of all answers they go the whole way, whichever that is.
    """

    split: str
    samples: int
    exits: tuple[ExitEvaluation, ...]
    with_exits: Accuracy
    backbone: Accuracy | None
    loss: float | None
    loss_interval: tuple[float, ...] | None
    ended: tuple[float, ...]
    exit_rate: float
    macs_worst: int
    macs_mean: float
    macs_backbone: int
    saving: float
    break_even: float
    overthinking: float
    oracle: float
    oracle_macs: float
    random_exit: float
    most_frequent: float
    thresholds: tuple[float | None, ...]
    curve: Curve


def accuracy(right: int, samples: int, split: str) -> Accuracy:
    """A share with Wilson's 95 % interval, which stays inside [0, 1] and is honest near its ends."""
    if not 0 <= right <= samples or samples == 0:
        raise TrecxError(f"{right} right answers of {samples} samples make no accuracy.")
    share, z2 = right / samples, _Z95**2
    middle = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    half = _Z95 * sqrt(share * (1 - share) / samples + z2 / (4 * samples**2)) / (1 + z2 / samples)
    return Accuracy(share, max(0.0, middle - half), min(1.0, middle + half), right, samples, split)


def evaluate(
    trace: Trace,
    decisions: Sequence[Criterion],
    limits: Sequence[int],
    names: Sequence[str],
    macs: Sequence[int],
    macs_backbone: int,
    split: str,
    backbone_right: np.ndarray | None = None,
    scales: Sequence[float] = (),
) -> Evaluation:
    """Judge a labelled trace.

    `decisions` and their `limits` belong to the early exits, or to all; `names` and `macs` (from input to answer) to
    all exits; `macs_backbone` is the backbone alone, without any exit; `backbone_right`, bool `(n,)`, its answers on
    the same samples. The exits taken are the trace's own, which on a device are the device's. `scales` are those of the
    exits' logits.
    """
    if not len(names) == len(macs) == trace.exits or trace.exits - len(limits) not in (0, 1):
        raise TrecxError(
            f"The trace has {trace.exits} exits; there are {len(names)} names, {len(macs)} MAC counts and "
            f"{len(limits)} limits.",
            "Give a name and MACs for each exit and a limit for each early one.",
        )
    if backbone_right is not None and len(backbone_right) != len(trace):
        raise TrecxError(
            f"The backbone answered {len(backbone_right)} samples, the trace has {len(trace)}.",
            "Run both on the same split.",
        )
    right = trace.right()
    swept = sweep(trace, decisions)
    ended = _ended(trace, decisions, limits)
    rates = np.bincount(ended, minlength=trace.exits) / len(trace)
    answered = right[np.arange(len(trace)), trace.exit_taken]
    with_exits = accuracy(int(answered.sum()), len(trace), split)
    backbone = None if backbone_right is None else accuracy(int(np.sum(backbone_right)), len(trace), split)
    mean = float(rates @ np.asarray(macs))
    first_right = np.where(right.any(axis=1), right.argmax(axis=1), 0)
    return Evaluation(
        split=split,
        samples=len(trace),
        exits=tuple(
            replace(
                _exit(trace, right, decisions, k, names[k], macs[k], split),
                quality=_quality(trace, decisions, k, scales[k]) if scales else None,
            )
            for k in range(trace.exits)
        ),
        with_exits=with_exits,
        backbone=backbone,
        loss=None if backbone is None else 100.0 * (backbone.right - with_exits.right) / len(trace),
        loss_interval=None if backbone_right is None else _loss_interval(backbone_right, answered),
        ended=tuple(rates.tolist()),
        exit_rate=float(1.0 - rates[-1]),
        macs_worst=int(macs[-1]),
        macs_mean=mean,
        macs_backbone=macs_backbone,
        saving=1.0 - mean / macs_backbone,
        break_even=break_even(macs, macs_backbone, [float(r) for r in rates[:-1]]),
        overthinking=float((right[:, :-1].any(axis=1) & ~right[:, -1]).mean()),
        oracle=float(right.any(axis=1).mean()),
        oracle_macs=float(np.asarray(macs, np.float64)[first_right].mean()),
        random_exit=float(rates @ right.mean(axis=0)),
        most_frequent=float(np.unique(np.asarray(trace.labels), return_counts=True)[1].max() / len(trace)),
        thresholds=thresholds(decisions[: trace.exits - 1], limits),
        curve=_curve(swept, macs, decisions[: trace.exits - 1]),
    )


def _loss_interval(reference: np.ndarray, answered: np.ndarray) -> tuple[float, ...]:
    """95 % interval of the points lost, from the samples that only one of the two gets right."""
    only_reference, only_exits = int((reference & ~answered).sum()), int((answered & ~reference).sum())
    return tuple(100.0 * bound for bound in paired_interval(only_reference, only_exits, len(answered)))


def _ended(trace: Trace, decisions: Sequence[Criterion], limits: Sequence[int]) -> np.ndarray:
    """Where each inference ended: where it was answered, or at the last exit where the surest of all answered."""
    if len(decisions) < trace.exits:
        return trace.exit_taken
    within = trace.decided(decisions)[:, :-1] <= np.asarray(limits[:-1], np.int64)
    return np.where(within.any(axis=1), trace.exit_taken, trace.exits - 1)


def _exit(
    trace: Trace, right: np.ndarray, decisions: Sequence[Criterion], index: int, name: str, macs: int, split: str
) -> ExitEvaluation:
    here = trace.exit_taken == index
    taken = int(here.sum())
    early = index < trace.exits - 1
    return ExitEvaluation(
        name=name,
        macs=int(macs),
        accuracy=accuracy(int(right[:, index].sum()), len(trace), split),
        taken=taken,
        rate=taken / len(trace),
        accuracy_taken=accuracy(int(right[here, index].sum()), taken, split) if taken else None,
        auroc=auroc(trace.decided(decisions)[:, index], right[:, index]) if early else None,
    )


def _quality(trace: Trace, decisions: Sequence[Criterion], index: int, scale: float) -> Quality:
    """The quality of an exit's scores; its gate's statistic too, where it decides by one."""
    gated = index < len(decisions) and decisions[index].gate
    decided = {"gate": trace.decided(decisions)[:, index]} if gated else {}
    return quality(trace.logits[:, index], scale, np.asarray(trace.labels), decided)


def _curve(swept: Sweep, macs: Sequence[int], decisions: Sequence[Criterion]) -> Curve:
    return Curve(
        decisions=tuple(decisions),
        limits=swept.limits,
        exit_rate=swept.exit_rate,
        accuracy=swept.accuracy,
        macs=swept.mean_cost(macs),
    )
