"""What a run's network is predicted to take on a target: from one counted inference, at exit rates that it knows."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trecx import documents, pipeline
from trecx.compiler.target import Target
from trecx.console import Console
from trecx.decision import Criterion, exit_taken
from trecx.device.build import Options as Building
from trecx.device.build import build
from trecx.errors import TrecxError
from trecx.judge import energy, execution
from trecx.judge.energy import Table
from trecx.judge.execution import EQUAL, Advice, Way
from trecx.judge.search import Costs
from trecx.judge.trace import Trace
from trecx.run import Run
from trecx.settings import Settings
from trecx.steps import counting, firmware, judging, learning, proof
from trecx.steps import pair as pairs
from trecx.steps.pair import Pair
from trecx.studies.bench import bench, measure


@dataclass(frozen=True)
class Options:
    """What a person chose: a target's name, the share that leaves at each early exit, an energy table's file.

    Without `out` no files are left.
    """

    target: str | None = None
    exit_rates: tuple[float, ...] = ()
    energy: Path | None = None
    out: Path | None = None


@dataclass(frozen=True)
class Mix:
    """The shares of samples that leave at each exit, where from, and which of the early exits are computed."""

    what: str
    rates: tuple[float, ...]
    used: tuple[bool, ...]


@dataclass(frozen=True)
class Judged:
    """A mix with the mean inference, one after the other and with a second unit, and which of them suits."""

    mix: Mix
    serial: Way
    parallel: Way
    advice: Advice


@dataclass(frozen=True)
class Estimate:
    """A network on a target: `costs` and `plain`, the backbone alone, in instructions.

    `plain_is_counted` where the backbone's own file was; else it is the network without its early exits. `counted` is
    the mean to each exit that verifying found, on so many samples. `cycles` per instruction come from the table, or
    are estimated; `why_no_cycles` is empty where they are known.
    """

    pair: Pair
    target: Target
    optimize: str
    costs: Costs
    plain: float
    plain_is_counted: bool
    table: Table | None
    cycles: float | None
    why_no_cycles: str
    counted: tuple[float, ...] | None
    counted_samples: int | None
    judged: tuple[Judged, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The exits' names."""
        return tuple(e.name for e in self.pair.graph.exits)

    @property
    def serial(self) -> tuple[Way, ...]:
        """To each exit, one after the other."""
        return execution.serial(self.costs, self.table.dispatch if self.table else 0.0)

    @property
    def parallel(self) -> tuple[Way, ...]:
        """To each exit, heads on a second unit."""
        return execution.parallel(self.costs, (self.table.second if self.table else None) or EQUAL)

    def seconds(self, way: Way) -> float | None:
        """How long an inference takes, or None where that is not known."""
        clock = self.table.clock_hz if self.table else None
        return way.time * self.cycles / clock if self.cycles and clock else None

    def joules(self, way: Way) -> float | None:
        """What it takes in energy, or None where that is not known."""
        table = self.table
        if table is None or not (self.cycles and table.clock_hz and table.watts):
            return None
        return execution.energy(way, table, table.second or EQUAL) * self.cycles / table.clock_hz


def predict(run: Run, options: Options, console: Console) -> Estimate:
    """Count one inference of a run's pair and predict the rest; TrecxError for what cannot be."""
    table = energy.read(options.energy) if options.energy is not None else None
    with run.working():
        settings = pipeline.settings_of(run)
        before = pipeline.steps(settings)
        pipeline.require(run, before[: before.index("compile")], "estimate", settings)
        target = _target(run, settings, options.target)
        pair = pairs.read(run.folder(pipeline.folder("calibrate")))
        _check(pair, options.exit_rates)
        pipeline.renew(run, ("compile", "verify", "evaluate"), settings, console)
        mixes = _given(pair, options.exit_rates) if options.exit_rates else tuple(_found(pair, run))
        with console.step("estimate") as step:
            found = _estimate(run, pair, target, settings, table or energy.TABLES.get(target.name), mixes)
            step.outcome = f"one inference on {target.name}, counted operator by operator"
    return found


def _target(run: Run, settings: Settings, name: str | None) -> Target:
    """The emulated target of this name, or the run's first."""
    if name is not None:
        return bench.choose((name,))[0]
    found = next((target for target in firmware.targets(settings) if target.emulator), None)
    if found is None:
        known = ", ".join(target.name for target in bench.COUNTED)
        raise TrecxError(f"{run.path} has no target on which instructions are counted.", f"Name one: --target {known}.")
    return found


