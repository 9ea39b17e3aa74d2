"""The plan as data: which block of memory lies where, from which step to which; `plan.json` holds it."""

from dataclasses import dataclass

import numpy as np

from trecx.compiler.graph import Exit, Graph
from trecx.compiler.plan import Plan, steps

KINDS = ("input", "tensor", "scratch")
# Of a map from a file: bytes that a target can address, and steps and blocks, of which the largest models have fewer.
MOST_BYTES, MOST_ENTRIES = 2**31, 4_096


@dataclass(frozen=True)
class Block:
    """Memory from `offset` on that is in use from the step `first` to the step `last`, both included; sizes in bytes.

    `kind` is one of KINDS. `label` says in a few characters what lies there.
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
        kind = "scratch" if scratch else "input" if graph.is_input(tensor) else "tensor"
        label = "scratch" if scratch else "x".join(str(d) for d in tensor.shape[1:] or tensor.shape)
        place = plan.start(buffer)
        blocks.append(Block(tensor.name, label, kind, buffer.first, buffer.last, place, buffer.size))
    return MemoryMap(tuple(names), tuple(checks), tuple(blocks), plan.arena_size, plan.lower_bound, plan.optimize)


def problems(memory: MemoryMap) -> list[str]:
    """What no plan can say, for a map that was read from a file: sentences, none for a sound one."""
    steps, blocks, size = len(memory.steps), memory.blocks, memory.arena_size
    if not 0 < steps <= MOST_ENTRIES or len(blocks) > MOST_ENTRIES:
        return [f"It has {steps} steps and {len(blocks)} blocks; possible: 1 to {MOST_ENTRIES} and up to as many."]
    found = []
    if not 0 < size <= MOST_BYTES:
        found.append(f"An arena of {size} bytes; possible: 1 to {MOST_BYTES}.")
    if not 0 <= memory.lower_bound <= size:
        found.append(f"A lower bound of {memory.lower_bound} bytes for an arena of {size}.")
    found += [f"Exit check in step {k} of {steps}." for k in memory.checks if not 0 <= k < steps]
    for block in blocks:
        if block.kind not in KINDS:
            found.append(f"Block {block.name!r} is of the kind {block.kind!r}; possible: {', '.join(KINDS)}.")
        if block.size < 1 or block.offset < 0 or block.offset + block.size > size:
            found.append(f"Block {block.name!r} of {block.size} bytes from {block.offset} on, in an arena of {size}.")
        if not 0 <= block.first <= block.last < steps:
            found.append(f"Block {block.name!r} lives from step {block.first} to {block.last} of {steps}.")
    if not found and (times := _sharing(blocks)) > len(blocks):
        found.append(f"{len(blocks)} blocks share bytes {times} times; a block does so once at most, when it dies.")
    return found


def _sharing(blocks: tuple[Block, ...]) -> int:
    """How often two blocks hold the same bytes in the same step."""
    values = [(b.first, b.last + 1, b.offset, b.offset + b.size) for b in blocks]
    first, end, low, high = np.array(values, np.int64).reshape(-1, 4).T
    times = 0
    for k in range(1, len(blocks)):
        steps = np.minimum(end[:k], end[k]) - np.maximum(first[:k], first[k])
        same = np.minimum(high[:k], high[k]) > np.maximum(low[:k], low[k])
        times += int(steps[same & (steps > 0)].sum())
    return times
