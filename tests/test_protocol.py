"""MLPerf Tiny's serial protocol, as its runner and as a hostile sender would speak it."""

import os
import random
import re
import subprocess
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from devices import synchronize
from fake import EMULATED, FAKE

from trecx.compiler.target import HOST
from trecx.device.build import Build, Options, build
from trecx.device.console import Console, load_commands
from trecx.device.qemu import served

BOOT = ["m-timestamp-mode-performance", "m-lap-us-#", "m-init-done", "m-ready"]


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The serve loop on this machine, with every overrun and undefined operation fatal."""
    options = Options(strict=True, sanitize=True)
    return build(FAKE, HOST, tmp_path_factory.mktemp("serve"), "serve", options)


def talk(firmware: Build, sends: bytes | str) -> list[str]:
    """Everything the firmware says until the cable is unplugged, times replaced by #."""
    sends = sends.encode() if isinstance(sends, str) else sends
    done = subprocess.run([firmware.elf], input=sends, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    text = done.stdout.decode("ascii")
    assert text.count("\n") == text.count("\r\n")
    lines = re.sub(r"m-lap-us-\d+", "m-lap-us-#", text).split("\r\n")
    assert lines[: len(BOOT)] == BOOT and lines[-1] == ""
    return lines[len(BOOT) : -1]


def loading(payload: bytes) -> str:
    return "".join(f"{command}%" for command in load_commands(payload))


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("name", ["m-name-dut-[trecx]"]),
        ("timestamp", ["m-lap-us-#"]),
        ("profile", ["m-profile-[ULPMark for tinyML Firmware V0.0.1]", "m-model-[kws01]"]),
        ("db load 490", ["m-[Expecting 490 bytes]"]),
        ("", []),
        (" \r\n", []),
        ("  name  ", ["m-name-dut-[trecx]"]),
        ("na\r\nme", ["m-name-dut-[trecx]"]),
        ("test", ["m-test-[0]"]),
        ("memory", ["m-memory-[512,0]"]),
        ("limit 0 4294967295", ["m-limit-[0,4294967295]"]),
        ("limit 0 0", ["m-limit-[0,0]"]),
        ("names", ["e-[Unknown command: names]"]),
        ("NAME", ["e-[Unknown command: NAME]"]),
        ("x\x7f\x80]y", ["e-[Unknown command: x???y]"]),
        ("db", ["e-[Command 'db' requires a subcommand]"]),
        ("db load", ["e-[Command 'db load' requires the # of bytes]"]),
        ("db load x", ["e-[Command 'db load' requires the # of bytes]"]),
        ("db load 0", ["e-[Command 'db load' must be as many bytes as the model's input: 490]"]),
        ("db load 491", ["e-[Command 'db load' must be as many bytes as the model's input: 490]"]),
        ("db load 4294967786", ["e-[Command 'db load' requires the # of bytes]"]),
        ("db load -490", ["e-[Command 'db load' requires the # of bytes]"]),
        ("db 00", ["e-[Command 'db' requires a 'db load' first]"]),
        ("infer 0", ["e-[Inference iterations must be >0 and <=65535]"]),
        ("infer x", ["e-[Inference iterations must be >0 and <=65535]"]),
        ("infer 4294967295", ["e-[Inference iterations must be >0 and <=65535]"]),
        ("infer 1 -1", ["e-[Inference warmup must be >=0 and <=65535]"]),
        ("results", ["e-[No inference yet]"]),
        ("pick 0", ["e-[Command 'pick' requires a sample in memory; their number is 0]"]),
        ("limit 1 0", ["e-[Command 'limit' requires a limit below 2^32 and an early exit; their number is 1]"]),
        ("limit 256 0", ["e-[Command 'limit' requires a limit below 2^32 and an early exit; their number is 1]"]),
        (
            "limit 0 4294967296",
            ["e-[Command 'limit' requires a limit below 2^32 and an early exit; their number is 1]"],
        ),
        ("limit 0", ["e-[Command 'limit' requires a limit below 2^32 and an early exit; their number is 1]"]),
        ("n" * 80, ["e-[Unknown command: " + "n" * 80 + "]"]),
        ("n" * 81, ["e-[Command is longer than 80 characters]"]),
        ("name" + " " * 100_000, ["e-[Command is longer than 80 characters]"]),
    ],
)
def test_commands_and_their_replies(firmware: Build, command: str, reply: list[str]) -> None:
    assert talk(firmware, command.encode("latin-1") + b"%") == [*reply, "m-ready"]


def test_help_names_every_command(firmware: Build) -> None:
    lines = talk(firmware, "help%")
    for command in ("name", "timestamp", "profile", "db", "infer", "results", "raw", "limit", "memory", "test"):
        assert any(line.startswith(f"{command} ") for line in lines), command
    assert lines[-1] == "m-ready"