def _check(pair: Pair, rates: Sequence[float]) -> None:
    """TrecxError for exit rates that the exits cannot have."""
    early = [e.name for e in pair.graph.exits[:-1]]
    problems = [f"The exit rate {rate:g} is no share from 0 to 1." for rate in rates if not 0 <= rate <= 1]
    if rates and len(rates) != len(early):
        told = f"it has {len(early)}: {', '.join(early)}" if early else "it has none"
        problems.append(f"{len(rates)} times --exit-rate, one for each early exit of {pair.path.name}; {told}.")
    if not problems and sum(rates) > 1 + 1e-9:
        problems.append(f"The exit rates add up to {sum(rates):g}; all of the samples are 1.")
    if problems:
        hint = "Each is the share of all samples that leaves at that exit, in the order of the exits."
        raise TrecxError(problems, hint if early else "")


def _given(pair: Pair, rates: Sequence[float]) -> tuple[Mix, ...]:
    return (Mix("as given", (*rates, max(1 - sum(rates), 0.0)), (True,) * len(rates)),)


def _found(pair: Pair, run: Run) -> Iterator[Mix]:
    """The mixes that a run knows of: at its thresholds on test or else on validation samples, and its other points."""
    early = [e.name for e in pair.graph.exits[:-1]]
    if not early:
        return
    points = pair.exits.operating_points
    known = [(run.folder("evaluate") / judging.TEST, "test samples")]
    known.append((pair.path.parent / learning.VALIDATION, "validation samples"))
    path, what = next((one for one in known if one[0].is_file()), (None, ""))
    if path is not None:
        yield Mix(what, rates(Trace.load(path), pair.decisions, pair.limits), (True,) * len(early))
    for number, point in enumerate(points):
        if point.predicted is not None and (number or path is None):
            used = tuple(number == 0 or name in point.thresholds for name in early)
            shares = point.predicted.exit_rates
            yield Mix(f"operating point {number} {point.name}", shares, used)


def rates(answers: Trace, decisions: Sequence[Criterion], limits: Sequence[int]) -> tuple[float, ...]:
    """The shares of samples whose inference ends at each exit.

    Where the surest exit answers the last one, too, has a decision; but what it takes is the whole way.
    """
    early = answers.exits - 1
    ended = exit_taken(answers.decided(decisions)[:, :early], limits[:early], answers.exits)
    return tuple((np.bincount(ended, minlength=answers.exits) / len(answers)).tolist())


def _estimate(
    run: Run, pair: Pair, target: Target, settings: Settings, table: Table | None, mixes: Sequence[Mix]
) -> Estimate:
    costs = counting.instructions(pair, target, settings.optimize)
    alone = counting.alone(pair, target, settings.optimize)
    plain = costs.shared[-1] if alone is None else alone
    cycles, why = (table.cycles_per_instruction, "") if table else (None, "")
    if cycles is None:
        cycles, why = cycles_per_instruction(pair, target, settings.optimize)
    verified = (documents.kept(dict[str, proof.Costs], run.folder("verify") / proof.COSTS) or {}).get(target.name)
    return Estimate(
        pair,
        target,
        settings.optimize,
        costs,
        plain,
        alone is not None,
        table,
        cycles,
        why,
        verified and verified.instructions,
        verified and verified.samples,
        tuple(_judged(mix, costs, plain, table) for mix in mixes),
    )


def _judged(mix: Mix, costs: Costs, plain: float, table: Table | None) -> Judged:
    """A mix with what it takes, without the exits that it does without."""
    some = execution.using(costs, mix.used)
    shares = [rate for rate, used in zip(mix.rates, (*mix.used, True), strict=True) if used]
    serial = execution.serial(some, table.dispatch if table else 0.0)
    parallel = execution.parallel(some, (table.second if table else None) or EQUAL)
    means = execution.mean(serial, shares), execution.mean(parallel, shares)
    return Judged(mix, *means, execution.advise(some, shares, plain, table))


def cycles_per_instruction(pair: Pair, target: Target, optimize: str) -> tuple[float | None, str]:
    """Estimated cycles of one inference to the final exit, without flash waits, by its instructions; or why not."""
    with tempfile.TemporaryDirectory(prefix="trecx-estimate-") as folder:
        sources = firmware.compile_for(pair, pair.optimised, target, Path(folder) / "c", optimize)
        program = build(sources, target, Path(folder) / "serve", options=Building(optimize=optimize))
        return measure.cycles_per_instruction(pair, program)
