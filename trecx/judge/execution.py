"""What inference with exits takes, by where the heads run: one after the other, or beside the network.

Serial: an exit's head runs on the unit that runs the network, which waits. Parallel: as soon as a tap is there a second
unit computes the head, and the first goes on to the next tap or the answer; where the exit is taken it stops at once,
otherwise it waits for the decision there. All is counted in instructions of the first unit, whose time and energy a
table tells (`trecx/judge/energy.py`).

B_0 is what is computed to the first tap, B_k+1 from the tap of exit k to the next or to the final answer, H_k the head
of exit k with its decision, and H'_k = H_k / speed. D is the dispatch (Td), S the synchronisation (Ts). Then

    serial to exit k     B_0 + H_0 + sum over j < k of (D + B_j+1 + H_j+1)                final: without a last H
    parallel to exit k   B_0 + sum over j < k of (max(H'_j, B_j+1) + S) + H'_k + S        final: without the last terms

and what the first unit computes in parallel is the sum of B_0 to B_k and min(B_k+1, H'_k). A mean weighs these paths
with the share of samples that takes each. With one early exit, Ta = B_0, Te + Tc = H_0, Tb = B_1 and exit rate r:

    T_serial = Ta + Te + Tc + (1 - r)(Tb + Td)
    T_par    = Ta + r Te' + (1 - r) max(Te', Tb) + Ts
    E_par    = Ea + Ee' + (1 - r) Eb + r Eb min(1, Te' / Tb) + P_idle T_par
    r*       = (Te + Tc + Td) / (Tb + Td)

After K. Dimitriou et al. (DATE 2023), who call the two pipeline and parallel, for microcontrollers. A unit that waits
is taken as drawing nothing but what the table calls idle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from trecx.judge.calibrate import break_even
from trecx.judge.energy import Second, Table
from trecx.judge.search import Costs

SERIAL, PARALLEL, NONE = "serial", "parallel", "without exits"
# A second unit that gains less is not worth its trouble: what is executed may be as far from what is predicted.
WORTH = 0.05
# What is imagined where no table describes a second unit: as fast and hungry as the first, with nothing to wait for.
EQUAL = Second()


@dataclass(frozen=True)
class Way:
    """One inference, or the mean of many: `time` it takes, what the `first` and the `second` unit compute in it.

    All three in instructions of the first unit.
    """

    time: float
    first: float
    second: float = 0.0


def bodies(costs: Costs) -> tuple[float, ...]:
    """From the input to the first tap, from there to the next, ..., to the final answer."""
    return tuple(after - before for before, after in zip((0.0, *costs.shared), costs.shared, strict=False))


def serial(costs: Costs, dispatch: float = 0.0) -> tuple[Way, ...]:
    """To each exit's answer, one after the other."""
    passed = (*accumulate(costs.heads), sum(costs.heads))
    times = [shared + heads + k * dispatch for k, (shared, heads) in enumerate(zip(costs.shared, passed, strict=True))]
    return tuple(Way(time, time) for time in times)


def parallel(costs: Costs, second: Second = EQUAL) -> tuple[Way, ...]:
    """To each exit's answer, every head beside what follows its tap."""
    first, *rest = bodies(costs)
    heads = [head / second.speed for head in costs.heads]
    waited = (0.0, *accumulate(max(one) + second.synchronisation for one in zip(heads, rest, strict=True)))
    computed = (0.0, *accumulate(heads))
    found = [
        Way(first + before + head + second.synchronisation, shared + min(head, body), there)
        for before, head, body, shared, there in zip(waited, heads, rest, costs.shared, computed[1:], strict=False)
    ]
    return (*found, Way(first + waited[-1], costs.shared[-1], computed[-1]))


def mean(paths: Sequence[Way], rates: Sequence[float]) -> Way:
    """The mean inference where this share of samples takes each path."""
    sums = (
        sum(rate * getattr(path, unit) for path, rate in zip(paths, rates, strict=True))
        for unit in ("time", "first", "second")
    )
    return Way(*sums)


def using(costs: Costs, used: Sequence[bool]) -> Costs:
    """The costs where only some of the early exits are computed."""
    kept = [k for k, one in enumerate(used) if one]
    return Costs((*(costs.shared[k] for k in kept), costs.shared[-1]), tuple(costs.heads[k] for k in kept))


def energy(path: Way, table: Table | None, second: Second) -> float:
    """What a path takes in energy, in watts times instructions; where watts are not known the first unit draws 1."""
    watts = (table.watts if table is not None else None) or 1.0
    there = second.idle_watts * path.time if path.second else 0.0
    return watts * path.first + (second.watts or watts) * path.second + there


@dataclass(frozen=True)
class Advice:
    """Which execution suits, and why; `gain` is the share of serial time that parallel saves, `cost` of energy more.

    `break_even` is the exit rate from which on exits pay in time, serial and parallel; infinite is never.
    """

    execution: str
    reason: str
    gain: float
    cost: float
    break_even: float
    break_even_parallel: float


def advise(costs: Costs, rates: Sequence[float], plain: float, table: Table | None = None) -> Advice:
    """The execution that suits a network where `rates` of the samples leave at each exit; `plain` has none.

    Serial, unless even the network without exits is faster. Parallel takes their place where it saves at least `WORTH`
    of the time and of energy times time, so that it gains clearly more than it costs.
    """
    known = table is not None and table.second is not None
    second = (table.second if table is not None else None) or EQUAL
    ways = serial(costs, table.dispatch if table is not None else 0.0), parallel(costs, second)
    one, both = (mean(paths, rates) for paths in ways)
    name, base = (SERIAL, one) if one.time <= plain or not costs.heads else (NONE, Way(plain, plain))
    at_first, at_both = (energy(path, table, second) for path in (base, both))
    time, spent = both.time / base.time, at_both / at_first
    better = max(time, spent * time) <= 1 - WORTH
    pays, pays_parallel = (max(break_even([path.time for path in paths], plain, rates[:-1]), 0.0) for paths in ways)
    told = f"{_change(time - 1)} time for {_change(spent - 1)} energy"
    return Advice(
        execution=PARALLEL if better and known else name,
        reason=_reason(name, told, better, known, pays) if costs.heads else "There is no early exit.",
        gain=1 - both.time / one.time,
        cost=at_both / energy(one, table, second) - 1,
        break_even=pays,
        break_even_parallel=pays_parallel,
    )


def _reason(base: str, told: str, better: bool, known: bool, pays: float) -> str:
    """Why, in a sentence or two; `told` is what parallel takes against the `base`."""
    unit = "The second unit" if known else "A second unit as fast and hungry as the first, with nothing to wait for,"
    end = "." if known else ": worth it on a chip that has one, which --energy FILE describes."
    reason = f"{unit} would take {told}{end if better else ', which is not worth it.'}"
    if base == SERIAL:
        return reason
    needed = "never pay" if pays >= 1 else f"pay once {pays:.1%} of the samples leave early"
    return f"One after the other, exits {needed}. {reason}"


def _change(share: float) -> str:
    return f"{abs(share):.1%} {'more' if share >= 0 else 'less'}"
