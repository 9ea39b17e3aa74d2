"""An estimate as a person reads it and as a program does (`trecx-estimate/1`, see docs/estimate.md)."""

from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from trecx import __version__
from trecx.judge.execution import Way, bodies, serial
from trecx.studies.bench.results import number, plain, table
from trecx.studies.estimate.predict import Estimate, Judged

FORMAT = "trecx-estimate/1"
UNITS = ("instructions", "ms", "uJ")


def as_json(found: Estimate) -> dict[str, Any]:
    """The whole of an estimate; its keys are documented and stay."""
    pair, names = found.pair, found.names
    paths = zip(names, found.serial, found.parallel, found.counted or (None,) * len(names), strict=True)
    return {
        "format": FORMAT,
        "trecx": __version__,
        "file": pair.path.name,
        "sha256": pair.exits.model_sha256,
        "target": found.target.name,
        "optimize": found.optimize,
        "segments": {
            "bodies": list(bodies(found.costs)),
            "heads": list(found.costs.heads),
            "backbone": found.plain,
            "backbone_is_counted": found.plain_is_counted,
        },
        "energy": None if found.table is None else asdict(found.table),
        "cycles_per_instruction": found.cycles,
        "why_no_cycles": found.why_no_cycles,
        "backbone": _way(found, Way(found.plain, found.plain)),
        "exits": [
            {"name": name, "serial": _way(found, one), "parallel": _way(found, both), "counted": counted}
            for name, one, both, counted in paths
        ],
        "counted_samples": found.counted_samples,
        "mixes": [_mix_json(found, one) for one in found.judged],
    }


def _mix_json(found: Estimate, judged: Judged) -> dict[str, Any]:
    advice = asdict(judged.advice)
    return {
        "what": judged.mix.what,
        "exit_rates": list(judged.mix.rates),
        "used": list(judged.mix.used),
        "serial": _way(found, judged.serial),
        "parallel": _way(found, judged.parallel),
        **{key: value if not isinstance(value, float) or isfinite(value) else None for key, value in advice.items()},
    }


def _way(found: Estimate, way: Way) -> dict[str, float | None]:
    """A path: its time in instructions of the first unit, and what is estimated of it."""
    return {"instructions": way.time, "seconds": found.seconds(way), "joules": found.joules(way)}


def text(found: Estimate) -> str:
    """Everything as plain text."""
    return plain(Group(*_parts(found)))


def _parts(found: Estimate) -> Iterator[RenderableType]:
    what = f"{found.pair.path.name} on {found.target.title}"
    yield Text.assemble((what, "bold"), "  estimated from the instructions of one inference, operator by operator")
    yield ""
    yield _table(found)
    yield ""
    for sentence in (*_advice(found), *_notes(found)):
        yield Padding(Text(sentence), (0, 0, 0, 2))


def _table(found: Estimate) -> RenderableType:
    """Paths and means, one after the other and with a second unit, in what is known of them."""
    known = [unit for unit, value in zip(UNITS, _cells(found, Way(1.0, 1.0)), strict=True) if value is not None]
    ways = ("serial", *(("parallel",) if found.costs.heads else ()))
    columns = (way if unit == UNITS[0] else unit for way in ways for unit in known)
    ends = ("leave early", "suits") if found.judged else ()
    shown = table("instructions", *ends[:1], *columns, *ends[1:])

    def row(name: str, *paths: Way, of: Judged | None = None) -> None:
        cells = [cell for path in paths for cell in _cells(found, path) if cell is not None]
        cells += [""] * (len(ways) - len(paths)) * len(known)
        rate, suits = ("", "") if of is None else (f"{1 - of.mix.rates[-1]:.1%}", of.advice.execution)
        shown.add_row(escape(name), *((rate,) if ends else ()), *cells, *((suits,) if ends else ()))

    row("backbone alone", Way(found.plain, found.plain))
    for name, *paths in zip(found.names, found.serial, found.parallel, strict=True):
        row(f"to {name}", *paths[: len(ways)])
    for judged in found.judged:
        row(f"mean, {judged.mix.what}", judged.serial, judged.parallel, of=judged)
    return shown


def _cells(found: Estimate, path: Way) -> tuple[str | None, ...]:
    """A path in each of the units, None where it is not known."""
    seconds, joules = found.seconds(path), found.joules(path)
    return (
        number(path.time),
        None if seconds is None else f"{1e3 * seconds:,.1f}",
        None if joules is None else f"{1e6 * joules:,.0f}",
    )


def _advice(found: Estimate) -> Iterator[str]:
    """What suits at the first mix of exits, and why."""
    if not found.costs.heads:
        yield "There is no early exit, so there is nothing to run beside the network."
    elif not found.judged:
        yield "How many samples leave early is not known: say it with --exit-rate, once for each early exit."
    for judged in found.judged[:1]:
        advice = judged.advice
        rate = f"{judged.mix.what}, {1 - judged.mix.rates[-1]:.1%} leave early"
        yield f"What suits this network ({rate}): {advice.execution}. {advice.reason}"
        yield f"Exits pay {_once(advice.break_even)}; in parallel {_once(advice.break_even_parallel)}."


def _once(share: float) -> str:
    """From which exit rate on."""
    if share >= 1:
        return "never"
    return f"once {share:.1%} of the samples leave early" if share > 0 else "at any exit rate"


def _notes(found: Estimate) -> Iterator[str]:
    """Where figures come from, and what they leave out."""
    if found.counted is not None:
        paths = zip(serial(found.costs), found.counted, strict=True)
        worst = max(abs(one.time / count - 1) for one, count in paths)
        yield (
            f"Verifying counted {' and '.join(map(number, found.counted))} instructions to the exits, the mean of "
            f"{found.counted_samples} samples: the prediction is within {worst:.2%} of them."
        )
    if not found.plain_is_counted:
        yield (
            "The backbone alone is taken as this network without its early exits, since its own file is not there: "
            "what exits add to the way to the final one counts as the backbone's."
        )
    table, second = found.table, found.table.second if found.table else None
    if found.costs.heads:
        unit = f"{second.speed:g} times as fast" if second else "imagined as fast and hungry, with nothing to wait for"
        yield f"Parallel is told in instructions of the first unit; the second is {unit}."
    if table is None:
        yield f"Of {found.target.name} no clock and no power are known: --energy FILE says them."
        return
    clock = "an unknown clock" if table.clock_hz is None else f"{table.clock_hz / 1e6:g} MHz"
    power = "an unknown power" if table.watts is None else f"{1e3 * table.watts:g} mW"
    yield f"Estimated for {table.name}, {clock}, {power}{f' ({table.source})' if table.source else ''}."
    if found.cycles is None:
        yield f"Time and energy are unknown without cycles per instruction: {found.why_no_cycles}"
    elif table.cycles_per_instruction is None:
        yield f"{found.cycles:.3f} cycles per instruction, estimated without the waits of flash (docs/bench.md)."
