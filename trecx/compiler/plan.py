"""Stages and memory: which ops each exit needs, and where in the one static arena every tensor lies.

Taking an exit and passing it are one liveness problem: a tensor that a later stage reads stays alive across the exit
check, and the check is a step of its own, so that the logits it reads are alive until it has read them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trecx.compiler.ir import Exit, Graph, Op, Tensor
from trecx.compiler.optimise import needed
from trecx.compiler.target import Target
from trecx.errors import AnswerIsNo

ALIGNMENT = 4


@dataclass(frozen=True)
class Stage:
    """The ops that an exit needs beyond all earlier stages, up to its logits."""

    exit: Exit
    ops: tuple[Op, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of this stage alone."""
        return sum(op.macs() for op in self.ops)


@dataclass(frozen=True)
class Buffer:
    """Memory of one tensor: alive from the step `first` to the step `last`, both included; sizes in bytes."""

    tensor: Tensor
    size: int
    first: int
    last: int

    def meets(self, other: "Buffer") -> bool:
        """Whether both are alive in some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """`offsets` has the arena offset in bytes of every tensor, by index; `buffers` lie at those of their tensors."""

    stages: tuple[Stage, ...]
    buffers: tuple[Buffer, ...]
    offsets: dict[int, int]
    arena_size: int

    def macs_to(self, exit_index: int) -> int:
        """Multiply-accumulates from the input to the answer of an exit, all earlier exits evaluated on the way."""
        return sum(stage.macs for stage in self.stages[: exit_index + 1])


def plan_memory(graph: Graph, target: Target | None = None) -> Plan:
    """Schedule the graph in stages and place its tensors; raise AnswerIsNo where the target's RAM cannot hold them."""
    stages = split(graph)
    buffers = lifetimes(graph, stages)
    starts = place(buffers)
    arena_size = max((starts[b.tensor.index] + b.size for b in buffers), default=0)
    if target is not None and target.ram_size is not None and arena_size > target.ram_size:
        step, peak = _peak(buffers)
        names = ", ".join(f"{b.tensor.name} ({b.size} bytes)" for b in peak)
        raise AnswerIsNo(
            f"The arena needs {arena_size} bytes; {target.title} has {target.ram_size} bytes of RAM. "
            f"The peak is at step {step}: {names}.",
            "Choose a larger target or a smaller model.",
        )
    offsets = {}
    for tensor in graph.tensors().values():
        root, offset = graph.storage(tensor)
        if root.index in starts:
            offsets[tensor.index] = starts[root.index] + offset
    return Plan(stages, buffers, offsets, -(-arena_size // ALIGNMENT) * ALIGNMENT)


def split(graph: Graph) -> tuple[Stage, ...]:
    """One stage per exit, ops in the file's order."""
    done: set[int] = set()
    stages = []
    for exit_ in graph.exits:
        wanted = needed(graph, exit_.logits) - done
        stages.append(Stage(exit_, tuple(op for op in graph.ops if op.index in wanted)))
        done |= wanted
    return tuple(stages)


def lifetimes(graph: Graph, stages: Sequence[Stage]) -> tuple[Buffer, ...]:
    """First and last step of every tensor with memory of its own; step 0 is the caller writing the input."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    roots: dict[int, Tensor] = {}

    def touch(tensor: Tensor, step: int) -> None:
        root, _ = graph.storage(tensor)
        roots[root.index] = root
        first.setdefault(root.index, step)
        last[root.index] = step

    touch(graph.input, 0)
    step = 0
    for stage in stages:
        for op in stage.ops:
            step += 1
            for tensor in (*op.inputs, op.output):
                touch(tensor, step)
        step += 1
        touch(stage.exit.logits, step)
    return tuple(Buffer(roots[k], roots[k].size, first[k], last[k]) for k in roots)


def place(buffers: Sequence[Buffer]) -> dict[int, int]:
    """Offsets by tensor index so that buffers alive together never overlap: the best of several greedy orders."""
    orders = (
        lambda b: (-b.size, b.first),
        lambda b: (-(b.last - b.first), -b.size),
        lambda b: (-b.size * (b.last - b.first + 1), b.first),
        lambda b: (b.first, -b.size),
        lambda b: (-b.last, -b.size),
    )
    placements = [_greedy(sorted(buffers, key=order)) for order in orders]
    return min(placements, key=lambda p: max((p[b.tensor.index] + b.size for b in buffers), default=0))


def _greedy(order: Sequence[Buffer]) -> dict[int, int]:
    """Give each buffer in turn the lowest aligned gap between those placed before it that live with it."""
    offsets: dict[int, int] = {}
    for position, buffer in enumerate(order):
        taken = sorted(
            (offsets[other.tensor.index], offsets[other.tensor.index] + other.size)
            for other in order[:position]
            if other.meets(buffer)
        )
        offset = 0
        for start, end in taken:
            if offset + buffer.size <= start:
                break
            offset = max(offset, -(-end // ALIGNMENT) * ALIGNMENT)
        offsets[buffer.tensor.index] = offset
    return offsets


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """Bytes alive in the busiest step: no placement without overlapping inputs and outputs can need less."""
    return sum(b.size for b in _peak(buffers)[1])


def _peak(buffers: Sequence[Buffer]) -> tuple[int, list[Buffer]]:
    """The step with the most bytes alive, and the buffers alive in it."""
    steps = range(max((b.last for b in buffers), default=0) + 1)
    step = max(steps, key=lambda s: sum(b.size for b in buffers if b.first <= s <= b.last))
    return step, [b for b in buffers if b.first <= step <= b.last]
