"""Firmware on every emulated target: answers, exact counts of instructions, stack, faults."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from devices import self_test
from fake import EMULATED, FAKE, LIMIT, STRICT, assert_same, expected, samples, where_installed

from trecx.compiler.target import CORTEX_M0, CORTEX_M4, HOST, TARGETS, Target
from trecx.device import build as device_build
from trecx.device.build import Build, Options, build
from trecx.device.qemu import counting
from trecx.device.run import profile, run_qemu
from trecx.errors import TrecxError

needs_arm = pytest.mark.parametrize("target", where_installed([CORTEX_M4]))
on_all = pytest.mark.parametrize("target", EMULATED)

DIG = """static int dig(int depth) {
  volatile int frame[64];
  frame[depth % 64] = depth;
  return depth == 0 ? 0 : dig(depth - 1) + frame[depth % 64];
}
"""


@pytest.fixture(scope="module", params=EMULATED)
def firmware(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The fake model on each emulated target in turn."""
    return build(FAKE, request.param, tmp_path_factory.mktemp("firmware"), options=STRICT)


def fake_with_self_test(folder: Path, text: str) -> Path:
    """The fake model with other contents of its known-answer test."""
    shutil.copytree(FAKE, folder)
    (folder / "fake_test.c").write_text(f'#include "fake.h"\n{text}')
    return folder


@pytest.mark.parametrize("limit", [0, LIMIT])
def test_firmware_answers_and_counts_the_same_every_time(firmware: Build, limit: int) -> None:
    inputs = samples(30)
    first, second = run_qemu(firmware, inputs, (limit,)), run_qemu(firmware, inputs, (limit,))
    assert_same(first, expected(inputs, limit))
    assert first.instructions is not None and second.instructions is not None
    assert np.array_equal(first.instructions, second.instructions)
    assert first.stack is not None and 50 < first.stack < 2000


def test_instructions_are_counted_exactly(firmware: Build) -> None:
    """The fake model spends 2 instructions per round of a loop, as many rounds as its first two bytes say."""
    rounds = np.array([0, 1, 10, 255, 256, 999, 1000, 65535])
    inputs = np.zeros((len(rounds), 490), np.int8)
    inputs[:, :2] = rounds.astype("<u2").view(np.int8).reshape(-1, 2)
    inputs[:, 12], inputs[:, 13] = -inputs[:, 0], -inputs[:, 1]  # the same sums for all, so the same path
    counted = run_qemu(firmware, inputs, (0,)).instructions
    assert counted is not None
    assert np.array_equal(counted.astype(int) - int(counted[0]), 2 * rounds)


@on_all
def test_measuring_itself_is_not_counted(target: Target, tmp_path: Path) -> None:
    """A model that does nothing costs nothing; one instruction more is counted as one."""
    shutil.copytree(FAKE, tmp_path / "idle")
    source = (FAKE / "fake.c").read_text()
    around = source[source.index("void fake_init") : source.index("/* On a micro")]
    around += source[source.index("int fake_set_threshold") :]
    head = source[: source.index("static const uint8_t weights")]
    for extra, count in (("", 0), ('__asm__ volatile("nop");', 1), ('__asm__ volatile("nop\\n\\tnop");', 2)):
        (tmp_path / "idle" / "fake.c").write_text(
            f"{head}void fake_run(fake_result_t *result) {{ (void)result; {extra} }}\n{around}"
        )
        built = build(tmp_path / "idle", target, tmp_path / "out")
        counted = run_qemu(built, samples(3), (0,)).instructions
        assert counted is not None and counted.tolist() == [count] * 3


