"""What a model's operators cost on a target, counted once: a search then needs no emulator."""

import tempfile
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np

from trecx.compiler.emit import known_answer_input
from trecx.compiler.target import TARGETS, Target
from trecx.device import toolchain
from trecx.device.build import Build, Options, build
from trecx.device.run import profile, run_qemu
from trecx.errors import AnswerIsNo, ToolMissing
from trecx.judge.record import forced
from trecx.judge.search import Costs
from trecx.steps import pair as pairs
from trecx.steps.firmware import compile_for
from trecx.steps.pair import BACKBONE, Pair

SEED = 1
MACS, INSTRUCTIONS = "macs", "instructions"
# What costs are counted on where nobody says; MLPerf Tiny's reference board has this core.
USUAL = "cortex-m4"
Prices = Callable[[Pair], Costs]


def costs(pair: Pair, wanted: str | None) -> tuple[str, Costs]:
    """What inference costs, in `macs` or `instructions:TARGET`, and which of them it is (`counted`).

    MACs too where nobody wishes otherwise and the usual target is too small for the model.
    """
    what, of = prices(pair, wanted)
    return what, of(pair)


def prices(pair: Pair, wanted: str | None) -> tuple[str, Prices]:
    """The same for the model with fewer of its exits (`Pair.only`), all from one count."""
    what = counted(wanted)
    if what != MACS:
        try:
            return what, priced(pair, _target(what.partition(":")[2]))
        except AnswerIsNo:  # the model does not fit it
            if wanted is not None:
                raise
    return MACS, lambda one: one.costs


def counted(wanted: str | None) -> str:
    """What costs are counted in: as wanted, or the usual target's instructions, or MACs where its tools are missing."""
    return wanted or (f"{INSTRUCTIONS}:{USUAL}" if _can_be_counted(_target(USUAL)) else MACS)


def instructions(pair: Pair, target: Target, optimize: str = "time") -> Costs:
    """Instructions to each exit's answer (`priced`)."""
    return priced(pair, target, optimize)(pair)


def priced(pair: Pair, target: Target, optimize: str = "time") -> Prices:
    """Instructions to each exit's answer, from those of every operator in one inference that comes by all exits.

    What is no operator's (the decisions, the end of an inference) and the softmax of an answer are taken as equal at
    every exit. Raises ToolMissing where the target cannot be emulated here.
    """
    with tempfile.TemporaryDirectory(prefix="trecx-counting-") as folder:
        sources = compile_for(pair, pair.optimised, target, Path(folder) / "c", optimize, hooks=True)
        profiled = build(sources, target, Path(folder) / "profile", "profile", Options(optimize=optimize))
        counted = by_operator(pair, profiled)
        program = build(sources, target, Path(folder) / "serve", options=Options(optimize=optimize))
        last = forced(len(pair.limits), len(pair.limits))
        whole = run_qemu(program, one_input(pair)[np.newaxis], last).instructions
    assert whole is not None
    on_the_way = pair.costs_by(lambda op: counted.get(op.index, 0))
    rest = float(whole[0]) - on_the_way.shared[-1] - sum(on_the_way.heads)
    # Every early exit has its part in the rest, which is its decision; the answer has the other.
    decision = (rest - _answer(pair, counted)) / max(len(on_the_way.heads), 1)
    early = len(on_the_way.heads)
    answer = _answer(pair, counted) if early else rest

    def of(one: Pair) -> Costs:
        found = one.costs_by(lambda op: counted.get(op.index, 0))
        return Costs(tuple(cost + answer for cost in found.shared), tuple(cost + decision for cost in found.heads))

    return of


def alone(pair: Pair, target: Target, optimize: str = "time") -> float | None:
    """Instructions of the backbone alone, where its file lies beside the pair."""
    path = pair.path.parent / BACKBONE
    return instructions(pairs.plain(path), target, optimize).shared[-1] if path.is_file() else None


def backbone(pair: Pair, target: Target, optimize: str = "time") -> float:
    """Instructions of the backbone alone, or without its file of the pair without its early exits."""
    found = alone(pair, target, optimize)
    return instructions(pair, target, optimize).shared[-1] if found is None else found


def by_operator(pair: Pair, profiled: Build) -> dict[int, int]:
    """Instructions of every operator on the way to the final exit, by its index in the file."""
    early = len(pair.limits)
    return profile(profiled, one_input(pair), forced(early, early))


def one_input(pair: Pair) -> np.ndarray:
    """The input that single inferences are counted with."""
    shape = pair.graph.sample_shape
    return known_answer_input(SEED, prod(shape)).reshape(shape)


def _answer(pair: Pair, counted: dict[int, int]) -> float:
    """Instructions of the softmax of the final exit."""
    final = pair.optimised.exits[-1]
    op = None if final.logits is None or final.scores is final.logits else pair.optimised.producer(final.scores)
    return float(counted.get(op.index, 0)) if op is not None else 0.0


def _target(name: str) -> Target:
    return next(target for target in TARGETS if target.name == name)


def _can_be_counted(target: Target) -> bool:
    try:
        for program in (target.compiler, *(target.emulator or ())[:1]):
            toolchain.require(program)
    except ToolMissing:
        return False
    return True
