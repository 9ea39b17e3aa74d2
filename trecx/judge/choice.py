"""Which of many heads to build: of each, and of pairs of them, what it would save at the loss that may be.

Every candidate is given the thresholds that calibration would give it. All of them are judged on the same samples, so
what the best seems to save flatters it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from rich.markup import escape
from rich.table import Table

from trecx.decision import Criterion
from trecx.judge import search
from trecx.judge.calibrate import calibrate
from trecx.judge.search import Costs
from trecx.judge.trace import Trace

CHOICE = "choice.json"  # where it is kept
WORTH = 0.01  # of the plain network's cost: who saves less is not worth its flash
CLEARLY = 0.02  # of the same: a second exit must save so much more
CostsOf = Callable[[tuple[int, ...]], Costs]


@dataclass(frozen=True)
class Head:
    """An early exit by the tap that it reads and the kind of its head."""

    tap: str
    kind: str

    def __str__(self) -> str:
        return f"{self.tap}:{self.kind}"


@dataclass(frozen=True)
class Candidate:
    """One head, or two, and what they do at their thresholds (None: never).

    `accuracy` of each if everyone left there; `loss` and `bound` are points lost against the network alone, as
    observed and at most; `cost` is the mean, `saving` the share of the network alone that it is below.
    """

    heads: tuple[Head, ...]
    accuracy: tuple[float, ...]
    thresholds: tuple[float | None, ...]
    exit_rate: float
    loss: float
    bound: float
    cost: float
    saving: float


@dataclass(frozen=True)
class Asked:
    """What may be lost, in points, and with which confidence no more is."""

    points: float
    confidence: float


@dataclass(frozen=True)
class Scouted:
    """What was chosen, what it was chosen from, and by what.

    `asked` is the method that left it open. `weights` is the backbone that was trained for it, in the step's folder;
    `cost` says what `plain`, the network alone, and the candidates cost. Without candidates only taps were placed.
    """

    asked: str
    method: str
    taps: tuple[str, ...]
    heads: tuple[str, ...]
    cost: str
    plain: float
    told: str
    weights: str | None = None
    points: float | None = None
    confidence: float | None = None
    samples: int | None = None
    accuracy: float | None = None
    most_frequent: float | None = None
    candidates: tuple[Candidate, ...] = ()


def judged(
    trace: Trace, decisions: Sequence[Criterion], costs: CostsOf, heads: Sequence[Head], asked: Asked
) -> tuple[Candidate, ...]:
    """Every head alone, and every pair at two taps, the cheapest first; of equals the one with fewer exits.

    `heads` are the early exits of `trace`, in order, and `decisions` theirs; `costs` are those of a network that has
    only the early exits of these numbers.
    """
    alone = [(k,) for k in range(len(heads))]
    pairs = [pair for pair in combinations(range(len(heads)), 2) if heads[pair[0]].tap != heads[pair[1]].tap]
    found = [_candidate(trace, decisions, costs, heads, which, asked) for which in (*alone, *pairs)]
    return tuple(sorted(found, key=lambda one: (one.cost, len(one.heads))))


def best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The cheapest head, or a pair that is clearly cheaper; None where nothing is worth it."""
    leading = [next((one for one in candidates if len(one.heads) == count), None) for count in (1, 2)]
    single, pair = leading
    if single is not None and pair is not None and pair.saving >= max(single.saving, 0.0) + CLEARLY:
        single = pair
    return single if single is not None and single.saving >= WORTH else None


def _candidate(
    trace: Trace,
    decisions: Sequence[Criterion],
    costs: CostsOf,
    heads: Sequence[Head],
    which: tuple[int, ...],
    asked: Asked,
) -> Candidate:
    mine, ends = [decisions[k] for k in which], [*which, trace.exits - 1]
    part = _part(trace, decisions, ends)
    found = calibrate(part, mine, asked.points, asked.confidence)
    limits = tuple(None if t is None else at for t, at in zip(found.thresholds, found.limits, strict=True))
    right, own = part.right(), costs(which)
    known = search.Recorded(part.decided(mine), right, own, ())
    spent, plain = search.outcome(known, limits).cost, costs(()).shared[-1]
    accuracy = tuple(float(share) for share in right[:, :-1].mean(axis=0))
    told = (found.thresholds, found.exit_rate, found.loss, found.bound, spent, 1 - spent / plain)
    return Candidate(tuple(heads[k] for k in which), accuracy, *told)


def _part(trace: Trace, decisions: Sequence[Criterion], ends: Sequence[int]) -> Trace:
    """The trace of a model that has only these exits, the last of them the final one."""
    return replace(
        trace,
        logits=trace.logits[:, ends],
        scores=trace.scores[:, ends],
        exit_taken=np.full(len(trace), len(ends) - 1, np.uint8),
        statistics=trace.decided(decisions)[:, ends[:-1]],
        instructions=None,
        exit_instructions=None,
    )


def shortlist(found: Scouted, most: int = 5) -> tuple[Candidate, ...]:
    """Every head alone, and the best pairs."""
    pairs = [one for one in found.candidates if len(one.heads) > 1]
    return (*(one for one in found.candidates if len(one.heads) == 1), *pairs[:most])


def table(found: Scouted) -> Table:
    """The candidates, the cheapest head first and the best pairs last; the choice is marked."""
    title = f"mean {found.cost} on {found.samples:,} validation samples; the network alone: {found.plain:,.0f}"
    shown = Table("", "head", title=title, title_justify="left", box=None)
    for name in ("right", "leave early", "points lost", "mean cost", "saved"):
        shown.add_column(name, justify="right")
    for one in shortlist(found):
        named = tuple(map(str, one.heads))
        right = ", ".join(f"{share:.1%}" for share in one.accuracy)
        figures = (f"{one.exit_rate:.1%}", f"{one.loss:+.2f}", f"{one.cost:,.0f}", f"{one.saving:z.1%}")
        shown.add_row("*" if named == found.heads else "", escape(" and ".join(named)), right, *figures)
    return shown
