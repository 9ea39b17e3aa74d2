"""Estimated cycles: what a disassembly says, and what each instruction costs on which core."""

import pytest

from trecx.device import counts
from trecx.device.counts import Executed, Instruction
from trecx.studies.bench import bench, cycles


def test_disassembly_is_read_line_by_line():
    arm = "   10a:\tf8dd 9004 \tldr.w\tr9, [sp, #4]\n   13e:\t4770      \tbx\tlr\n   140:\tbf00      \tnop\n"
    risc = "80000024:\t040007b7          \tlui\ta5,0x4000\n80000028:\tccd6                \tsw\ts5,88(sp)\n"
    assert counts.LINE.findall(arm) == [("10a", "ldr.w", "r9, [sp, #4]"), ("13e", "bx", "lr"), ("140", "nop", "")]
    assert counts.LINE.findall(risc) == [("80000024", "lui", "a5,0x4000"), ("80000028", "sw", "s5,88(sp)")]


LOAD = Instruction(0, "ldr.w", "r0, [r1]")
COSTS = [
    ("cortex-m4", "ldr", "r3, [r5, #8]", None, 2),
    ("cortex-m4", "ldrsb.w", "r3, [r5, #8]", LOAD, 1),
    ("cortex-m0", "ldr", "r3, [r5, #8]", LOAD, 2),
    ("cortex-m4", "ldrd", "r0, r3, [sp, #24]", LOAD, 3),
    ("cortex-m4", "strd", "r0, r3, [sp, #24]", None, 3),
    ("cortex-m4", "strb.w", "r0, [r1]", None, 1),
    ("cortex-m0", "strb", "r0, [r1]", None, 2),
    ("cortex-m4", "stmdb", "sp!, {r4, r5, r6, r7, r8, lr}", None, 7),
    ("cortex-m4", "ldmia.w", "r1!, {r3, r4}", None, 3),
    ("cortex-m4", "vpush", "{d8-d11}", None, 9),
    ("cortex-m4", "vldmia", "r0!, {s0-s3}", None, 5),
    ("cortex-m0", "pop", "{r4, pc}", None, 3),
    ("cortex-m4", "sdiv", "r0, r1, r2", None, 8),
    ("cortex-m3", "mla", "r0, r1, r2, r3", None, 2),
    ("cortex-m4", "mla", "r0, r1, r2, r3", None, 1),
    ("cortex-m3", "smull", "r0, r1, r2, r3", None, 4),
    ("cortex-m4", "smlad", "r0, r1, r2, r3", None, 1),
    ("cortex-m4", "addeq", "r0, r1, r2", None, 1),
]


@pytest.mark.parametrize(("core", "name", "operands", "before", "expected"), COSTS, ids=lambda value: str(value))
def test_an_instruction_costs_what_its_core_takes_for_it(core, name, operands, before, expected):
    assert cycles.cost(cycles.CORES[core], Instruction(4, name, operands), before) == expected


def test_cycles_of_a_loop():
    """ldr; ldr; subs; bne, ten times round: 2 + 1 + 1 + 1, and 2 more for each of the nine branches back."""
    lines = ((0, "ldr", "r0, [r1]"), (2, "ldr", "r2, [r3]"), (4, "subs", "r4, #1"), (6, "bne.n", "0"))
    program = {address: Instruction(address, *line) for address, *line in lines}
    found = Executed(dict.fromkeys(program, 10), {6: 9}, 40)
    assert cycles.estimate(cycles.CORES["cortex-m4"], found, program) == 10 * 5 + 9 * 2
    assert cycles.estimate(cycles.CORES["cortex-m0"], found, program) == 10 * 6 + 9 * 2


def test_every_counted_target_has_a_cycle_model_or_a_reason():
    assert {target.name for target in bench.COUNTED} == cycles.CORES.keys() | cycles.NO_MODEL.keys()
