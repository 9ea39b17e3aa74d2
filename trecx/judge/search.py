"""Which early exits to use and at what limits: found on recorded answers, without running any network.

A configuration says for each early exit at which limit it answers, or that it is not computed at all. Every one is a
trade of accuracy for cost; a search finds many of them, of which those that no other beats in both are kept.

Source: Q. Wang et al., "DyCE", arXiv:2403.01695: the objective lambda (1 - accuracy / base) + (1 - lambda) cost / base,
over many lambda; one pass over the taps in order, and then circular: the best change of one tap until none helps. Where
the authors minimise over a threshold by a bounded search for a minimum, all limits are tried here by one sort and
running sums: accuracy is a step function of a threshold, and such a search misses its optima. Where samples are few
the searches are cautious, as the authors' are: an exit counts as right as often as it is with 90 % probability.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from trecx.decision import NEVER
from trecx.judge.caution import at_least

# Weights of accuracy in the objective. The authors take 0.5 to 1.05; below it are configurations that save more.
MOST_STARTS = 6
LAMBDAS = np.arange(0.0, 1.0501, 0.025)


@dataclass(frozen=True)
class Costs:
    """What inference costs, in MACs or instructions.

    `shared`: from the input to each exit, the final one too, without what only early exits compute; `heads`: what each
    early exit adds to every path that comes by it, where it is used.
    """

    shared: tuple[float, ...]
    heads: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Recorded:
    """What a model answered: `statistics` uint32 `(n, early exits)`, `right` bool `(n, exits)`.

    `taps` groups the early exits that read one tap, of which a configuration uses one at most. A `cautious` search
    takes of each exit what it is right at least in place of what was observed; an `Outcome` is what was observed.
    """

    statistics: np.ndarray
    right: np.ndarray
    costs: Costs
    taps: tuple[tuple[int, ...], ...]
    cautious: bool = False

    def __len__(self) -> int:
        return len(self.right)


Progress = Callable[[int, int], None]
# A limit for each early exit; None where it is not computed.
Limits = tuple[int | None, ...]


@dataclass(frozen=True)
class Outcome:
    """What a configuration does to recorded samples: how many leave at each exit, the share right, the mean cost."""

    limits: Limits
    taken: tuple[int, ...]
    accuracy: float
    cost: float


def outcome(recorded: Recorded, limits: Limits) -> Outcome:
    """What a configuration does."""
    taken, cost = _path(recorded, limits)
    right = recorded.right[np.arange(len(recorded)), taken]
    counts = np.bincount(taken, minlength=recorded.right.shape[1])
    return Outcome(limits, tuple(counts.tolist()), float(right.mean()), float(cost.mean()))


class Trade(Protocol):
    """What costs something and is right so often."""

    @property
    def accuracy(self) -> float:
        """The share of right answers."""

    @property
    def cost(self) -> float:
        """The mean cost of an inference."""


OfTrade = TypeVar("OfTrade", bound=Trade)


def pareto(outcomes: Iterable[OfTrade]) -> tuple[OfTrade, ...]:
    """Those that no other beats in accuracy and cost, the cheapest first; of equals the first."""
    best: list[OfTrade] = []
    for one in sorted(outcomes, key=lambda o: (o.cost, -o.accuracy)):
        if not best or one.accuracy > best[-1].accuracy:
            best.append(one)
    return tuple(best)


def search(recorded: Recorded, progress: Progress = lambda done, total: None) -> tuple[Outcome, ...]:
    """The configurations that no other one found beats; with one early exit all there are, else by the two searches.

    Everything that the searches look at on their way is a candidate, not only where they end.
    """
    none: Limits = (None,) * recorded.statistics.shape[1]
    seen = _Seen(recorded)
    # From each exit alone as well, unless that would take minutes.
    alone = [_with(none, k, int(recorded.statistics[:, k].max())) for k in range(len(none))]
    first = alone if len(none) <= MOST_STARTS else []
    for done, weight in enumerate(LAMBDAS.tolist()):
        progress(done, len(LAMBDAS))
        for start in (none, *first):
            _descend(seen, weight, start)
    progress(len(LAMBDAS), len(LAMBDAS))
    return pareto(outcome(recorded, limits) for limits in seen.kept())


def thinned(outcomes: Sequence[Outcome], count: int) -> tuple[Outcome, ...]:
    """At most so many of these, both ends and the rest evenly by cost; of one, that in the middle."""
    if count == 1 and outcomes:
        return (outcomes[len(outcomes) // 2],)
    if len(outcomes) <= count:
        return tuple(outcomes)
    costs = np.array([one.cost for one in outcomes])
    wanted = np.linspace(costs[0], costs[-1], count)
    return tuple(outcomes[k] for k in sorted({int(np.abs(costs - at).argmin()) for at in wanted}))


def _path(recorded: Recorded, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """The exit that each sample takes, and what it costs."""
    last = recorded.right.shape[1] - 1
    taken = np.full(len(recorded), last)
    for k in reversed(range(last)):
        limit = limits[k]
        if limit is not None:
            taken[recorded.statistics[:, k] <= limit] = k
    used = [head if limit is not None else 0.0 for head, limit in zip(recorded.costs.heads, limits, strict=True)]
    before = np.cumsum([*used, 0.0])
    return taken, (np.asarray(recorded.costs.shared) + before)[taken]


def _counts(recorded: Recorded, taken: np.ndarray) -> tuple[np.ndarray, ...]:
    """How many samples leave at each exit and how many of them are right."""
    exits = recorded.right.shape[1]
    right = recorded.right[np.arange(len(recorded)), taken]
    return np.bincount(taken, minlength=exits), np.bincount(taken[right], minlength=exits)


def _believed(recorded: Recorded, taken: np.ndarray, right: np.ndarray) -> Any:
    """The accuracy where so many `(…, exits)` leave and are right: what is observed, or at least so by each exit."""
    shares = taken * at_least(right, taken - right) if recorded.cautious else right
    return shares.sum(axis=-1) / len(recorded)


class _Seen:
    """What searches have looked at: all limits of one exit with the others as they are, each such row computed once."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self._rows: dict[tuple[Limits, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._plain: dict[Limits, tuple[float, float]] = {}
        self.base = self.plain((None,) * recorded.statistics.shape[1])

    def plain(self, limits: Limits) -> tuple[float, float]:
        """The accuracy that the search believes of a configuration, and its mean cost."""
        if limits not in self._plain:
            taken, cost = _path(self.recorded, limits)
            self._plain[limits] = _believed(self.recorded, *_counts(self.recorded, taken)), float(cost.mean())
        return self._plain[limits]

    def row(self, without: Limits, exit_: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Limits of an exit, with the accuracy that the search believes and the mean cost at each."""
        if (without, exit_) not in self._rows:
            self._rows[without, exit_] = _every_limit(self.recorded, without, exit_)
        return self._rows[without, exit_]

    def objective(self, weight: float, accuracy: Any, cost: Any) -> Any:
        """What is minimised at a weight of accuracy."""
        return weight * (1 - accuracy / max(self.base[0], 1e-9)) + (1 - weight) * cost / self.base[1]

    def kept(self) -> Iterator[Limits]:
        """Of everything that was looked at, what nothing else beats."""
        plain = list(self._plain)
        rows = [(self._limits(*key, at), accuracy, cost) for key, (at, accuracy, cost) in self._rows.items()]
        accuracies, costs = zip(*self._plain.values(), strict=True)
        accuracy = np.concatenate([accuracies, *(row[1] for row in rows)])
        cost = np.concatenate([costs, *(row[2] for row in rows)])
        order = np.lexsort((-accuracy, cost))
        before = np.maximum.accumulate(np.concatenate([[-1.0], accuracy[order]]))[:-1]
        starts = np.cumsum([len(plain), *(len(row[1]) for row in rows)])
        for k in order[accuracy[order] > before].tolist():
            row = int(np.searchsorted(starts, k, "right"))
            yield plain[k] if row == 0 else rows[row - 1][0](k - int(starts[row - 1]))

    @staticmethod
    def _limits(without: Limits, exit_: int, at: np.ndarray) -> Callable[[int], Limits]:
        """The configurations of a row by their place in it."""
        return lambda place: _with(without, exit_, int(at[place]))


def _descend(seen: _Seen, weight: float, start: Limits) -> None:
    """From `start` one pass over the taps, then the best change of one tap until none helps."""
    limits, taps = start, seen.recorded.taps
    value = float(seen.objective(weight, *seen.plain(limits)))
    for tap in taps:
        value, limits = min((_best(seen, weight, limits, tap), (value, limits)), key=lambda one: one[0])
    while True:
        found, changed = min((_best(seen, weight, limits, tap) for tap in taps), key=lambda one: one[0])
        if found >= value - 1e-12:
            return
        value, limits = found, changed


def _best(seen: _Seen, weight: float, limits: Limits, tap: tuple[int, ...]) -> tuple[float, Limits]:
    """The best value that changing one tap can reach, and the configuration: no exit there, or one at some limit."""
    without = tuple(None if k in tap else limit for k, limit in enumerate(limits))
    best = float(seen.objective(weight, *seen.plain(without))), without
    for k in tap:
        at, accuracy, cost = seen.row(without, k)
        if len(at):
            values = seen.objective(weight, accuracy, cost)
            place = int(values.argmin())
            if values[place] < best[0]:
                best = float(values[place]), _with(without, k, int(at[place]))
    return best


def _with(limits: Limits, exit_: int, limit: int) -> Limits:
    """The configuration with one exit at a limit."""
    return tuple(limit if k == exit_ else one for k, one in enumerate(limits))


def _every_limit(recorded: Recorded, without: Limits, exit_: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The limits of an early exit that make a difference, the others as given.

    With the accuracy that a search believes, and the mean cost, at each.
    """
    taken, cost = _path(recorded, without)
    rows = np.arange(len(recorded))
    right = recorded.right[rows, taken]
    coming = np.flatnonzero(taken > exit_)
    order = coming[np.argsort(recorded.statistics[coming, exit_], kind="stable")]
    sorted_ = recorded.statistics[order, exit_].astype(np.int64)
    heads = sum(h for h, limit in zip(recorded.costs.heads[:exit_], without[:exit_], strict=True) if limit is not None)
    leaving = recorded.costs.shared[exit_] + heads
    gained = np.cumsum(recorded.right[order, exit_].astype(np.int64) - right[order])
    saved = np.cumsum(cost[order] - leaving)
    ends = np.flatnonzero(np.append(sorted_[1:] != sorted_[:-1], True)) if len(order) else np.empty(0, np.int64)
    head = recorded.costs.heads[exit_] * len(coming)
    accuracy = (right.sum() + gained[ends]) / len(recorded)
    if recorded.cautious:
        accuracy = _believed(recorded, *_moved(recorded, taken, exit_, order, ends))
    mean = (cost.sum() + head - saved[ends]) / len(recorded)
    return np.maximum(sorted_[ends], NEVER + 1), accuracy, mean


def _moved(
    recorded: Recorded, taken: np.ndarray, exit_: int, order: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many `(ends, exits)` leave and are right where those up to each of the `ends` of `order` go to one exit."""
    counts, rights = (np.tile(one, (len(ends), 1)) for one in _counts(recorded, taken))
    counts[:, exit_] = ends + 1
    rights[:, exit_] = np.cumsum(recorded.right[order, exit_])[ends]
    for k in set(taken[order].tolist()):
        gone = taken[order] == k
        counts[:, k] -= np.cumsum(gone)[ends]
        rights[:, k] -= np.cumsum(gone & recorded.right[order, k])[ends]
    return counts, rights
