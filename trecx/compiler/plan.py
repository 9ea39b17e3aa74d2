"""Stages and memory: which ops each exit needs, and where in the one static arena every tensor lies.

Taking an exit and passing it are one liveness problem: a tensor that a later stage reads stays alive across the exit
check, and the check is a step of its own, so that the logits it reads are alive until it has read them. An op's output
may run into an input that dies in the op, as far as the kernel says that it is exact (`KernelCall.distances`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trecx.compiler.ir import Exit, Graph, KernelCall, Op, Tensor
from trecx.compiler.kernels import candidates, choose
from trecx.compiler.optimise import needed
from trecx.compiler.overlap import Exactly
from trecx.compiler.placement import EFFORT, Forbidden, aligned, apart, most_shared, place
from trecx.compiler.target import HOST, Target
from trecx.errors import AnswerIsNo


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


def plan_memory(graph: Graph, target: Target = HOST, optimize: str = "time") -> Plan:
    """Schedule the graph in stages, choose kernels and place tensors and scratch.

    Chooses kernels for least memory where others do not fit the target's RAM. Raises AnswerIsNo where none do.
    """
    stages = split(graph)
    plan = _plan(graph, stages, {op.index: choose(op, target, optimize) for op in graph.ops}, optimize)
    if optimize == "ram" or (target.ram_size is not None and plan.arena_size > target.ram_size):
        plan = _least(graph, stages, target)
    if target.ram_size is not None and plan.arena_size > target.ram_size:
        step, peak = _peak(plan.buffers)
        names = ", ".join(f"{b.tensor.name} ({b.size} bytes)" for b in peak)
        raise AnswerIsNo(
            f"The arena needs {plan.arena_size} bytes; {target.title} has {target.ram_size} bytes of RAM. "
            f"The peak is at step {step}: {names}.",
            "Choose a larger target or a smaller model.",
        )
    return plan


def _least(graph: Graph, stages: tuple[Stage, ...], target: Target) -> Plan:
    """The plan with the least memory found: from two choices on, exchange kernels at the peak while that helps.

    What a kernel needs for itself does not tell what the plan needs, so each exchange places everything anew. Ops whose
    kernel does not save any of the arena get back a faster one.
    """
    alternatives = {op.index: candidates(op, target) for op in graph.ops}
    found = []
    for optimize in ("time", "ram"):
        chosen = {op.index: choose(op, target, optimize) for op in graph.ops}
        best: Plan | None = _plan(graph, stages, chosen, "ram")
        while best is not None:
            found.append(best)
            best = _lowered(graph, best, alternatives)
    return _hastened(graph, min(found, key=_height), alternatives)


def _lowered(graph: Graph, plan: Plan, alternatives: Mapping[int, Sequence[KernelCall]]) -> Plan | None:
    """The first plan that one exchange makes lower, or None."""
    for op in _at_the_top(plan):
        for call in alternatives[op.index]:
            if call.kernel != plan.calls[op.index].kernel:
                trial = _plan(graph, plan.stages, {**plan.calls, op.index: call}, plan.optimize, EFFORT // 10)
                if _height(trial) < _height(plan):
                    return trial
    return None


def _hastened(graph: Graph, plan: Plan, alternatives: Mapping[int, Sequence[KernelCall]]) -> Plan:
    """The plan with each op's fastest kernel that keeps the arena as small; ops with most work have the first pick."""
    ops = sorted((op for stage in plan.stages for op in stage.ops), key=lambda op: -op.macs())
    for rank in range(max(map(len, alternatives.values()), default=0)):
        faster = {}
        for op in ops:
            slower = [call.kernel for call in alternatives[op.index][rank + 1 :]]
            if plan.calls[op.index].kernel in slower:
                faster[op.index] = alternatives[op.index][rank]
        plan = _with_all_that_fit(graph, plan, faster)
    return plan


def _with_all_that_fit(graph: Graph, plan: Plan, calls: Mapping[int, KernelCall]) -> Plan:
    """The plan with those of the calls with which its arena does not grow: all, or what fits of each half."""
    if not calls:
        return plan
    chosen = {**plan.calls, **calls}
    trial = _plan(graph, plan.stages, chosen, plan.optimize, EFFORT // 100, like=plan)
    if trial.arena_size <= plan.arena_size:
        return trial
    if len(calls) > 1:
        items = list(calls.items())
        for part in (items[: len(items) // 2], items[len(items) // 2 :]):
            plan = _with_all_that_fit(graph, plan, dict(part))
    return plan


def _height(plan: Plan) -> tuple[int, int]:
    """What an exchange must lower: the arena, or else the number of ops that need all of it."""
    return plan.arena_size, len(_at_the_top(plan))


def _at_the_top(plan: Plan) -> list[Op]:
    """The ops in whose steps some buffer reaches the end of the arena."""
    top = [b for b in plan.buffers if aligned(plan.start(b) + b.size) == plan.arena_size]
    return [
        step
        for k, step in enumerate(steps(plan.stages))
        if isinstance(step, Op) and any(b.first <= k <= b.last for b in top)
    ]


def _plan(
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


def split(graph: Graph) -> tuple[Stage, ...]:
    """One stage per exit, ops in the file's order."""
    done: set[int] = set()
    stages = []
    for exit_ in graph.exits:
        wanted = set().union(*(needed(graph, tensor) for tensor in exit_.read)) - done
        stages.append(Stage(exit_, tuple(op for op in graph.ops if op.index in wanted)))
        done |= wanted
    return tuple(stages)


def steps(stages: Sequence[Stage]) -> list[Op | Exit | None]:
    """What happens in each step: first the caller writes the input (None), then ops, and a check after each stage."""
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
            touch(graph.input, number)
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
    sizes = [aligned(b.size) for b in buffers]
    between: dict[tuple[int, int], list[Forbidden]] = {}
    for pair in forbidden:
        between.setdefault((pair.first, pair.second), []).append(pair)
    saved = [0] * len(buffers)
    for (dying, born), pairs in between.items():
        saved[born] += most_shared(sizes[dying], sizes[born], pairs)
    alive = [0] * (max((b.last for b in buffers), default=0) + 1)
    for buffer, size, less in zip(buffers, sizes, saved, strict=True):
        for step in range(buffer.first, buffer.last + 1):
            alive[step] += size
        alive[buffer.first] -= min(less, size)
    return max(alive)


def _peak(buffers: Sequence[Buffer]) -> tuple[int, list[Buffer]]:
    """The step with the most bytes alive, and the buffers alive in it."""
    steps = range(max((b.last for b in buffers), default=0) + 1)
    step = max(steps, key=lambda s: sum(b.size for b in buffers if b.first <= s <= b.last))
    return step, [b for b in buffers if b.first <= step <= b.last]
