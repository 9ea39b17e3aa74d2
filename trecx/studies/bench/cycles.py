"""Estimated cycles from a profile: counted instructions weighed with what each kind costs on a core without waits.

An estimate, not a simulation: it knows no flash, cache or bus. It is shown beside instruction counts because those
flatter instructions that do much slowly (LDM, LDRD, divisions). Costs are those of the cores' technical reference
manuals, with the means of ranges. What follows a load costs it nothing extra here; one load after another is pipelined
on Cortex-M3 and M4. "After" means the instruction before it in memory, as a profile knows no order.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from trecx.device.counts import Executed, Instruction


@dataclass(frozen=True)
class Core:
    """Cycles by kind of instruction; everything else takes 1.

    `next_load` is a load after another load, `several` what LDM, STM, PUSH and POP cost besides 1 per register, `taken`
    what leaving the straight run of code adds, `mla` multiplying and adding 32 bits, `long` and `long_mla` with 64,
    `vector` one of 128 bits.
    """

    load: int
    next_load: int
    store: int
    double: int
    several: int
    taken: int
    divide: int
    mla: int
    long: int
    long_mla: int
    vector: int = 1


CORES = {
    # The multiplier of one cycle, which Cortex-M0 has unless its maker chose the small one.
    "cortex-m0": Core(load=2, next_load=2, store=2, double=0, several=1, taken=2, divide=0, mla=0, long=0, long_mla=0),
    "cortex-m3": Core(load=2, next_load=1, store=1, double=3, several=1, taken=2, divide=8, mla=2, long=4, long_mla=5),
    "cortex-m4": Core(load=2, next_load=1, store=1, double=3, several=1, taken=2, divide=8, mla=1, long=1, long_mla=1),
    # 64 bits of a vector at a time. It overlaps what it can, which a profile cannot tell: this is without overlap.
    "cortex-m55": Core(
        load=1, next_load=1, store=1, double=1, several=1, taken=1, divide=8, mla=1, long=1, long_mla=1, vector=2
    ),
}
# As disassemblers print vector instructions, where they do not know them by name.
_VECTOR = ("v", "cdp", "ldc", "stc", "mcr", "mrc")

# Why the other targets have no estimate.
NO_MODEL = {
    "riscv": "RV32IMC is an instruction set, which many cores implement differently",
}


def estimate(core: Core, executed: Executed, program: Mapping[int, Instruction]) -> int:
    """Cycles of one inference."""
    ordered = [program[address] for address in sorted(program)]
    before = {later.address: earlier for earlier, later in pairwise(ordered)}
    total = core.taken * sum(executed.left.values())
    for address, times in executed.times.items():
        total += times * cost(core, program[address], before.get(address))
    return total


def cost(core: Core, instruction: Instruction, before: Instruction | None) -> int:
    """Cycles of one instruction that goes on to the next one, given the one before it in memory."""
    name = instruction.mnemonic
    if core.vector > 1 and name.startswith(_VECTOR):
        return core.vector
    kinds = (
        (("ldrd", "strd"), core.double),
        (("ldm", "stm", "push", "pop", "vldm", "vstm", "vpush", "vpop"), core.several + _words(instruction)),
        (("ldr", "vldr"), core.next_load if before is not None and _loads(before) else core.load),
        (("str", "vstr"), core.store),
        (("udiv", "sdiv"), core.divide),
        (("mla", "mls"), core.mla),
        (("smull", "umull"), core.long),
        # SMLALBB and its like are of the DSP extension and take 1 on the only core here that has it.
        (("smlal", "umlal"), core.long_mla),
    )
    return next((cycles for prefixes, cycles in kinds if name.startswith(prefixes)), 1)


def _loads(instruction: Instruction) -> bool:
    return instruction.mnemonic.startswith("ldr")


def _words(instruction: Instruction) -> int:
    """Registers in the list of an LDM and its like, a double one counted as two."""
    listed = re.search(r"\{(.*)\}", instruction.operands)
    count = 0
    for item in listed[1].split(",") if listed else ():
        ends = [re.fullmatch(r"([a-z]+)(\d*)", end.strip()) for end in item.split("-")]
        assert all(ends), instruction
        numbers = [int(end[2] or 0) for end in ends if end]
        count += (numbers[-1] - numbers[0] + 1) * (2 if item.strip().startswith("d") else 1)
    return count
