"""Building, running on the host, and what goes wrong with tools, with a model checked by hand."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake import EMULATED, FAKE, LIMIT, STRICT, assert_same, expected, samples

from trecx.compiler.target import CORTEX_M4, HOST, RISCV, Target
from trecx.device import elf, toolchain
from trecx.device.build import HOOKS, Build, Options, build
from trecx.device.run import layer_outputs, run_host, run_qemu
from trecx.device.serve import serve
from trecx.errors import AnswerIsNo, ToolMissing, TrecxError


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return build(FAKE, HOST, tmp_path_factory.mktemp("host"), options=STRICT)


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
    outputs = layer_outputs(host, one[np.newaxis], (0,))
    assert list(outputs) == [0, 2, 3]
    assert np.array_equal(outputs[2], whole.logits[0]) and np.array_equal(outputs[3], whole.scores[0])
    assert list(layer_outputs(host, one[np.newaxis], (2**32 - 1,))) == [0, 1]


@pytest.mark.parametrize("target", [pytest.param(HOST, id="host"), *EMULATED])
def test_same_sources_give_the_same_program_wherever_they_lie(target: Target, tmp_path: Path) -> None:
    programs = []
    for folder in ("one", "two/deeper with space"):
        shutil.copytree(FAKE, tmp_path / folder)
        built = build(tmp_path / folder, target, tmp_path / folder / "out")
        programs.append(built.elf.read_bytes())
    assert programs[0] == programs[1]
    assert str(tmp_path).encode() not in programs[0]


@pytest.mark.parametrize("target", EMULATED)
@pytest.mark.parametrize(("field", "region"), [("flash_size", "flash"), ("ram_size", "ram")])
@pytest.mark.parametrize("size", [4096, 7000])
def test_what_does_not_fit_is_refused_with_need_and_size(
    target: Target, field: str, region: str, size: int, tmp_path: Path
) -> None:
    with pytest.raises(AnswerIsNo, match=rf"needs [\d,]+ bytes of {region}, and {size:,} are there"):
        build(FAKE, replace(target, **{field: size}), tmp_path)  # type: ignore[arg-type]
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


@pytest.mark.parametrize("program", HOOKS)
def test_a_program_that_looks_inside_is_refused_c_without_hooks(program: str, tmp_path: Path) -> None:
    shutil.copytree(FAKE, tmp_path / "plain")
    source = tmp_path / "plain" / "fake.c"
    source.write_text(source.read_text().replace("TRECX_HOOK(", "NO_HOOK("))
    with pytest.raises(TrecxError, match=rf"no hooks, which the program '{program}' needs"):
        build(tmp_path / "plain", HOST, tmp_path / "out", program)
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("target", "packages"),
    [
        (HOST, "gcc libc6-dev"),
        (CORTEX_M4, "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"),
        (RISCV, "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc"),
    ],
    ids=lambda value: value.name if isinstance(value, Target) else "",
)
def test_missing_tools_say_how_to_get_them(
    target: Target, packages: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=rf"{target.compiler} is not installed.\n.*apt install .*{packages}"):
        build(FAKE, target, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    emulator = (target.emulator or (target.compiler,))[0]
    with pytest.raises(ToolMissing, match=rf"{emulator} is not installed.\n.*apt install .*{packages}"):
        toolchain.require(emulator)
    assert all(tool.path is None and "apt install" in tool.hint for tool in toolchain.tools())


@pytest.mark.parametrize(
    ("target", "complaint", "package"),
    [
        (CORTEX_M4, "fatal error: string.h: No such file or directory", "libnewlib-arm-none-eabi"),
        (RISCV, "riscv64-unknown-elf-gcc: fatal error: cannot read spec file 'picolibc.specs'", "picolibc-riscv64"),
    ],
    ids=["newlib", "picolibc"],
)
def test_a_missing_c_library_is_a_missing_tool(
    target: Target, complaint: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / target.compiler, f'echo "{complaint}: No such file or directory" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ToolMissing, match=rf"has no C library.\n.*{package}"):
        build(FAKE, target, tmp_path / "out")


def test_toolchain_lists_what_is_there() -> None:
    found = {tool.name: tool for tool in toolchain.tools()}
    assert found["cc"].path and found["cc"].version
    assert {"arm-none-eabi-gcc", "qemu-system-arm", "newlib"} <= set(found)
    assert {"riscv64-unknown-elf-gcc", "qemu-system-riscv32", "picolibc"} <= set(found)


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


def test_serving_names_the_port_and_an_emulator_that_ends_is_an_error(host: Build, tmp_path: Path) -> None:
    program = script(tmp_path / "emulator", "echo 'char device redirected to /dev/pts/7 (label serial0)'; exit 4")
    said: list[str] = []
    with pytest.raises(TrecxError, match="status 4"):
        serve(replace(host, target=replace(host.target, emulator=(str(program),))), said.append)
    assert "/dev/pts/7" in said[0]
    silent = script(tmp_path / "silent", "echo no pty here")
    with pytest.raises(TrecxError, match="no pty here"):
        serve(replace(host, target=replace(host.target, emulator=(str(silent),))), said.append)


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_emulator_dies_with_the_program_that_started_it(host: Build, tmp_path: Path, ended_by: int) -> None:
    told = "echo 'char device redirected to /dev/pts/7 (label serial0)'; exec sleep 600"
    emulator = script(tmp_path / "emulator", f"echo $$ > {tmp_path}/pid; {told}")
    code = (
        "import sys, pathlib; from dataclasses import replace; from trecx.compiler.target import HOST\n"
        "from trecx.device.build import load; from trecx.device.serve import serve\n"
        f"host = load(pathlib.Path({str(host.elf.parent)!r}), HOST)\n"
        f"serve(replace(host, target=replace(HOST, emulator=({str(emulator)!r},))), lambda t: print(t, flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as serving:
        assert serving.stdout is not None and b"/dev/pts/7" in serving.stdout.readline()
        serving.send_signal(ended_by)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(pid)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped yet does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
