"""Compile a program of cases and run it: on this machine, or on an emulated target."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from trecx import resources
from trecx.compiler.ir import KernelCall
from trecx.compiler.target import HOST, Target
from vectors.cases import Case
from vectors.program import Run, program, split

HERE = Path(__file__).parent
WARNINGS = "-std=c11 -Wall -Wextra -Wpedantic -Werror -Wconversion -Wshadow -Wdouble-promotion".split()
# Kernels as ordinary functions, compiled once for all cases: sanitizers are slow on hundreds of specialised copies.
SANITIZED = ["-O1", "-fno-inline", "-DTRECX_INLINE=static inline", "-fsanitize=address,undefined"]
# Kernels as the firmware has them where it shall be small: one function that takes shapes as arguments.
SHARED = "-DTRECX_KERNEL=static __attribute__((noinline))"
# Per board: linker script and driver. The drivers speak semihosting.
DRIVERS = {
    "mps2": ("mps2.ld", "cortex_m.c"),
    "mps3_an547": ("mps3_an547.ld", "cortex_m.c"),
    "riscv_virt": ("riscv_virt.ld", "riscv.c"),
}
Runs = tuple[tuple[Run, ...], ...]


def build(text: str, folder: Path, compiler: str, flags: Sequence[str], driver: str) -> Path:
    """Compile a program of vectors with its driver; warnings are errors."""
    source, result = folder / "vectors.c", folder / "vectors"
    source.write_text(text, encoding="utf-8")
    include = f"-I{resources.folder('firmware')}"
    command = [compiler, *WARNINGS, *flags, include, str(source), str(HERE / driver), "-o", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    return result


def compile_only(source: Path, compiler: str) -> str:
    """What a compiler has to say about a program whose kernels are specialised; nothing, if all is well."""
    command = [compiler, *WARNINGS, "-O2", "-fno-inline", f"-I{resources.folder('firmware')}", "-c", str(source)]
    done = subprocess.run([*command, "-o", str(source.with_suffix(".o"))], capture_output=True, text=True, check=False)
    return done.stderr


def host(cases: Sequence[Case], calls: Sequence[KernelCall], folder: Path, optimize: str | None = None) -> Runs:
    """The runs on this machine under the address and undefined behaviour sanitizers, or as its firmware is built."""
    sanitized = [*SANITIZED, "-fno-sanitize-recover=all"]
    binary = build(program(cases, calls), folder, "cc", _flags(HOST, optimize) if optimize else sanitized, "host.c")
    done = subprocess.run([str(binary)], capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return split(done.stdout, cases, calls)


def emulated(
    cases: Sequence[Case], calls: Sequence[KernelCall], target: Target, folder: Path, optimize: str = "time"
) -> Runs:
    """The runs on a target under its emulator; ticks are those of its timer, see `instructions`."""
    script, driver = DRIVERS[target.board]
    linking = ["-nostartfiles", f"-T{HERE / script}", "-Wl,--no-warn-rwx-segments"]
    binary = build(program(cases, calls), folder, target.compiler, [*_flags(target, optimize), *linking], driver)
    assert target.emulator is not None
    machine = [*target.emulator, *target.counting, "-nographic", "-monitor", "none", "-serial", "none"]
    done = subprocess.run(
        [*machine, "-semihosting-config", "enable=on,target=native", "-kernel", str(binary)],
        capture_output=True,
        timeout=120,
        check=False,
    )
    told = done.stderr.decode(errors="replace")
    assert done.returncode == 0, told[-2000:]
    return split(bytes.fromhex(told), cases, calls)


def _flags(target: Target, optimize: str) -> list[str]:
    """Apart from the kernels, which are always inlined or never, nothing is: each case stays a function of its own."""
    return [*target.flags(optimize), "-fno-inline", *([SHARED] if optimize == "flash" else [])]


def instructions(run: Run, target: Target) -> int:
    """Executed instructions of a run, including those of the measurement itself (a dozen)."""
    assert target.instructions_per_tick is not None
    return round(run.ticks * target.instructions_per_tick)


def available(*programs: str) -> bool:
    """Whether all of `programs` are installed."""
    return all(shutil.which(name) for name in programs)
