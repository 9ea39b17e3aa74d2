"""Firmware in an emulator, its serial port in our hands; the emulator never outlives the `with` block, nor us."""

import ctypes
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from trecx.device import toolchain
from trecx.device.build import Build
from trecx.device.console import Console
from trecx.errors import TrecxError

PTY_TIMEOUT_S = 20
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Served:
    """Firmware behind a pseudo-terminal: any program that opens a serial port can open `path`."""

    path: str
    process: "subprocess.Popen[bytes]"

    def wait(self) -> None:
        """Until the emulator ends."""
        self.process.wait()


@contextmanager
def counting(
    build: Build, timeout_s: float = 60.0, samples: bytes = b"", further: tuple[str, ...] = ()
) -> Iterator[Console]:
    """The firmware with a clock that advances by instructions only, booted; no reply may take over `timeout_s`.

    `samples` is what the board's sample memory holds, `further` are more options for the emulator.
    """
    with tempfile.TemporaryFile() as errors, tempfile.NamedTemporaryFile(suffix=".bin") as memory:
        memory.write(samples)
        memory.flush()
        options = (*build.target.counting, *further)
        if samples and build.target.samples_address is not None:
            file = memory.name.replace(",", ",,")  # QEMU's own escape
            options += ("-device", f"loader,file={file},addr={build.target.samples_address:#x},force-raw=on")
        process = _start(build, "stdio", options, errors.fileno())
        try:
            assert process.stdin is not None and process.stdout is not None
            console = Console(process.stdout.fileno(), process.stdin.fileno(), timeout_s)
            console.boot()
            yield console
        except TrecxError as error:
            _stop(process)
            errors.seek(0)
            told = errors.read(2000).decode(errors="replace").strip()
            raise TrecxError((*error.problems, f"QEMU says: {told}") if told else error.problems, error.hint) from error
        finally:
            _stop(process)


@contextmanager
def served(build: Build) -> Iterator[Served]:
    """The firmware in real time behind a pseudo-terminal, for MLPerf Tiny's runner or a terminal program."""
    process = _start(build, "pty", (), subprocess.STDOUT)
    try:
        yield Served(_pty_path(process), process)
    finally:
        _stop(process)


def _start(build: Build, serial: str, options: tuple[str, ...], errors: int) -> "subprocess.Popen[bytes]":
    if build.target.emulator is None:
        raise TrecxError(f"The target {build.target.name} has no emulator.")
    program, *machine = build.target.emulator
    command = (toolchain.require(program), *machine, "-display", "none", "-monitor", "none", "-serial", serial)
    command += (*options, "-kernel", str(build.elf))
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, bufsize=0, preexec_fn=_die_with_us)


def _die_with_us() -> None:
    """Ask the kernel to end the emulator however we end: by SIGTERM, SIGHUP or SIGKILL no `finally` runs."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _pty_path(process: "subprocess.Popen[bytes]") -> str:
    """QEMU announces "char device redirected to /dev/pts/N (label serial0)"."""
    assert process.stdout is not None
    told = b""
    deadline = time.monotonic() + PTY_TIMEOUT_S
    while (found := re.search(rb"redirected to (/dev/\S+)", told)) is None:
        readable, _, _ = select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))
        piece = process.stdout.read(4096) if readable else b""
        if not piece:
            raise TrecxError(f"QEMU opened no pseudo-terminal. It says: {told.decode(errors='replace').strip()}")
        told += piece
    return found[1].decode()