def test_a_sample_is_loaded_as_the_runner_loads_it(firmware: Build) -> None:
    payload = bytes(k % 251 for k in range(490))
    lines = ["db load 490", *(f"db {payload[k : k + 31].hex()}" for k in range(0, 490, 31)), "db print"]
    replies = talk(firmware, "".join(f"{line}%" for line in lines))
    loading = replies[: replies.index("m-load-done")]
    assert loading == ["m-[Expecting 490 bytes]", "m-ready", *["m-ready"] * 15]
    printed = [line.removeprefix("m-buffer-") for line in replies if line.startswith("m-buffer-")]
    assert len(printed) == 62 and bytes.fromhex("".join(printed).replace("-", "")) == payload


def test_broken_bytes_change_nothing_and_surplus_bytes_are_dropped(firmware: Build) -> None:
    first, rest = bytes(range(31)), bytes(459)
    broken = ["db 0", "db 0g", "db 00 11", f"db {'f' * 61}x"]
    sends = ["db load 490", f"db {first.hex()}", broken[0], broken[1], broken[3]]
    sends += [f"db {rest[k : k + 38].hex()}" for k in range(0, 459 - 3, 38)] + ["db 00000000ff", "db ff", "db print"]
    replies = talk(firmware, "".join(f"{line}%" for line in sends))
    assert [line for line in replies if line.startswith("e-")] == [
        "e-[Insufficient number of hex digits]",
        "e-[Invalid hex digits '0g']",
        f"e-[Invalid hex digits '{'f' * 61}x']",
        "e-[Command 'db' requires a 'db load' first]",
    ]
    printed = "".join(line.removeprefix("m-buffer-") for line in replies if line.startswith("m-buffer-"))
    assert bytes.fromhex(printed.replace("-", ""))[:31] == first
    assert "ff" not in printed


def test_infer_reports_laps_and_results_in_the_runners_order(firmware: Build) -> None:
    payload = bytearray(490)
    payload[3], payload[4], payload[245] = 100, 0xF0, 2  # logits 100, -16 early; class 5 gets 2 in the second half
    head = ["m-warmup-start-4", "m-warmup-done", "m-infer-start-3", "m-lap-us-#", "m-lap-us-#", "m-infer-done"]
    scores = [0.5] * 12
    scores[3], scores[4], scores[5] = (50 + 128) / 256, (-8 + 128) / 256, (1 + 128) / 256
    result = "m-results-[" + ",".join(f"{score:.3f}" for score in scores) + "]"
    replies = talk(firmware, "limit 0 0%" + loading(bytes(payload)) + "infer 3 4%results%")
    assert replies[replies.index("m-load-done") + 2 :] == [
        *head,
        result,
        "m-exit-[1]",
        "m-ready",
        result,
        "m-exit-[1]",
        "m-ready",
    ]


def test_warmups_default_to_ten(firmware: Build) -> None:
    replies = talk(firmware, "infer%")
    assert replies[0] == "m-warmup-start-10" and replies[2] == "m-infer-start-1"


def test_every_score_is_printed_with_three_rounded_decimals(firmware: Build) -> None:
    """scores are logits / 2 in the fake model: -64 ... 63."""
    for first in range(-128, 127, 12):
        payload = np.zeros(490, np.int8)
        payload[:12] = np.minimum(np.arange(first, first + 12), 127)
        replies = talk(firmware, "limit 0 4294967295%" + loading(payload.tobytes()) + "infer 1 0%")
        shown = next(line for line in replies if line.startswith("m-results"))[11:-1].split(",")
        exact = ((payload[:12].astype(int) >> 1) + 128) / 256
        assert [len(text) for text in shown] == [5] * 12
        assert np.abs(np.array(shown, float) - exact).max() <= 0.0005 + 1e-9


def test_raw_tells_exactly_what_the_model_answered(firmware: Build) -> None:
    payload = bytearray(490)
    payload[7] = 0x81  # logit -127
    replies = talk(firmware, loading(bytes(payload)) + "limit 0 0%raw%limit 0 4294967295%raw%")
    raws = [re.sub(r",\d+,(?=[0-9a-f]{24},)", ",#,", line) for line in replies if line.startswith("m-raw")]
    tail = "#,00000000000000c000000000,000000000000008100000000]"
    assert raws == [f"m-raw-[1,0,{tail}", f"m-raw-[0,0,{tail}"]


def test_an_incomplete_sample_is_not_run(firmware: Build) -> None:
    replies = talk(firmware, "db load 490%db 0011%infer 1%raw%")
    assert [line for line in replies if line.startswith("e-")] == [
        "e-[The sample is incomplete, bytes missing: 488]"
    ] * 2
    assert not any(line.startswith(("m-results", "m-raw", "m-warmup")) for line in replies)


