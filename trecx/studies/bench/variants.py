"""Competing kernels counted against each other: the choice of a kernel is data.

A model is compiled once per place in the operators' lists of candidates, with every operator's kernel nailed to that
place, and each operator's instructions are read from the profile.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from rich.table import Table

from trecx.compiler.graph import Graph
from trecx.compiler.ir import KernelCall, Node, Op, Refused
from trecx.compiler.kernels import candidates, choose
from trecx.compiler.target import Target
from trecx.console import Step
from trecx.device.build import Options, build
from trecx.steps.counting import by_operator
from trecx.steps.firmware import compile_for
from trecx.steps.pair import Pair
from trecx.studies.bench.results import number, table

FORMAT = "trecx-variants/1"
TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Nailed(Op):
    """An op that has one kernel only: no variant knows it, so that its plain kernel is the one given."""

    of: Op
    only: KernelCall

    @classmethod
    def read(cls, node: Node) -> Self:
        """Refused: it stands for an op that is read already."""
        raise Refused("stands for another operator and is never part of a file")

    def macs(self) -> int:
        """Those of the op."""
        return self.of.macs()

    def call(self) -> KernelCall:
        """The given kernel."""
        return self.only


@dataclass(frozen=True)
class Variant:
    """A kernel for an operator: instructions of one run, bytes of scratch memory and of tables."""

    kernel: str
    instructions: int
    scratch: int
    tables: int
    chosen: bool


@dataclass(frozen=True)
class Choice:
    """The kernels that compete for one distinct operator of a model; `operators` are the indices of all its like."""

    target: str
    operators: tuple[int, ...]
    name: str
    shape: str
    variants: tuple[Variant, ...]

    @property
    def problem(self) -> str:
        """What is wrong where a kernel that was not chosen is faster; else empty."""
        chosen = next(v for v in self.variants if v.chosen)
        fastest = min(self.variants, key=lambda v: v.instructions)
        if chosen.instructions <= (1 + TOLERANCE) * fastest.instructions:
            return ""
        return (
            f"{self.target}, operator {self.operators[0]} {self.name} {self.shape}: {chosen.kernel} is chosen with "
            f"{chosen.instructions:,} instructions, {fastest.kernel} takes {fastest.instructions:,}."
        )


def compare(pair: Pair, target: Target, optimize: str, step: Step) -> tuple[Choice, ...]:
    """Count every candidate of every distinct operator of a model."""
    graph = pair.optimised
    offered = {op.index: candidates(op, target) for op in graph.ops}
    rounds = max(len(calls) for calls in offered.values())
    counted: list[dict[int, int]] = []
    with step.progress("candidates") as progress, tempfile.TemporaryDirectory(prefix="trecx-bench-") as name:
        for k in range(rounds):
            nailed = nail(graph, {index: calls[min(k, len(calls) - 1)] for index, calls in offered.items()})
            sources = compile_for(pair, nailed, target, Path(name) / f"c{k}", optimize, hooks=True)
            program = build(sources, target, Path(name) / f"b{k}", "profile", Options(optimize=optimize))
            counted.append(by_operator(pair, program))
            progress(k + 1, rounds)
    groups: dict[object, list[Op]] = {}
    for op in graph.ops:
        if op.index in counted[0]:
            groups.setdefault(_likeness(op, offered[op.index]), []).append(op)
    return tuple(_choice(ops, offered[ops[0].index], counted, target, optimize) for ops in groups.values())


def nail(graph: Graph, calls: dict[int, KernelCall]) -> Graph:
    """The graph with the kernel of every op settled."""
    ops = tuple(Nailed(op.index, op.name, op.inputs, op.outputs, op, calls[op.index]) for op in graph.ops)
    return replace(graph, ops=ops)


def _likeness(op: Op, calls: Sequence[KernelCall]) -> object:
    """What ops have in common whose kernels are the same functions."""
    return op.name, tuple((call.kernel, call.params, call.scratch) for call in calls)


def _choice(
    ops: Sequence[Op], calls: Sequence[KernelCall], counted: Sequence[dict[int, int]], target: Target, optimize: str
) -> Choice:
    first = ops[0]
    chosen = choose(first, target, optimize)
    place = next(k for k, call in enumerate(calls) if _same(call, chosen))
    variants = tuple(
        Variant(
            call.kernel,
            counted[k][first.index],
            call.scratch,
            sum(table.values.nbytes for table in call.tables),
            k == place,
        )
        for k, call in enumerate(calls)
    )
    shape = f"{' + '.join(_dims(t.shape) for t in first.inputs)} to {_dims(first.output.shape)}"
    return Choice(target.name, tuple(op.index for op in ops), first.name, shape, variants)


def _same(a: KernelCall, b: KernelCall) -> bool:
    return (a.kernel, a.params, a.scratch) == (b.kernel, b.params, b.scratch)


def _dims(shape: tuple[int, ...]) -> str:
    return "x".join(str(d) for d in shape[1:])


def as_json(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """The choices with their keys as documented."""
    return [{**asdict(c), "problem": c.problem} for c in choices]


def render(choices: Sequence[Choice]) -> Table:
    """One line per kernel and operator; the chosen one is marked."""
    found = table("target", "operator", "kernel", "instructions", "scratch", "tables", "chosen")
    found.columns[1].justify = found.columns[2].justify = "left"
    for choice in choices:
        like = f" (x{len(choice.operators)})" if len(choice.operators) > 1 else ""
        for k, variant in enumerate(choice.variants):
            names = (choice.target, f"{choice.operators[0]} {choice.name} {choice.shape}{like}") if k == 0 else ("", "")
            costs = [number(value) for value in (variant.instructions, variant.scratch, variant.tables)]
            mark = "yes" if variant.chosen else ""
            found.add_row(*names, variant.kernel, *costs, mark, style="bold" if variant.chosen else "")
    return found
