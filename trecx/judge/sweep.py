"""Everything that thresholds can do to a trace, counted exactly.

The device leaves where a statistic is within a limit, so between two neighbouring statistics that occur in a trace no
decision changes: trying each of them, and "never", is trying every threshold. One sort and running sums do it, without
running the model again. Accuracy is a step function of the threshold: a numeric search would miss its optima.

Several early exits are loosened together, along one *path* of limits, each point at least as loose as the one before:
they share one threshold where they have one criterion whose statistics can be compared, as in T-RecX's evaluation;
where they have not, each exit's limit is the same quantile of its own statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trecx.decision import NEVER, Criterion
from trecx.errors import TrecxError
from trecx.judge.trace import Trace


@dataclass(frozen=True, eq=False)
class Sweep:
    """What each point of the path of limits does to the samples of a trace, from "never" upwards.

    `limits`: int64 `(points, early exits)`, rising, the first are `NEVER`.
    `taken`: int64 `(points, exits)`, samples whose inference ends at each exit.
    `right`: int64 `(points, exits)`, those of them that are answered right.
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


@dataclass(frozen=True, eq=False)
class Places:
    """Where on the path of limits each sample leaves at each exit.

    `limits`: int64 `(points, early exits)`. `intervals`: int64 `(n, exits, 2)`, the points [from, until). Where `until`
    is not above `from`, that exit never ends the inference of that sample.
    """

    limits: np.ndarray
    intervals: np.ndarray

    def count(self, weight: np.ndarray) -> np.ndarray:
        """Sum of `weight` `(n, exits)` over the samples that leave at each exit, `(points, exits)`, of its type."""
        points = len(self.limits)
        totals = np.zeros((points + 1, self.intervals.shape[1]), weight.dtype)
        for exit_index in range(self.intervals.shape[1]):
            from_, until = self.intervals[:, exit_index, 0], self.intervals[:, exit_index, 1]
            leaves = from_ < until
            np.add.at(totals[:, exit_index], from_[leaves], weight[leaves, exit_index])
            np.subtract.at(totals[:, exit_index], until[leaves], weight[leaves, exit_index])
        return np.cumsum(totals, axis=0)[:-1]


def sweep(trace: Trace, decisions: Sequence[Criterion]) -> Sweep:
    """All points of the path of limits of a labelled trace."""
    found = places(trace, decisions)
    return Sweep(
        limits=found.limits,
        taken=found.count(np.ones((len(trace), trace.exits), np.int64)),
        right=found.count(rights(trace, decisions).astype(np.int64)),
        samples=len(trace),
    )


def rights(trace: Trace, decisions: Sequence[Criterion]) -> np.ndarray:
    """Whether a sample is answered right where its inference ends at each exit, bool `(n, exits)`.

    At the last exit the surest may answer, where that decides too.
    """
    return answering(trace, decisions, trace.right())


def answering(trace: Trace, decisions: Sequence[Criterion], of_exits: np.ndarray) -> np.ndarray:
    """What is known of each exit's answer, `(n, exits)`, with the surest's at the last exit where that decides too."""
    if len(decisions) != trace.exits or trace.exits == 1:
        return of_exits
    found, surest = of_exits.copy(), trace.exits - 1 - trace.decided(decisions)[:, ::-1].argmin(axis=1)
    found[:, -1] = of_exits[np.arange(len(trace)), surest]
    return found


def places(trace: Trace, decisions: Sequence[Criterion]) -> Places:
    """Where on the path of limits each sample leaves; TrecxError for a trace without samples or of another model."""
    if len(trace) == 0:
        raise TrecxError("The trace has no samples.", "Calibration and evaluation need at least one.")
    if not trace.exits - 1 <= len(decisions) <= trace.exits:
        raise TrecxError(f"{len(decisions)} decisions for {trace.exits - 1} early exits.", "Give one for each.")
    early = trace.decided(decisions)[:, : trace.exits - 1].astype(np.int64)
    return _placed(early, path(early, decisions[: trace.exits - 1]))


def places_at(trace: Trace, decisions: Sequence[Criterion], limits: np.ndarray) -> Places:
    """Where samples of another trace of the same model leave on a given path of limits."""
    return _placed(trace.decided(decisions)[:, : trace.exits - 1].astype(np.int64), limits)


def _placed(early: np.ndarray, limits: np.ndarray) -> Places:
    """Where samples with these statistics `(n, early exits)` leave on a path of limits."""
    columns = [np.searchsorted(limits[:, k], early[:, k]) for k in range(early.shape[1])]
    first = np.stack([*columns, np.zeros(len(early), np.int64)], axis=1)
    before = np.full((len(early), 1), len(limits), np.int64)
    until = np.minimum.accumulate(np.concatenate([before, first[:, :-1]], axis=1), axis=1)
    return Places(limits, np.stack([np.minimum(first, len(limits)), until], axis=-1))


def path(statistics: np.ndarray, decisions: Sequence[Criterion]) -> np.ndarray:
    """Limits of the early exits, int64 `(points, early exits)`, each row at least as loose as the one before.

    `statistics` is int64 `(n, early exits)`. The first row is "never".
    """
    early = statistics.shape[1]
    if early == 0:
        return np.zeros((1, 0), np.int64)
    if early == 1 or (len({one.name for one in decisions}) == 1 and decisions[0].comparable):
        shared = np.unique(np.concatenate([[NEVER], statistics.reshape(-1)]))
        return np.repeat(shared[:, None], early, axis=1)
    never = np.full((1, early), NEVER, np.int64)
    return np.unique(np.concatenate([never, np.sort(statistics, axis=0)]), axis=0)
