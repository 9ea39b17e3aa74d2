"""Which compilers and emulators this machine has, and how to get the missing ones."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from trecx.errors import ToolMissing

APT = "apt install --no-install-recommends"
HOST_HINT = f"{APT} gcc libc6-dev"
ARM_HINT = f"{APT} gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
RISCV_HINT = f"{APT} gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc"

# (program, what it is for, how to install it)
PROGRAMS = (
    ("cc", "builds and verifies on this machine", HOST_HINT),
    ("gcc", "second opinion on the generated C", HOST_HINT),
    ("clang", "second opinion on the generated C", f"{APT} clang"),
    ("arm-none-eabi-gcc", "builds for Cortex-M", ARM_HINT),
    ("qemu-system-arm", "runs Cortex-M firmware and counts instructions", ARM_HINT),
    ("riscv64-unknown-elf-gcc", "builds for RISC-V", RISCV_HINT),
    ("qemu-system-riscv32", "runs RISC-V firmware and counts instructions", RISCV_HINT),
)
# (C library, what it is for, its compiler, a file that the compiler finds only where the library is)
LIBRARIES = (
    ("newlib", "C library for Cortex-M", "arm-none-eabi-gcc", "libc.a"),
    ("picolibc", "C library for RISC-V", "riscv64-unknown-elf-gcc", "picolibc.specs"),
)


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
    return (*(_look_up(*program) for program in PROGRAMS), *(_library(*library) for library in LIBRARIES))


def require(program: str) -> str:
    """The path of `program`; ToolMissing with the way to install it where there is none."""
    path = shutil.which(program)
    if path is None:
        raise ToolMissing(f"{program} is not installed.", f"Install it: {hint(program)}")
    return path


def hint(program: str) -> str:
    """How to install `program` with what it needs."""
    return {name: hint for name, _, hint in PROGRAMS}.get(program, f"{APT} {program}")


def _look_up(name: str, purpose: str, hint: str) -> Tool:
    path = shutil.which(name)
    lines = _first_line(path, "--version") if path else None
    return Tool(name, purpose, hint, path, lines)


def _library(name: str, purpose: str, compiler: str, file: str) -> Tool:
    """The compiler answers with a full path only where the library exists."""
    path = shutil.which(compiler)
    found = _first_line(path, f"-print-file-name={file}") if path else None
    there = found is not None and Path(found).is_absolute()
    return Tool(name, purpose, hint(compiler), found if there else None, "installed" if there else None)


def _first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.partition("\n")[0].strip() or None
