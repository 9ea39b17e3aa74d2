"""Which kernel computes each op: the fastest, or those with which the arena is smallest."""

from collections.abc import Mapping, Sequence

from trecx.compiler.graph import Graph
from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.kernels import candidates, choose
from trecx.compiler.placement import EFFORT, aligned
from trecx.compiler.plan.memory import Plan, planned
from trecx.compiler.plan.stages import Buffer, Stage, split, steps
from trecx.compiler.target import HOST, Target
from trecx.errors import AnswerIsNo

Alternatives = Mapping[int, Sequence[KernelCall]]
# About so many pairs of buffers are looked at, in some seconds, while kernels are exchanged for less memory.
MOST_PAIRS = 4_000_000
FEWEST_TRIALS = 10


class _Trials:
    """How many plans may still be tried: thousands for networks of the usual size, few for hundreds of operators."""

    def __init__(self, plan: Plan) -> None:
        self.left = max(FEWEST_TRIALS, MOST_PAIRS // max(1, len(plan.buffers)) ** 2)

    def take(self) -> bool:
        """Whether one more may be tried."""
        self.left -= 1
        return self.left >= 0


def plan_memory(graph: Graph, target: Target = HOST, optimize: str = "time") -> Plan:
    """Schedule the graph in stages, choose kernels and place tensors and scratch.

    Chooses kernels for least memory where others do not fit the target's RAM. Raises AnswerIsNo where none do.
    """
    stages = split(graph)
    plan = planned(graph, stages, {op.index: choose(op, target, optimize) for op in graph.ops}, optimize)
    if optimize == "ram" or (target.ram_size is not None and plan.arena_size > target.ram_size):
        plan = _least(graph, stages, target, _Trials(plan))
    if target.ram_size is not None and plan.arena_size > target.ram_size:
        step, peak = _peak(plan.buffers)
        names = ", ".join(f"{b.tensor.name} ({b.size} bytes)" for b in peak)
        raise AnswerIsNo(
            f"The arena needs {plan.arena_size} bytes; {target.title} has {target.ram_size} bytes of RAM. "
            f"The peak is at step {step}: {names}.",
            "Choose a larger target or a smaller model.",
        )
    return plan


def _least(graph: Graph, stages: tuple[Stage, ...], target: Target, trials: _Trials) -> Plan:
    """The plan with the least memory found: from two choices on, exchange kernels at the peak while that helps.

    What a kernel needs for itself does not tell what the plan needs, so each exchange places everything anew. Ops whose
    kernel does not save any of the arena get back a faster one.
    """
    alternatives = {op.index: candidates(op, target) for op in graph.ops}
    found = []
    for optimize in ("time", "ram"):
        chosen = {op.index: choose(op, target, optimize) for op in graph.ops}
        best: Plan | None = planned(graph, stages, chosen, "ram")
        while best is not None:
            found.append(best)
            best = _lowered(graph, best, alternatives, trials)
    return _hastened(graph, min(found, key=_height), alternatives, trials)


def _lowered(graph: Graph, plan: Plan, alternatives: Alternatives, trials: _Trials) -> Plan | None:
    """The first plan that one exchange makes lower, or None."""
    for op in _at_the_top(plan):
        for call in alternatives[op.index]:
            if call.kernel != plan.calls[op.index].kernel and trials.take():
                trial = planned(graph, plan.stages, {**plan.calls, op.index: call}, plan.optimize, EFFORT // 10)
                if _height(trial) < _height(plan):
                    return trial
    return None


def _hastened(graph: Graph, plan: Plan, alternatives: Alternatives, trials: _Trials) -> Plan:
    """The plan with each op's fastest kernel that keeps the arena as small; ops with most work have the first pick."""
    ops = sorted((op for stage in plan.stages for op in stage.ops), key=lambda op: -op.macs())
    for rank in range(max(map(len, alternatives.values()), default=0)):
        faster = {}
        for op in ops:
            slower = [call.kernel for call in alternatives[op.index][rank + 1 :]]
            if plan.calls[op.index].kernel in slower:
                faster[op.index] = alternatives[op.index][rank]
        plan = _with_all_that_fit(graph, plan, faster, trials)
    return plan


def _with_all_that_fit(graph: Graph, plan: Plan, calls: Mapping[int, KernelCall], trials: _Trials) -> Plan:
    """The plan with those of the calls with which its arena does not grow: all, or what fits of each half."""
    if not calls or not trials.take():
        return plan
    chosen = {**plan.calls, **calls}
    trial = planned(graph, plan.stages, chosen, plan.optimize, EFFORT // 100, like=plan)
    if trial.arena_size <= plan.arena_size:
        return trial
    if len(calls) > 1:
        items = list(calls.items())
        for part in (items[: len(items) // 2], items[len(items) // 2 :]):
            plan = _with_all_that_fit(graph, plan, dict(part), trials)
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


def _peak(buffers: Sequence[Buffer]) -> tuple[int, list[Buffer]]:
    """The step with the most bytes alive, and the buffers alive in it."""
    steps = range(max((b.last for b in buffers), default=0) + 1)
    step = max(steps, key=lambda s: sum(b.size for b in buffers if b.first <= s <= b.last))
    return step, [b for b in buffers if b.first <= step <= b.last]
