"""The compile step: C from the pair, with known answers from the oracle, and a program for each target."""

from collections.abc import Mapping
from dataclasses import asdict
from math import prod
from pathlib import Path

import numpy as np

from trecx.compiler.emit import KnownAnswer, KnownAnswers, Names, emit, known_answer_input
from trecx.compiler.graph import Graph
from trecx.compiler.memory_map import MemoryMap, memory_map
from trecx.compiler.plan import plan_memory
from trecx.compiler.target import DEFAULT, TARGETS, Target
from trecx.console import Step
from trecx.device.build import HOOKS, Build, Options, build, load
from trecx.documents import kept
from trecx.errors import ToolMissing, TrecxError
from trecx.files import write_json
from trecx.judge import reference
from trecx.judge.record import forced
from trecx.settings import Folders, Settings
from trecx.steps import pair as pairs
from trecx.steps import project
from trecx.steps.pair import Pair
from trecx.subjects import task

SEEDS = (1, 2)
SHORT = "net"  # what C without a run is called
LEFT_OUT, SIZES, PLAN = "left_out.json", "sizes.json", "plan.json"
PROGRAM = "build"  # the folder of a target's program, inside that of its sources


def compile_for(pair: Pair, graph: Graph, target: Target, folder: Path, optimize: str, hooks: bool = False) -> Path:
    """The generated C of a graph of the pair, without known answers, which would cost flash.

    It has hooks where asked for, or where the target's own program looks inside.
    """
    plan = plan_memory(graph, target, optimize)
    names = Names(SHORT, pair.path.stem, pair.exits.model_sha256, pair.exits.classes, SHORT)
    hooks, points = hooks or target.program in HOOKS, pair.exits.operating_points
    _write(emit(graph, plan, names, pair.thresholds, KnownAnswers("", ()), hooks, points), folder)
    return folder


def targets(settings: Settings) -> tuple[Target, ...]:
    """The targets of a run, by name; the default ones where none is named."""
    known = {target.name: target for target in TARGETS}
    unknown = [name for name in settings.targets if name not in known]
    if unknown:
        raise TrecxError([f"There is no target {name!r}." for name in unknown], f"Targets: {', '.join(known)}.")
    return tuple(known[name] for name in settings.targets) if settings.targets else DEFAULT


def programs(firmware: Path, settings: Settings) -> tuple[Build, ...]:
    """The programs that the compile step left, of every target but those that it could not build.

    Raises TrecxError where one is missing or damaged: what is not there is not proven.
    """
    known = _left_out(firmware)
    wanted = [target for target in targets(settings) if target.name not in known]
    found: list[Build] = []
    damaged: list[str] = []
    for target in wanted:
        try:
            found.append(load(firmware / target.name / PROGRAM, target))
        except TrecxError as error:
            damaged += error.problems
    if damaged:
        raise TrecxError(damaged, f"Delete {firmware} and compile again.")
    return tuple(found)


def left_out(firmware: Path) -> tuple[str, ...]:
    """What the compile step could not build on this machine, and how to get what is missing."""
    return tuple(_left_out(firmware).values())


def _left_out(firmware: Path) -> dict[str, str]:
    """The same by target."""
    found: dict[str, str] | None = kept(dict[str, str], firmware / LEFT_OUT)
    return found or {}


def plan_of(firmware: Path, target: Target) -> MemoryMap | None:
    """The memory plan of a target's program."""
    found: MemoryMap | None = kept(MemoryMap, firmware / target.name / PLAN)
    return found


def compile_pair(settings: Settings, folders: Folders, out: Path, step: Step) -> None:
    """Emit C for every target, each in a folder of its own, and build it where this machine has the tools."""
    pair = pairs.read(folders["model"])
    chosen = targets(settings)
    plans = [plan_memory(pair.optimised, target, settings.optimize) for target in chosen]
    answers = known_answers(pair)
    missing_tools: dict[str, str] = {}
    built = []
    with step.progress("targets") as progress:
        for k, (target, plan) in enumerate(zip(chosen, plans, strict=True), 1):
            folder = out / target.name
            called, hooks, points = names(settings, pair), target.program in HOOKS, pair.exits.operating_points
            _write(emit(pair.optimised, plan, called, pair.thresholds, answers, hooks, points), folder)
            _write(project.files(settings.name, target, plan.optimize), folder)
            write_json(folder / PLAN, asdict(memory_map(pair.optimised, plan)))
            try:
                built.append(build(folder, target, folder / PROGRAM, options=Options(optimize=plan.optimize)))
            except ToolMissing as missing:
                said = f"Not built for {target.title}: {' '.join(missing.problems)} {missing.hint}"
                missing_tools[target.name] = said
            progress(k, len(chosen))
    if not built:
        raise ToolMissing(missing_tools.values(), "Install a compiler and compile again.")
    step.outcome = "; ".join(f"{p.target.name}: arena {p.sizes.arena:,}, network {_kib(p)}" for p in built)
    write_json(out / LEFT_OUT, missing_tools)
    write_json(out / SIZES, {program.target.name: asdict(program.sizes) for program in built})


def names(settings: Settings, pair: Pair) -> Names:
    """What the C is called."""
    chosen = task(settings.task) if settings.task else None
    return Names(
        name=settings.name,
        title=chosen.title if chosen else settings.name,
        sha256=pair.exits.model_sha256,
        class_names=pair.exits.classes,
        runner_name=(chosen and chosen.runner_name) or settings.name,
    )


def _kib(program: Build) -> str:
    return f"{program.sizes.network_flash / 1024:.1f} KiB"


def _write(files: Mapping[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def known_answers(pair: Pair) -> KnownAnswers:
    """The oracle's answers to the known-answer test's inputs: every exit forced, and the default thresholds.

    A model that only looks well-formed could crash the oracle, so it runs in a process of its own.
    """
    decisions, exits = len(pair.limits), len(pair.graph.exits)
    shape = pair.graph.sample_shape
    shaped = np.stack([known_answer_input(seed, prod(shape)).reshape(shape) for seed in SEEDS])
    trace = reference.isolated(reference.tflm_trace, pair.content, pair.reading, shaped, pair.limits, None, None, True)
    cases = []
    for row, seed in enumerate(SEEDS):
        taken = {forced(decisions, exit_index): exit_index for exit_index in range(exits)}
        taken[pair.limits] = int(trace.exit_taken[row])
        for limits, exit_ in taken.items():
            logits, scores = trace.logits[row, exit_], trace.scores[row, exit_]
            label = int(logits.argmax()) if logits.size else 0
            cases.append(KnownAnswer(seed, limits, exit_, label, tuple(scores.tolist()), tuple(logits.tolist())))
    return KnownAnswers(reference.tflm_version(), tuple(cases))
