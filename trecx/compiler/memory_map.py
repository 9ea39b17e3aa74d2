"""The plan as data: which block of memory lies where, from which step to which; `plan.json` holds it."""

from dataclasses import dataclass

from trecx.compiler.ir import Exit, Graph
from trecx.compiler.plan import Plan, steps


@dataclass(frozen=True)
class Block:
    """Memory from `offset` on that is in use from the step `first` to the step `last`, both included; sizes in bytes.

    `kind` is "input", "tensor" or "scratch". `label` says in a few characters what lies there.
    """

    name: str
    label: str
    kind: str
    first: int
    last: int
    offset: int
    size: int


@dataclass(frozen=True)
class MemoryMap:
    """Every block of the arena. `steps` names what happens in each step: the input, operators, exit checks.

    `checks` are the steps that are exit checks. No placement of these blocks could do with less than `lower_bound`.
    """

    steps: tuple[str, ...]
    checks: tuple[int, ...]
    blocks: tuple[Block, ...]
    arena_size: int
    lower_bound: int
    optimize: str


def memory_map(graph: Graph, plan: Plan) -> MemoryMap:
    """The map of a plan, blocks in the order in which they are first used."""
    names, checks = [], []
    for number, step in enumerate(steps(plan.stages)):
        if isinstance(step, Exit):
            checks.append(number)
            names.append(f"exit {step.name}")
        else:
            names.append("input" if step is None else f"{step.index} {step.name}")
    blocks = []
    for buffer in sorted(plan.buffers, key=lambda b: (b.first, plan.start(b))):
        tensor = buffer.tensor
        scratch = tensor.index < 0
        kind = "scratch" if scratch else "input" if tensor.index == graph.input.index else "tensor"
        label = "scratch" if scratch else "x".join(str(d) for d in tensor.shape[1:] or tensor.shape)
        place = plan.start(buffer)
        blocks.append(Block(tensor.name, label, kind, buffer.first, buffer.last, place, buffer.size))
    return MemoryMap(tuple(names), tuple(checks), tuple(blocks), plan.arena_size, plan.lower_bound, plan.optimize)