@on_all
def test_every_operator_is_counted(target: Target, tmp_path: Path) -> None:
    """Rounds that the fake model spends before its first operator are counted there, exactly, and nowhere else."""
    profiled = build(FAKE, target, tmp_path / "profile", "profile", STRICT)
    few, many = samples(2)[:1], samples(2)[:1].copy()
    few[:, 0], many[:, 0] = 0, 100
    few[:, 12], many[:, 12] = 0, -100  # the same sums
    assert list(profile(profiled, few[0], (2**32 - 1,))) == [0, 1]
    cheap, dear = profile(profiled, few[0], (0,)), profile(profiled, many[0], (0,))
    assert list(cheap) == [0, 2, 3]
    assert {index: dear[index] - cheap[index] for index in cheap} == {0: 200, 2: 0, 3: 0}
    whole = run_qemu(build(FAKE, target, tmp_path / "serve"), few, (0,)).instructions
    assert whole is not None and 0.7 * int(whole[0]) < sum(cheap.values()) < int(whole[0])


@on_all
def test_an_operator_without_instructions_costs_nothing(target: Target, tmp_path: Path) -> None:
    shutil.copytree(FAKE, tmp_path / "marked")
    source = (FAKE / "fake.c").read_text()
    hooks = " ".join(f"TRECX_HOOK({index}, result, 0);" for index in (9, 10, 200, 11))
    text = source.replace("  spend(fake_arena);", f"  spend(fake_arena); {hooks}")
    (tmp_path / "marked" / "fake.c").write_text(text)
    counted = profile(build(tmp_path / "marked", target, tmp_path / "out", "profile"), samples(1)[0], (0,))
    assert [counted[index] for index in (10, 200)] == [0, 0]


def test_only_a_profiling_program_counts_per_operator(firmware: Build) -> None:
    with pytest.raises(TrecxError, match='program "profile"'):
        profile(firmware, samples(1)[0], (0,))


def test_samples_by_serial_port_and_by_memory_are_the_same(firmware: Build) -> None:
    inputs = samples(3)
    by_serial = run_qemu(replace(firmware, target=replace(firmware.target, samples_address=None)), inputs, (LIMIT,))
    by_memory = run_qemu(firmware, inputs, (LIMIT,))
    assert_same(by_serial, by_memory)
    assert np.array_equal(by_serial.instructions, by_memory.instructions)  # type: ignore[arg-type]


def test_the_sample_memory_can_be_filled(firmware: Build) -> None:
    """To its last byte, without touching the program."""
    size = firmware.target.samples_size
    places = size // 490
    memory = np.zeros((places, 490), np.int8)
    memory[-1] = samples(1)[0]
    with counting(firmware, samples=memory.tobytes() + bytes(size - memory.size)) as console:
        console.value("limit 0 0", "limit")
        assert np.array_equal(console.infer_picked(places - 1).logits, expected(memory[-1:], 0).logits[0])
        assert "their number is" in console.ask(f"pick {places}")[0]


def test_more_samples_than_the_memory_holds_are_run_in_turns(firmware: Build) -> None:
    inputs = samples(5)
    small = replace(firmware, target=replace(firmware.target, samples_size=2 * 490))
    assert_same(run_qemu(small, inputs, (LIMIT,)), expected(inputs, LIMIT))


@needs_arm
def test_unsigned_payloads_reach_the_model_as_int8(target: Target, tmp_path: Path) -> None:
    built = build(FAKE, target, tmp_path, options=Options(strict=True, defines=("FAKE_INPUT_OFFSET=128",)))
    assert built.model.input_offset == 128
    inputs = samples(4)
    assert_same(run_qemu(built, inputs, (LIMIT,)), expected(inputs, LIMIT))


def test_known_answer_test_runs_on_the_device(firmware: Build) -> None:
    assert self_test(firmware) == 0


def test_sizes_are_those_of_the_firmware(firmware: Build) -> None:
    sizes = firmware.sizes
    assert sizes.arena == 512
    assert sizes.network_code + sizes.network_tables <= sizes.network_flash < sizes.flash < 16 * 1024
    assert sizes.network_ram == 512 + 4  # the arena and one limit
    assert 512 + 490 <= sizes.ram < 2048
    assert dict(sizes.sections)[".stack"] == sizes.stack_reserved
    assert device_build.load(firmware.elf.parent, firmware.target) == firmware
    with pytest.raises(TrecxError, match="not 'host'"):
        device_build.load(firmware.elf.parent, HOST)


