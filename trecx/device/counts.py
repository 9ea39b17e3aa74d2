"""How often each instruction of the model runs in one inference: a plugin inside the emulator counts."""

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from trecx import resources
from trecx.device import toolchain
from trecx.device.build import Build
from trecx.device.qemu import counting
from trecx.errors import ToolMissing, TrecxError

HOST_COMPILER = "cc"
PLUGIN_FLAGS = ("-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2", "-shared", "-fPIC", "-fvisibility=hidden")
# Versions of QEMU's plugin interface: up to QEMU 8, and later ones. What the plugin uses is the same in all.
PLUGIN_VERSIONS = (1, 2)
TIMEOUT_S = 120
LINE = re.compile(r"^\s*([0-9a-f]+):\t(?:[0-9a-f]{2,8} )+\s*\t([^\t\n]+)(?:\t([^\n]*))?", re.MULTILINE)
LABEL = re.compile(r"^([0-9a-f]+) <([^>]+)>:$", re.MULTILINE)


@dataclass(frozen=True)
class Instruction:
    """One line of a disassembly: `size` is bytes to the next instruction."""

    address: int
    mnemonic: str
    operands: str


@dataclass(frozen=True)
class Executed:
    """One inference: `times` each address was executed, and how often it was `left` for elsewhere than the next one.

    `timer` is what the board's own timer counted, net of measuring.
    """

    times: Mapping[int, int]
    left: Mapping[int, int]
    timer: int

    @cached_property
    def instructions(self) -> int:
        """All of them."""
        return sum(self.times.values())


def executed(build: Build, one_input: np.ndarray, limits: Sequence[int]) -> Executed:
    """Count one inference, instruction by instruction, and check the sum against the timer.

    Raises ToolMissing where this machine has no compiler of its own or its emulator takes no plugins, and TrecxError
    where plugin and timer disagree by more than the call that the timer's overhead contains.
    """
    assert build.target.instructions_per_tick is not None
    compiler = toolchain.require(HOST_COMPILER)
    entry = labels(build)[f"{build.model.name}_run"]
    with tempfile.TemporaryDirectory(prefix="trecx-count-") as folder:
        counts = Path(folder) / "counts"
        refusals = []
        for version in PLUGIN_VERSIONS:
            plugin = _build_plugin(compiler, Path(folder), version)
            options = ("-plugin", f"{_escaped(plugin)},entry={entry},out={_escaped(counts)}")
            try:
                ticks = _infer(build, one_input, limits, options)
                break
            except TrecxError as error:
                refusals.append(error.problems[-1])
        else:
            raise ToolMissing(f"{build.target.emulator} takes no plugin: {'; '.join(refusals)}")
        if not counts.is_file():
            raise TrecxError(f"The plugin never saw {build.model.name}_run at {entry:#x} being called.")
        rows = np.loadtxt(counts, np.int64, ndmin=2)
    times, left = _sums(rows[:, 0], rows[:, 1]), _sums(rows[:, 0], rows[:, 2])
    found = Executed(times, left, round(ticks * build.target.instructions_per_tick))
    # The overhead that was subtracted from the timer contains the return of an empty function.
    if abs(found.instructions - 1 - found.timer) > 1:
        raise TrecxError(
            f"{build.target.name}: the plugin counts {found.instructions:,} instructions, the timer {found.timer:,}."
        )
    return found


def disassembly(build: Build) -> dict[int, Instruction]:
    """Every instruction of a program by its address."""
    text = _objdump(build)
    found = [Instruction(int(a, 16), mnemonic, operands or "") for a, mnemonic, operands in LINE.findall(text)]
    return {instruction.address: instruction for instruction in found}


def labels(build: Build) -> dict[str, int]:
    """Addresses of a program's functions."""
    return {name: int(address, 16) for address, name in LABEL.findall(_objdump(build))}


def _objdump(build: Build) -> str:
    program = toolchain.require(re.sub(r"gcc$|cc$", "objdump", build.target.compiler))
    return subprocess.run((program, "-d", str(build.elf)), capture_output=True, text=True, check=True).stdout


def _build_plugin(compiler: str, folder: Path, version: int) -> Path:
    source, plugin = resources.folder("firmware") / "emulator" / "count.c", folder / f"libcount{version}.so"
    command = (compiler, *PLUGIN_FLAGS, f"-DPLUGIN_VERSION={version}", str(source), "-o", str(plugin))
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode != 0:
        raise ToolMissing([f"{compiler} could not build the counting plugin:", *done.stderr.splitlines()[:8]])
    return plugin


def _infer(build: Build, one_input: np.ndarray, limits: Sequence[int], options: tuple[str, ...]) -> int:
    """Ticks of one inference with the emulator's further `options`."""
    payload = (one_input.astype(np.int16) + build.model.input_offset).astype(np.uint8).tobytes()
    with counting(build, TIMEOUT_S, payload, options) as console:
        for index, limit in enumerate(limits):
            console.value(f"limit {index} {limit}", "limit")
        overhead = int(console.value("overhead", "overhead"))
        in_memory = build.target.samples_address is not None
        return (console.infer_picked(0) if in_memory else console.infer(payload)).ticks - overhead


def _escaped(path: Path) -> str:
    """A path as part of a QEMU option."""
    return str(path).replace(",", ",,")


def _sums(keys: np.ndarray, values: np.ndarray) -> dict[int, int]:
    """Values by key, those of equal keys added: the same instruction may lie in several runs."""
    distinct, where = np.unique(keys, return_inverse=True)
    sums = np.zeros(len(distinct), np.int64)
    np.add.at(sums, where, values)
    return {int(key): int(total) for key, total in zip(distinct, sums, strict=True)}