def test_hostile_input_neither_overruns_nor_hangs(firmware: Build) -> None:
    """Random bytes and mutated commands under ASan and UBSan; the firmware answers each `%` and still works after."""
    chance = random.Random(3)
    words = [
        "name",
        "db",
        "load",
        "490",
        "print",
        "infer",
        "1",
        "0",
        "raw",
        "limit",
        "pick",
        "results",
        "ff" * 38,
        "%",
        " ",
    ]
    for _ in range(40):
        pieces = []
        for _ in range(60):
            if chance.random() < 0.3:
                pieces.append(bytes(chance.randrange(256) for _ in range(chance.randrange(200))))
            else:
                pieces.append(" ".join(chance.choices(words, k=chance.randrange(1, 6))).encode())
            pieces.append(b"%" if chance.random() < 0.7 else b"")
        sends = b"".join(pieces) + b"%"
        replies = talk(firmware, sends + b"name%")
        assert replies.count("m-ready") == sends.count(b"%") + 1
        assert replies[-2:] == ["m-name-dut-[trecx]", "m-ready"]


def test_a_closed_listener_ends_the_host_program(firmware: Build) -> None:
    process = subprocess.Popen([firmware.elf], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None and process.stdout is not None
    process.stdout.close()
    with suppress(BrokenPipeError):  # it may have ended at its greeting, or ends at this reply
        process.stdin.write(b"name%")
        process.stdin.close()
    assert process.wait(timeout=20) != 0


@pytest.fixture(scope="module", params=EMULATED)
def terminal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Each target's firmware behind a pseudo-terminal, opened as a serial program opens a port."""
    firmware = build(FAKE, request.param, tmp_path_factory.mktemp("pty"), options=Options(strict=True))
    with served(firmware) as running:
        port = os.open(running.path, os.O_RDWR | os.O_NOCTTY)
        try:
            tty.setraw(port, termios.TCSANOW)
            synchronize(port)
            yield port
        finally:
            os.close(port)
        assert running.process.poll() is None
    assert running.process.returncode is not None


def test_the_runners_conversation_works_over_a_terminal(terminal: int) -> None:
    console = Console(terminal, terminal, timeout_s=20)
    assert console.ask("name") == ("m-name-dut-[trecx]",)
    assert console.ask("profile") == ("m-profile-[ULPMark for tinyML Firmware V0.0.1]", "m-model-[kws01]")
    sample = np.random.default_rng(1).integers(-128, 128, 490, dtype=np.int8)
    sample[1] = 0
    console.load(sample.tobytes())
    console.value("limit 0 0", "limit")
    lines = console.ask("infer 5 1")
    laps = [int(line.removeprefix("m-lap-us-")) for line in lines if line.startswith("m-lap-us-")]
    assert len(laps) == 2 and laps[0] < laps[1] < laps[0] + 10_000_000
    assert lines[-1] == "m-exit-[1]" and lines[-2].startswith("m-results-[0.")
    answer = console.infer(sample.tobytes())
    sums = np.zeros(12, np.int64)
    np.add.at(sums, np.arange(490) % 12, sample)
    logits = sums.astype(np.uint8).view(np.int8)
    assert answer.exit == 1 and np.array_equal(answer.logits, logits) and np.array_equal(answer.scores, logits >> 1)


def test_time_goes_on_over_a_terminal(terminal: int) -> None:
    console = Console(terminal, terminal, timeout_s=20)
    first = int(console.ask("timestamp")[0].removeprefix("m-lap-us-"))
    time.sleep(0.2)
    second = int(console.ask("timestamp")[0].removeprefix("m-lap-us-"))
    assert 150_000 < second - first < 10_000_000


def trace(build: Build, sends: bytes, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([build.elf, *arguments], input=sends, capture_output=True, timeout=60)


def test_trace_refuses_wrong_arguments_and_incomplete_inputs(tmp_path: Path) -> None:
    program = build(FAKE, HOST, tmp_path, options=Options(strict=True, sanitize=True))
    for arguments in ((), ("1", "2"), ("x",), ("-1",), ("4294967296",), ("",), ("1x",), ("--help",)):
        done = trace(program, b"", *arguments)
        assert done.returncode == 2 and done.stderr and not done.stdout, arguments
    assert trace(program, b"", "0").returncode == 0
    short = trace(program, bytes(490 + 7), "0")
    assert short.returncode == 2 and len(short.stdout) == 26 + 4 and b"ends with 7 bytes" in short.stderr


def test_trace_reports_a_full_disk_or_a_closed_pipe(tmp_path: Path) -> None:
    program = build(FAKE, HOST, tmp_path, options=Options(strict=True))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([program.elf, "0"], input=bytes(4900), stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and b"Writing stopped" in done.stderr
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([program.elf, "0"], input=bytes(4900), stdout=writes, stderr=subprocess.PIPE, timeout=60)
    os.close(writes)
    assert done.returncode == 1 and b"Writing stopped" in done.stderr