def test_firmware_has_no_heap_stdio_or_float(firmware: Build) -> None:
    image = firmware.elf.read_bytes()
    for name in (b"malloc", b"printf", b"_fadd", b"_dadd", b"__adddf3", b"__addsf3", b"_sbrk"):
        assert name not in image, name
    assert b"measure" in image or b"main" in image  # the symbol table is there to be searched


@on_all
def test_flash_matters_more_than_time_where_it_is_asked_for(target: Target, tmp_path: Path) -> None:
    fast, small = (
        build(FAKE, target, tmp_path / optimize, options=Options(strict=True, optimize=optimize))
        for optimize in ("time", "flash")
    )
    assert small.sizes.network_code < fast.sizes.network_code
    assert_same(run_qemu(small, samples(3), (LIMIT,)), expected(samples(3), LIMIT))


@on_all
def test_stack_use_is_seen(target: Target, tmp_path: Path) -> None:
    text = """static __attribute__((noinline)) int use(void) {
  volatile int8_t frame[BYTES];
  for (int k = 0; k < BYTES; k++) {
    frame[k] = 1;
  }
  return frame[0];
}
int fake_self_test(void) { return use(); }
"""
    sources = fake_with_self_test(tmp_path / "deep", text)
    used = []
    for size in (1600, 2400, 7200):
        built = build(sources, target, tmp_path / "out", options=Options(defines=(f"BYTES={size}",)))
        with counting(built) as console:
            console.value("test", "test")
            used.append(int(console.value("memory", "memory").split(",")[1]))
    assert used[0] > 1600 and np.abs(np.diff(used) - (800, 4800)).max() <= 16  # frames are aligned


@on_all
@pytest.mark.parametrize(
    "text",
    [
        f"{DIG}int fake_self_test(void) {{ return dig(100000); }}\n",
        "int fake_self_test(void) { return *(volatile int *)0xEFFFFFF0u; }\n",
        "int fake_self_test(void) { __builtin_trap(); }\n",
    ],
    ids=["stack overflow", "bad pointer", "undefined instruction"],
)
def test_what_goes_wrong_is_reported_as_a_fault(target: Target, text: str, tmp_path: Path) -> None:
    built = build(fake_with_self_test(tmp_path / "broken", text), target, tmp_path / "out")
    with pytest.raises(TrecxError) as caught:
        self_test(built)
    assert caught.value.problems == (
        "The firmware crashed: the device reports a fault (a stack overflow, a bad pointer).",
    )


@pytest.mark.parametrize("target", where_installed([CORTEX_M0]))
def test_code_for_a_cortex_m0_may_not_rely_on_the_emulated_cortex_m3(target: Target, tmp_path: Path) -> None:
    text = """int fake_self_test(void) {
  static int bytes[2];
  const char *odd = (const char *)bytes + 1;
  __asm__ volatile("" : "+r"(odd)); /* hides where it points */
  return *(const volatile int *)(const void *)odd;
}
"""
    built = build(fake_with_self_test(tmp_path / "odd", text), target, tmp_path / "out")
    with pytest.raises(TrecxError, match="fault"):
        self_test(built)


def test_limits_beyond_the_exits_are_refused_by_the_device(firmware: Build) -> None:
    with counting(firmware) as console, pytest.raises(TrecxError, match="early exit"):
        console.value("limit 1 5", "limit")


def test_every_board_is_a_targets() -> None:
    boards = {folder.name for folder in (Path(FAKE).parents[1] / "firmware" / "boards").iterdir() if folder.is_dir()}
    assert boards == {target.board for target in TARGETS}
