"""Which ops each exit needs, what happens in which step, and from when to when each tensor is alive.

Taking an exit and passing it are one liveness problem: a tensor that a later stage reads stays alive across the exit
check, and the check is a step of its own, so that the logits it reads are alive until it has read them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trecx.compiler.graph import Exit, Graph
from trecx.compiler.ir import KernelCall, Op, Tensor
from trecx.compiler.optimise import needed


@dataclass(frozen=True)
class Stage:
    """The ops that an exit needs beyond all earlier stages, up to its logits, or its outputs where it has none."""

    exit: Exit
    ops: tuple[Op, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of this stage alone."""
        return sum(op.macs() for op in self.ops)


@dataclass(frozen=True)
class Buffer:
    """Memory of one tensor: alive from the step `first` to the step `last`, both included; sizes in bytes.

    Working memory of an op has a tensor with a negative index.
    """

    tensor: Tensor
    size: int
    first: int
    last: int

    def meets(self, other: "Buffer") -> bool:
        """Whether both are alive in some step."""
        return self.first <= other.last and other.first <= self.last


def split(graph: Graph) -> tuple[Stage, ...]:
    """One stage per exit, ops in the file's order."""
    done: set[int] = set()
    stages = []
    for exit_ in graph.exits:
        wanted = set().union(*(needed(graph, tensor) for tensor in exit_.read)) - done
        stages.append(Stage(exit_, tuple(op for op in graph.ops if op.index in wanted)))
        done |= wanted
    return tuple(stages)


def heads(graph: Graph) -> tuple[frozenset[int], ...]:
    """Of each early exit the ops that it alone needs, by index: they may be left out where it is not used.

    What keeps a state is never among them: it would miss a run.
    """
    kept, wanted = set().union(*(needed(graph, tensor) for tensor in graph.states)), _wanted(graph)
    others = [set().union(*(one for j, one in enumerate(wanted) if j != k)) for k in range(len(wanted))]
    return tuple(frozenset(mine - rest - kept) for mine, rest in zip(wanted[:-1], others[:-1], strict=True))


def before(graph: Graph) -> tuple[frozenset[int], ...]:
    """Of each early exit the ops that it needs and that are not its own; equal for exits that read one tap."""
    return tuple(frozenset(mine - own) for mine, own in zip(_wanted(graph), heads(graph), strict=False))


def _wanted(graph: Graph) -> list[set[int]]:
    """The ops that each exit needs."""
    return [set().union(*(needed(graph, tensor) for tensor in exit_.read)) for exit_ in graph.exits]


def steps(stages: Sequence[Stage]) -> list[Op | Exit | None]:
    """What happens in each step: first the caller writes the inputs (None), then ops, and a check after each stage."""
    found: list[Op | Exit | None] = [None]
    for stage in stages:
        found += [*stage.ops, stage.exit]
    return found


def lifetimes(graph: Graph, stages: Sequence[Stage], calls: Mapping[int, KernelCall]) -> tuple[Buffer, ...]:
    """First and last step of every tensor with memory of its own, and of every op's working memory."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    roots: dict[int, Tensor] = {}

    def touch(tensor: Tensor, step: int) -> None:
        root, _ = graph.storage(tensor)
        roots[root.index] = root
        first.setdefault(root.index, step)
        last[root.index] = step

    for number, step in enumerate(steps(stages)):
        if step is None:
            for one in graph.inputs:
                touch(one.tensor, number)
        elif isinstance(step, Exit):
            # Where the surest answers, all logits wait for the last decision.
            waiting = graph.exits if graph.most_confident and step is graph.exits[-1] else (step,)
            for tensor in (tensor for e in waiting for tensor in e.read):
                touch(tensor, number)
        else:
            for tensor in (*step.inputs, *step.outputs):
                touch(tensor, number)
            if calls[step.index].scratch:
                touch(_scratch(step, calls[step.index].scratch), number)
    for tensor in graph.states:
        if tensor.index in roots:  # alive in every step, so that nothing lies over it before the next run
            first[tensor.index], last[tensor.index] = 0, number
    return tuple(Buffer(roots[k], roots[k].size, first[k], last[k]) for k in roots)


def _scratch(op: Op, size: int) -> Tensor:
    """The working memory of an op as a tensor; its index is negative."""
    return Tensor(-1 - op.index, f"scratch of {op.index} {op.name}", (1, size), "int8")
