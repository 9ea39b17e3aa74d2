"""Compile a program of cases and run it: on this machine, or for a Cortex-M under QEMU."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trecx import resources
from trecx.compiler.target import CORTEX_M4
from vectors.cases import Case
from vectors.program import program, split

HERE = Path(__file__).parent
WARNINGS = "-std=c11 -Wall -Wextra -Wpedantic -Werror -Wconversion -Wshadow -Wdouble-promotion".split()
# Kernels as ordinary functions, compiled once for all cases: sanitizers are slow on hundreds of specialised copies.
SANITIZED = ["-O1", "-fno-inline", "-DTRECX_INLINE=static inline", "-fsanitize=address,undefined"]


def build(text: str, folder: Path, compiler: str, flags: Sequence[str], driver: str) -> Path:
    """Compile a program of vectors with its driver; warnings are errors."""
    source, result = folder / "vectors.c", folder / "vectors"
    source.write_text(text, encoding="utf-8")
    include = f"-I{resources.folder('firmware')}"
    command = [compiler, *WARNINGS, *flags, include, str(source), str(HERE / driver), "-o", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return result


def compile_only(source: Path, compiler: str) -> str:
    """What a compiler has to say about a program whose kernels are specialised; nothing, if all is well."""
    command = [compiler, *WARNINGS, "-O2", "-fno-inline", f"-I{resources.folder('firmware')}", "-c", str(source)]
    done = subprocess.run([*command, "-o", str(source.with_suffix(".o"))], capture_output=True, text=True, check=False)
    return done.stderr


def host(cases: Sequence[Case], folder: Path) -> tuple[np.ndarray, ...]:
    """The outputs on this machine under the address and undefined behaviour sanitizers."""
    binary = build(program(cases), folder, "cc", [*SANITIZED, "-fno-sanitize-recover=all"], "host.c")
    done = subprocess.run([str(binary)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return split(done.stdout, cases)


def cortex_m4(cases: Sequence[Case], folder: Path) -> tuple[np.ndarray, ...]:
    """The outputs on an emulated Cortex-M4."""
    # Apart from the kernels, which are always inlined, nothing is: each case stays a function of its own.
    linking = ["-nostartfiles", f"-T{HERE / 'cortex_m.ld'}", "-Wl,--no-warn-rwx-segments", "-lc", "-lgcc"]
    binary = build(
        program(cases), folder, CORTEX_M4.compiler, [*CORTEX_M4.cflags, "-fno-inline", *linking], "semihosting.c"
    )
    assert CORTEX_M4.emulator is not None
    machine = [*CORTEX_M4.emulator, "-nographic", "-monitor", "none", "-serial", "none"]
    done = subprocess.run(
        [*machine, "-semihosting-config", "enable=on,target=native", "-kernel", str(binary)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return split(bytes.fromhex(done.stderr.decode()), cases)


def available(*programs: str) -> bool:
    """Whether all of `programs` are installed."""
    return all(shutil.which(name) for name in programs)
