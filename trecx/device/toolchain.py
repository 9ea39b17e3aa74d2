"""Which compilers and emulators this machine has, and how to get the missing ones."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from trecx.errors import ToolMissing

APT = "apt install --no-install-recommends"
HOST_HINT = f"{APT} gcc libc6-dev"
ARM_HINT = f"{APT} gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"

# (program, what it is for, how to install it)
PROGRAMS = (
    ("cc", "builds and verifies on this machine", HOST_HINT),
    ("gcc", "second opinion on the generated C", HOST_HINT),
    ("clang", "second opinion on the generated C", f"{APT} clang"),
    ("arm-none-eabi-gcc", "builds for Cortex-M", ARM_HINT),
    ("qemu-system-arm", "runs Cortex-M firmware and counts instructions", ARM_HINT),
)
NEWLIB = ("newlib", "C library for Cortex-M", ARM_HINT)


@dataclass(frozen=True)
class Tool:
    """A program that some step uses; `path` and `version` are None where it is not installed."""

    name: str
    purpose: str
    hint: str
    path: str | None
    version: str | None


def tools() -> tuple[Tool, ...]:
    """Every program of the toolchain, installed or not, in the order of `trecx doctor`."""
    return (*(_look_up(*program) for program in PROGRAMS), _newlib())


def require(program: str) -> str:
    """The path of `program`; ToolMissing with the way to install it where there is none."""
    path = shutil.which(program)
    if path is None:
        hints = {name: hint for name, _, hint in PROGRAMS}
        raise ToolMissing(f"{program} is not installed.", f"Install it: {hints.get(program, f'{APT} {program}')}")
    return path


def _look_up(name: str, purpose: str, hint: str) -> Tool:
    path = shutil.which(name)
    lines = _first_line(path, "--version") if path else None
    return Tool(name, purpose, hint, path, lines)


def _newlib() -> Tool:
    """The compiler answers with a full path only where the library exists."""
    name, purpose, hint = NEWLIB
    compiler = shutil.which("arm-none-eabi-gcc")
    library = _first_line(compiler, "-print-file-name=libc.a") if compiler else None
    found = library is not None and Path(library).is_absolute()
    return Tool(name, purpose, hint, library if found else None, "installed" if found else None)


def _first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.partition("\n")[0].strip() or None
