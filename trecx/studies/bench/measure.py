"""Count one model on one target: compile, build, compare with the oracle, count, estimate."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trecx import exits as door
from trecx.compiler.plan import split
from trecx.compiler.target import Target
from trecx.console import Step
from trecx.device import counts
from trecx.device.build import Build, Options, Sizes, build
from trecx.device.run import run_qemu
from trecx.errors import AnswerIsNo, ToolMissing
from trecx.judge.record import forced
from trecx.judge.trace import Trace
from trecx.steps import pair as pairs
from trecx.steps import proof
from trecx.steps.counting import SEED, by_operator, one_input
from trecx.steps.firmware import compile_for
from trecx.steps.pair import Pair
from trecx.steps.proof import Inputs
from trecx.studies.bench import peers
from trecx.studies.bench.classes import CLASSES, classes
from trecx.studies.bench.cycles import CORES, NO_MODEL, estimate


class DoesNotFit(AnswerIsNo):
    """A target is too small for a model."""


@dataclass(frozen=True)
class Model:
    """A model to count: `known` is what is recorded of it, `expected` what the oracle answers to `inputs`."""

    title: str
    pair: Pair
    known: peers.Known | None
    inputs: Inputs
    expected: Trace


@dataclass(frozen=True)
class ExitCost:
    """From the input to an exit's answer: MACs of the file, instructions (mean of all samples), cycles (one sample)."""

    name: str
    macs: int
    instructions: int
    cycles: int | None

    @property
    def per_mac(self) -> float | None:
        """Instructions per MAC."""
        return self.instructions / self.macs if self.macs else None


@dataclass(frozen=True)
class ClassCost:
    """The layers of one class on the way to the final exit; `elements` are those of their first inputs."""

    name: str
    layers: int
    macs: int
    elements: int
    instructions: int

    @property
    def unit(self) -> str:
        """What instructions are divided by."""
        return "MAC" if self.macs else "element"

    @property
    def per_unit(self) -> float:
        """Instructions per MAC, or per element of the input where there are none."""
        return self.instructions / (self.macs or self.elements)


@dataclass(frozen=True)
class Figures:
    """What a model costs on a target.

    `rest` is what no operator counts: the end of the model, and what a profiled program does otherwise. `stack` is the
    most of the whole program. `why_no_cycles` is empty where cycles are estimated.
    """

    target: Target
    optimize: str
    samples: int
    exits: tuple[ExitCost, ...]
    classes: tuple[ClassCost, ...]
    rest: int
    sizes: Sizes
    stack: int
    why_no_cycles: str = ""


def pair_of(path: Path) -> Pair:
    """A model with the exits.json beside it, if that names it, else with its one output as the final exit."""
    beside = path.parent / "exits.json"
    with_exits = beside.is_file() and door.read(beside).model_file == path.name
    return pairs.read(path.parent) if with_exits else pairs.plain(path)


def read(path: Path, samples: int, step: Step) -> Model:
    """A model with the oracle's answers to `samples` synthetic samples."""
    pair = pair_of(path)
    inputs = proof.synthetic(pair.graph, samples, SEED)
    known = peers.known(pair.exits.model_sha256)
    return Model(known.title if known else path.stem, pair, known, inputs, proof.oracle(pair, inputs, step))


def measure(model: Model, target: Target, optimize: str, step: Step) -> Figures:
    """Everything about a model on a target; AnswerIsNo where one answer is not the oracle's."""
    pair = model.pair
    early = len(pair.limits)
    with tempfile.TemporaryDirectory(prefix="trecx-bench-") as name:
        program, profiled = _programs(pair, target, Path(name), optimize)
        answers, stack = proof.answers(pair, program, model.inputs, step)
        proof.compare(pair, program, model.inputs, model.expected, answers).require_equal()
        estimated, why = cycles(pair, program)
        layers = by_operator(pair, profiled)
        whole = run_qemu(program, one_input(pair)[np.newaxis], forced(early, early)).instructions
    assert answers.exit_instructions is not None and whole is not None
    means = [round(float(mean)) for mean in answers.exit_instructions.mean(axis=0)]
    names = [e.name for e in pair.graph.exits]
    exits = [ExitCost(*row) for row in zip(names, pair.macs, means, estimated, strict=True)]
    rest = int(whole[0]) - sum(layers.values())
    return Figures(
        target, optimize, len(answers), tuple(exits), by_class(pair, layers), rest, program.sizes, stack, why
    )


def _programs(pair: Pair, target: Target, folder: Path, optimize: str) -> tuple[Build, Build]:
    """The firmware, and the same with marks around every operator."""
    options = Options(optimize=optimize)
    try:
        sources = compile_for(pair, pair.optimised, target, folder / "c", optimize, hooks=True)
        program = build(sources, target, folder / "serve", options=options)
        return program, build(sources, target, folder / "profile", "profile", options)
    except AnswerIsNo as no:
        raise DoesNotFit(no.problems, no.hint) from no


def by_class(pair: Pair, layers: Mapping[int, int]) -> tuple[ClassCost, ...]:
    """Sums over the layers of each class.

    MACs are those of the file: what a rewrite saved counts as done, and its instructions as those of what is left.
    """
    kinds, ops = classes(pair.graph), {op.index: op for op in pair.graph.ops}
    on_the_way = {op.index for stage in split(pair.graph) for op in stage.ops} | set(layers)
    found = []
    for kind in CLASSES:
        members = [ops[index] for index in sorted(on_the_way) if kinds.get(index) == kind]
        counted = sum(layers.get(op.index, 0) for op in members)
        if counted:
            macs, elements = sum(op.macs() for op in members), sum(op.inputs[0].size for op in members)
            ran = sum(op.index in layers for op in members)
            found.append(ClassCost(kind, ran, macs, elements, counted))
    return tuple(found)


def cycles(pair: Pair, program: Build) -> tuple[Sequence[int | None], str]:
    """Estimated cycles to each exit, or why there are none."""
    found, why = _executed(pair, program, range(len(pair.limits) + 1))
    return [one and one[1] for one in found], why


def cycles_per_instruction(pair: Pair, program: Build) -> tuple[float | None, str]:
    """Estimated cycles by instructions of one inference to the final exit, or why there are none."""
    (last,), why = _executed(pair, program, (len(pair.limits),))
    return last and last[1] / last[0], why


def _executed(pair: Pair, program: Build, exits: Sequence[int]) -> tuple[list[tuple[int, int] | None], str]:
    """Instructions and estimated cycles of one inference to each of these exits, or why there are no cycles."""
    early, none = len(pair.limits), [None for _ in exits]
    core = CORES.get(program.target.name)
    try:
        found = [counts.executed(program, one_input(pair), forced(early, k)) for k in exits]
        if core is None:
            return list(none), NO_MODEL[program.target.name]
        code = counts.disassembly(program)
    except ToolMissing as missing:
        return list(none), " ".join(missing.problems)
    return [(times.instructions, estimate(core, times, code)) for times in found], ""
