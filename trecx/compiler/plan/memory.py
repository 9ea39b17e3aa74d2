"""Where in the one static arena everything lies, for given kernels.

An op's output may run into an input that dies in the op, as far as the kernel says that it is exact
(`KernelCall.distances`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trecx.compiler.graph import Graph
from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.overlap import Exactly
from trecx.compiler.placement import EFFORT, Forbidden, aligned, apart, most_shared, place
from trecx.compiler.plan.stages import Buffer, Stage, lifetimes, steps


@dataclass(frozen=True)
class Plan:
    """Where everything lies in the arena, and which kernel computes what; offsets and sizes in bytes.

    `offsets` has every tensor by index, `scratch` the working memory of the ops that need some, by op index, `calls`
    the kernel of every op by its index. `buffers` lie at the offsets of their tensors. `optimize` is how kernels were
    chosen: "ram" where the target's RAM left no other choice. No placement of these buffers can do with less than
    `lower_bound`.
    """

    stages: tuple[Stage, ...]
    buffers: tuple[Buffer, ...]
    offsets: dict[int, int]
    scratch: dict[int, int]
    calls: dict[int, KernelCall]
    arena_size: int
    optimize: str = "time"
    lower_bound: int = 0

    def macs_to(self, exit_index: int) -> int:
        """Multiply-accumulates from the input to the answer of an exit, all earlier exits evaluated on the way."""
        return sum(stage.macs for stage in self.stages[: exit_index + 1])

    def start(self, buffer: Buffer) -> int:
        """Where in the arena a buffer lies."""
        index = buffer.tensor.index
        return self.offsets[index] if index >= 0 else self.scratch[-1 - index]


def planned(
    graph: Graph,
    stages: tuple[Stage, ...],
    calls: dict[int, KernelCall],
    optimize: str,
    effort: int = EFFORT,
    like: Plan | None = None,
) -> Plan:
    """Place everything that the given calls need; an arena as small as that of the plan `like` is small enough."""
    buffers = lifetimes(graph, stages, calls)
    forbidden = constraints(graph, stages, calls, buffers)
    bound = enough = lower_bound(buffers, forbidden)
    orders = _orders(buffers)
    if like is not None:
        enough = max(bound, like.arena_size)
        orders = [_order_of(like, buffers), *orders]
        effort = effort if bound <= like.arena_size else 0
    sizes = [b.size for b in buffers]
    placed = place(sizes, forbidden, enough, orders, effort)
    starts = {b.tensor.index: start for b, start in zip(buffers, placed, strict=True)}
    offsets = {}
    for tensor in graph.tensors().values():
        root, offset = graph.storage(tensor)
        if root.index in starts:
            offsets[tensor.index] = starts[root.index] + offset
    scratch = {-1 - index: start for index, start in starts.items() if index < 0}
    end = max((start + size for start, size in zip(placed, sizes, strict=True)), default=0)
    return Plan(stages, buffers, offsets, scratch, calls, aligned(end), optimize, bound)


def constraints(
    graph: Graph, stages: Sequence[Stage], calls: Mapping[int, KernelCall], buffers: Sequence[Buffer]
) -> list[Forbidden]:
    """What any two buffers that are alive together must keep: apart, or the distances of the op between them."""
    sizes = [b.size for b in buffers]
    found = {
        (i, k): [apart(i, k, sizes)] for k in range(len(buffers)) for i in range(k) if buffers[i].meets(buffers[k])
    }
    numbers = {b.tensor.index: k for k, b in enumerate(buffers)}
    for number, op in enumerate(steps(stages)):
        if not isinstance(op, Op):
            continue
        if len(op.outputs) > 1:  # distances are of one output; several keep apart from what the op reads
            continue
        born = numbers[graph.storage(op.output)[0].index]
        for root in {graph.storage(tensor)[0].index for tensor in op.inputs}:
            dying = numbers[root]
            if buffers[dying].last == number == buffers[born].first and dying != born:
                del found[min(dying, born), max(dying, born)]
                found[dying, born] = _distances(graph, op, calls[op.index], root, dying, born)
    return [pair for pairs in found.values() for pair in pairs]


def _distances(graph: Graph, op: Op, call: KernelCall, root: int, dying: int, born: int) -> list[Forbidden]:
    """How the memory of the tensor `root`, which only `op` still reads, must lie to where `op` writes its output.

    What the op neither reads nor writes of either does not matter; every view of the root that it reads does.
    """
    _, write, written = graph.place(op.output)
    found = []
    for k, tensor in enumerate(op.inputs):
        owner, read, end = graph.place(tensor)
        if owner.index != root:
            continue
        low, high = write - end, written - read  # wholly before and wholly behind the output
        distance = call.distances[k] if k < len(call.distances) else None
        nearest = high if distance is None else min(write + distance - read, high)
        found.append(Forbidden(dying, born, low, nearest))
        if isinstance(distance, Exactly) and nearest < high:
            found.append(Forbidden(dying, born, nearest, high))
    return found


def _orders(buffers: Sequence[Buffer]) -> list[list[int]]:
    """Orders that are often good to place buffers in: large ones, long-lived ones, early or late ones first."""
    keys = (
        lambda b: (-b.size, b.first),
        lambda b: (-(b.last - b.first), -b.size),
        lambda b: (-b.size * (b.last - b.first + 1), b.first),
        lambda b: (b.first, -b.size),
        lambda b: (-b.last, -b.size),
    )
    return [sorted(range(len(buffers)), key=lambda k: key(buffers[k])) for key in keys]


def _order_of(plan: Plan, buffers: Sequence[Buffer]) -> list[int]:
    """The buffers as they lie in a plan from its start on, those that it does not have last."""
    known = {b.tensor.index: plan.start(b) for b in plan.buffers}
    return sorted(range(len(buffers)), key=lambda k: known.get(buffers[k].tensor.index, plan.arena_size))


def lower_bound(buffers: Sequence[Buffer], forbidden: Sequence[Forbidden]) -> int:
    """Bytes that the busiest step holds even where each dying input shares as much with the output as it may.

    Inputs share nothing with each other, so what they share with the output adds up. What follows from several steps
    together, such as outputs that each lie below their input, may need more.
    """
    lengths = [b.size for b in buffers]
    sizes = [aligned(length) for length in lengths]
    between: dict[tuple[int, int], list[Forbidden]] = {}
    for pair in forbidden:
        between.setdefault((pair.first, pair.second), []).append(pair)
    saved = [0] * len(buffers)
    for (dying, born), pairs in between.items():
        if pairs != [apart(dying, born, lengths)]:
            saved[born] += most_shared(sizes[dying], sizes[born], pairs)
    alive = [0] * (max((b.last for b in buffers), default=0) + 1)
    for buffer, size, less in zip(buffers, sizes, saved, strict=True):
        for step in range(buffer.first, buffer.last + 1):
            alive[step] += size
        alive[buffer.first] -= min(less, size)
    return max(alive)
