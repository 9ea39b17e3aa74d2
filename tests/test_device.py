"""Building for the host and for Cortex-M4, running there, counting instructions, with a model checked by hand."""

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trecx.compiler.target import CORTEX_M4, HOST, Target
from trecx.device import build as device_build
from trecx.device import elf, toolchain
from trecx.device.build import Build, Options, build
from trecx.device.qemu import counting
from trecx.device.run import Answers, layer_outputs, run_host, run_qemu, self_test
from trecx.device.serve import serve
from trecx.errors import AnswerIsNo, ToolMissing, TrecxError

FAKE = Path(__file__).parent / "fake_model"
STRICT = Options(strict=True)
needs_arm = pytest.mark.skipif(
    not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")), reason="needs the Arm tools"
)
LIMIT = 20


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return build(FAKE, HOST, tmp_path_factory.mktemp("host"), options=STRICT)


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return build(FAKE, CORTEX_M4, tmp_path_factory.mktemp("arm"), options=STRICT)


def samples(n: int) -> np.ndarray:
    drawn = np.random.default_rng(7).integers(-128, 128, (n, 490), dtype=np.int8)
    drawn[:, 1] = 0  # on the microcontroller: high byte of the rounds to spend
    return drawn


def expected(inputs: np.ndarray, limit: int) -> Answers:
    """The fake model in numpy: sums modulo 256 over every twelfth input."""

    def sums(part: np.ndarray) -> np.ndarray:
        padded = np.zeros((len(part), -(-part.shape[1] // 12) * 12), np.int64)
        padded[:, : part.shape[1]] = part
        return padded.reshape(len(part), -1, 12).sum(axis=1).astype(np.uint8).view(np.int8)

    early, final = sums(inputs[:, :245]), sums(inputs)
    leaves = 127 - early.max(axis=1).astype(int) < limit
    logits = np.where(leaves[:, np.newaxis], early, final)
    scores = logits >> 1
    return Answers((~leaves).astype(np.uint8), scores.argmax(axis=1).astype(np.uint8), scores, logits)


def assert_same(one: Answers, other: Answers) -> None:
    for field in ("exit_taken", "labels", "scores", "logits"):
        assert np.array_equal(getattr(one, field), getattr(other, field)), field


@pytest.mark.parametrize("limit", [0, LIMIT, 2**32 - 1])
def test_host_program_answers_like_the_model(host: Build, limit: int) -> None:
    inputs = samples(600)
    seen: list[tuple[int, int]] = []
    answers = run_host(host, inputs, (limit,), lambda done, total: seen.append((done, total)))
    assert_same(answers, expected(inputs, limit))
    assert seen[-1] == (600, 600) and len(seen) > 1
    assert answers.instructions is None


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("program", ["trace", "serve"])
def test_firmware_is_clean_under_strict_warnings(compiler: str, program: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    built = build(FAKE, replace(HOST, compiler=compiler), tmp_path, program, STRICT)
    assert os.access(built.elf, os.X_OK)


def test_sanitized_program_answers_the_same(tmp_path: Path) -> None:
    built = build(FAKE, HOST, tmp_path, options=Options(strict=True, sanitize=True))
    inputs = samples(5)
    assert_same(run_host(built, inputs, (LIMIT,)), expected(inputs, LIMIT))


def test_sanitizer_finds_a_read_beyond_the_arena(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(FAKE, broken)
    source = (broken / "fake.c").read_text()
    (broken / "fake.c").write_text(
        source.replace(
            "sums(fake_arena, FAKE_INPUT_BYTES / 2, FAKE_INPUT_BYTES,",
            "sums(fake_arena, FAKE_INPUT_BYTES / 2, FAKE_ARENA_BYTES + 1,",
        )
    )
    built = build(broken, HOST, tmp_path / "out", options=Options(sanitize=True))
    with pytest.raises(TrecxError, match="global-buffer-overflow"):
        run_host(built, samples(1), (0,))


def test_every_operator_can_be_seen(host: Build) -> None:
    one = samples(1)[0]
    whole = expected(one[np.newaxis], 0)
    outputs = layer_outputs(host, one, (0,))
    assert list(outputs) == [0, 2, 3]
    assert np.array_equal(outputs[2], whole.logits[0]) and np.array_equal(outputs[3], whole.scores[0])
    assert list(layer_outputs(host, one, (2**32 - 1,))) == [0, 1]


@needs_arm
@pytest.mark.parametrize("limit", [0, LIMIT])
def test_emulated_firmware_answers_and_counts_the_same_every_time(arm: Build, limit: int) -> None:
    inputs = samples(30)
    first, second = run_qemu(arm, inputs, (limit,)), run_qemu(arm, inputs, (limit,))
    assert_same(first, expected(inputs, limit))
    assert first.instructions is not None and second.instructions is not None
    assert np.array_equal(first.instructions, second.instructions)
    assert first.stack is not None and 50 < first.stack < 2000


@needs_arm
def test_instructions_are_counted_exactly(arm: Build) -> None:
    """The fake model spends 2 instructions per round of a loop, as many rounds as its first two bytes say."""
    rounds = np.array([0, 1, 10, 255, 256, 999, 1000, 65535])
    inputs = np.zeros((len(rounds), 490), np.int8)
    inputs[:, :2] = rounds.astype("<u2").view(np.int8).reshape(-1, 2)
    inputs[:, 12], inputs[:, 13] = -inputs[:, 0], -inputs[:, 1]  # the same sums for all, so the same path
    counted = run_qemu(arm, inputs, (0,)).instructions
    assert counted is not None
    assert np.array_equal(counted.astype(int) - int(counted[0]), 2 * rounds)


@needs_arm
def test_measuring_itself_is_not_counted(tmp_path: Path) -> None:
    """A model that does nothing costs nothing; one instruction more is counted as one."""
    shutil.copytree(FAKE, tmp_path / "idle")
    source = (FAKE / "fake.c").read_text()
    around = source[source.index("void fake_init") : source.index("/* On the")]
    around += source[source.index("int fake_set_threshold") :]
    head = source[: source.index("static const uint8_t weights")]
    for extra, count in (("", 0), ('__asm__ volatile("nop");', 1), ('__asm__ volatile("nop\\n\\tnop");', 2)):
        (tmp_path / "idle" / "fake.c").write_text(
            f"{head}void fake_run(fake_result_t *result) {{ (void)result; {extra} }}\n{around}"
        )
        built = build(tmp_path / "idle", CORTEX_M4, tmp_path / "out")
        counted = run_qemu(built, samples(3), (0,)).instructions
        assert counted is not None and counted.tolist() == [count] * 3


@needs_arm
def test_samples_by_serial_port_and_by_memory_are_the_same(arm: Build) -> None:
    inputs = samples(3)
    by_serial = run_qemu(replace(arm, target=replace(arm.target, samples_address=None)), inputs, (LIMIT,))
    by_memory = run_qemu(arm, inputs, (LIMIT,))
    assert_same(by_serial, by_memory)
    assert np.array_equal(by_serial.instructions, by_memory.instructions)  # type: ignore[arg-type]


@needs_arm
def test_more_samples_than_the_memory_holds_are_run_in_turns(arm: Build) -> None:
    inputs = samples(5)
    small = replace(arm, target=replace(arm.target, samples_size=2 * 490))
    assert_same(run_qemu(small, inputs, (LIMIT,)), expected(inputs, LIMIT))


@needs_arm
def test_unsigned_payloads_reach_the_model_as_int8(tmp_path: Path) -> None:
    built = build(FAKE, CORTEX_M4, tmp_path, options=Options(strict=True, defines=("FAKE_INPUT_OFFSET=128",)))
    assert built.model.input_offset == 128
    inputs = samples(4)
    assert_same(run_qemu(built, inputs, (LIMIT,)), expected(inputs, LIMIT))


@needs_arm
def test_known_answer_test_runs_on_the_device(arm: Build) -> None:
    assert self_test(arm) == 0


@needs_arm
def test_sizes_are_those_of_the_firmware(arm: Build) -> None:
    sizes = arm.sizes
    assert sizes.arena == 512
    assert sizes.network_code + sizes.network_tables <= sizes.network_flash < sizes.flash < 16 * 1024
    assert sizes.network_ram == 512 + 4  # the arena and one limit
    assert 512 + 490 <= sizes.ram < 2048
    assert dict(sizes.sections)[".stack"] == sizes.stack_reserved
    assert device_build.load(arm.elf.parent, CORTEX_M4) == arm
    assert device_build.load(arm.elf.parent, HOST) is None


@needs_arm
def test_firmware_has_no_heap_stdio_or_float(arm: Build) -> None:
    image = arm.elf.read_bytes()
    for name in (b"malloc", b"printf", b"__aeabi_fadd", b"__aeabi_dadd", b"_sbrk"):
        assert name not in image, name
    assert b"measure" in image or b"main" in image  # the symbol table is there to be searched


@pytest.mark.parametrize("target", [HOST, pytest.param(CORTEX_M4, marks=needs_arm)], ids=lambda t: t.name)
def test_same_sources_give_the_same_program_wherever_they_lie(target: Target, tmp_path: Path) -> None:
    programs = []
    for folder in ("one", "two/deeper with space"):
        shutil.copytree(FAKE, tmp_path / folder)
        built = build(tmp_path / folder, target, tmp_path / folder / "out")
        programs.append(built.elf.read_bytes())
    assert programs[0] == programs[1]
    assert str(tmp_path).encode() not in programs[0]


@needs_arm
@pytest.mark.parametrize(("field", "region"), [("flash_size", "flash"), ("ram_size", "ram")])
@pytest.mark.parametrize("size", [4096, 7000])
def test_what_does_not_fit_is_refused_with_need_and_size(field: str, region: str, size: int, tmp_path: Path) -> None:
    with pytest.raises(AnswerIsNo, match=rf"needs [\d,]+ bytes of {region}, and {size:,} are there"):
        build(FAKE, replace(CORTEX_M4, **{field: size}), tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_sizes_are_checked_where_no_linker_script_does_it(tmp_path: Path) -> None:
    with pytest.raises(AnswerIsNo) as caught:
        build(FAKE, replace(HOST, flash_size=1000, ram_size=100), tmp_path)
    assert len(caught.value.problems) == 2


def test_compiler_errors_are_shown_and_the_last_build_survives(tmp_path: Path) -> None:
    built = build(FAKE, HOST, tmp_path / "out")
    before = built.elf.read_bytes()
    shutil.copytree(FAKE, tmp_path / "broken")
    with (tmp_path / "broken" / "fake.c").open("a") as file:
        file.write("int broken(void) { return nothing; }\n")
    with pytest.raises(TrecxError, match=r"(?s)compile fake\.c.*nothing") as caught:
        build(tmp_path / "broken", HOST, tmp_path / "out")
    assert len(caught.value.problems) < 15
    assert built.elf.read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["build.json", "trace"]


def test_missing_compiler_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"arm-none-eabi-gcc is not installed.\n.*apt install"):
        build(FAKE, CORTEX_M4, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    missing = toolchain.tools()
    assert all(tool.path is None and "apt install" in tool.hint for tool in missing)


def test_toolchain_lists_what_is_there() -> None:
    found = {tool.name: tool for tool in toolchain.tools()}
    assert found["cc"].path and found["cc"].version
    assert {"arm-none-eabi-gcc", "qemu-system-arm", "newlib"} <= set(found)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrecxError, match=r"trecx_model\.h is missing"):
        build(tmp_path, HOST, tmp_path / "out")


def test_unwritable_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrecxError, match="Cannot write"):
        build(FAKE, HOST, tmp_path / "file")


def test_elf_reader_refuses_other_files(tmp_path: Path) -> None:
    for content in (b"", b"\x7fELF\x01\x01", b"MZ" * 100, b"\x7fELF\x02\x01" + b"\xff" * 200):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(TrecxError, match="not an ELF file"):
            elf.sections(tmp_path / "x")


def test_wrong_inputs_are_all_named_at_once(host: Build) -> None:
    with pytest.raises(TrecxError) as caught:
        run_host(host, np.zeros((2, 10), np.float32), (1, -1))
    assert len(caught.value.problems) == 4


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("kill -SEGV $$", "SIGSEGV"),
        ("cat >/dev/null; echo trouble >&2; exit 3", "(?s)status 3.*trouble"),
        ("cat >/dev/null; echo x", "wrote 2 bytes"),
        ("exec sleep 60", "did not finish"),
    ],
)
def test_host_programs_that_misbehave_end_in_an_error(host: Build, tmp_path: Path, program: str, message: str) -> None:
    misbehaving = replace(host, elf=script(tmp_path / "program", program))
    with pytest.raises(TrecxError, match=message):
        run_host(misbehaving, samples(2), (0,), timeout_s=2.0)


@pytest.mark.parametrize(
    ("emulator", "message"),
    [
        ("exec sleep 60", "silent"),
        ("echo no such machine >&2; exit 1", "(?s)went away.*no such machine"),
        ("printf 'm-ready\\n'; exec sleep 60", "silent"),
        ("printf 'm-ready\\n'; head -c 1 >/dev/null; printf 'e-[fault]\\n'; exec sleep 60", "crashed"),
        (
            "printf 'm-ready\\n'; head -c 1 >/dev/null; printf 'e-[No]\\nm-ready\\n'; exec sleep 60",
            r"answered .* with e-\[No\]",
        ),
        ("printf 'm-ready\\n'; exec cat /dev/zero", "garbage"),
    ],
)
def test_emulators_that_misbehave_end_in_an_error(host: Build, tmp_path: Path, emulator: str, message: str) -> None:
    program = script(tmp_path / "emulator", f"echo $$ > {tmp_path}/pid; {emulator}")
    hung = replace(host, target=replace(host.target, emulator=(str(program),)))
    with pytest.raises(TrecxError, match=message):
        run_qemu(hung, samples(1), (0,), timeout_s=1.0)
    with pytest.raises(ProcessLookupError):  # reaped, not left behind
        os.kill(int((tmp_path / "pid").read_text()), 0)


@needs_arm
def test_a_stack_overflow_is_reported_as_a_fault(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    shutil.copytree(FAKE, deep)
    (deep / "fake_test.c").write_text(
        '#include "fake.h"\n'
        "static int dig(int depth) {\n"
        "  volatile int frame[64];\n"
        "  frame[depth % 64] = depth;\n"
        "  return depth == 0 ? 0 : dig(depth - 1) + frame[depth % 64];\n"
        "}\n"
        "int fake_self_test(void) { return dig(100000); }\n"
    )
    built = build(deep, CORTEX_M4, tmp_path / "out")
    with pytest.raises(TrecxError, match="fault"):
        self_test(built)


def test_serving_names_the_port_and_an_emulator_that_ends_is_an_error(host: Build, tmp_path: Path) -> None:
    program = script(tmp_path / "emulator", "echo 'char device redirected to /dev/pts/7 (label serial0)'; exit 4")
    said: list[str] = []
    with pytest.raises(TrecxError, match="status 4"):
        serve(replace(host, target=replace(host.target, emulator=(str(program),))), said.append)
    assert "/dev/pts/7" in said[0]
    silent = script(tmp_path / "silent", "echo no pty here")
    with pytest.raises(TrecxError, match="no pty here"):
        serve(replace(host, target=replace(host.target, emulator=(str(silent),))), said.append)


@needs_arm
def test_limits_beyond_the_exits_are_refused_by_the_device(arm: Build) -> None:
    with counting(arm) as console, pytest.raises(TrecxError, match="early exit"):
        console.value("limit 1 5", "limit")
