"""Run a build on many inputs, here or in the emulator, and collect what it answers."""

import re
import signal
import struct
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from trecx.device.build import Build, Interface
from trecx.device.console import Console
from trecx.device.qemu import counting
from trecx.errors import TrecxError

BLOCK = 256  # samples per process on the host, so that progress is seen
HOST_TIMEOUT_S = 300.0
ANSWER_INDEX = 0xFFFFFFFF  # of the record that ends a sample in `trace --tensors`
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Answers:
    """What a program answered to `n` inputs, each by the exit that it took.

    `exit_taken`, `labels`: uint8 `(n,)`; `scores`, `logits`: int8 `(n, classes)` of that exit, or all values of the
    answer and `(n, 0)`; `statistics`: uint32 `(n, decisions)`, by what exits decided that were asked, on the host only;
    `instructions`: uint32 `(n,)` from call to return of the model, None on the host; `stack`: most bytes of stack the
    whole program used.
    """

    exit_taken: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    logits: np.ndarray
    instructions: np.ndarray | None = None
    stack: int | None = None
    statistics: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.exit_taken)


@dataclass(frozen=True)
class Point:
    """An operating point by its number, in place of limits."""

    number: int


def joined(parts: Sequence[Answers]) -> Answers:
    """Answers of the same program, one after the other; the stack is the deepest."""
    arrays = {f.name: [getattr(one, f.name) for one in parts] for f in fields(Answers)}
    stacks = [one.stack for one in parts if one.stack is not None]
    whole: dict[str, Any] = {
        name: None if any(one is None for one in many) else np.concatenate(many)
        for name, many in arrays.items()
        if name != "stack"
    }
    return Answers(**whole, stack=max(stacks, default=None))


def run_host(
    build: Build,
    inputs: np.ndarray,
    limits: Sequence[int] | Point,
    progress: Progress | None = None,
    timeout_s: float = HOST_TIMEOUT_S,
) -> Answers:
    """Answers of the host's `trace` to int8 inputs `(n, ...)`; `limits` has one uint32 per exit that decides.

    Raises TrecxError where the program crashes, is cut short or takes over `timeout_s` for a block of samples.
    """
    samples = _check(build.model, inputs, limits)
    blocks = []
    size = len(samples) if build.model.state_bytes else BLOCK  # a stream is one process's
    for start in range(0, len(samples), size or 1):
        block = samples[start : start + size]
        written = _trace(build, block.tobytes(), limits, (), timeout_s)
        if len(written) != len(block) * (_answer_bytes(build.model) + 4 * build.model.limits):
            raise TrecxError(f"{build.elf} wrote {len(written)} bytes for {len(block)} samples; its interface differs.")
        blocks.append(np.frombuffer(written, np.uint8).reshape(len(block), -1))
        if progress:
            progress(start + len(block), len(samples))
    size = _answer_bytes(build.model) + 4 * build.model.limits
    rows = np.concatenate(blocks) if blocks else np.empty((0, size), np.uint8)
    statistics = np.ascontiguousarray(rows[:, _answer_bytes(build.model) :]).view("<u4")
    return _answers(build.model, rows, statistics=statistics.reshape(len(rows), build.model.limits))


def layer_outputs(build: Build, inputs: np.ndarray, limits: Sequence[int]) -> dict[int, np.ndarray]:
    """Outputs of every operator that the last of `inputs` ran through, int8 flat, by its index in the model file.

    Those of an operator with several follow one another.
    """
    samples = _check(build.model, inputs, limits)
    written = _trace(build, samples.tobytes(), limits, ("--tensors",), HOST_TIMEOUT_S)
    found: dict[int, bytes] = {}
    for index, data in _records(written):
        if ANSWER_INDEX in found:
            found = {}
        found[index] = found.get(index, b"") + data
    return {index: np.frombuffer(data, np.int8) for index, data in found.items() if index != ANSWER_INDEX}


def run_qemu(
    build: Build,
    inputs: np.ndarray,
    limits: Sequence[int] | Point,
    progress: Progress | None = None,
    timeout_s: float = 60.0,
) -> Answers:
    """Answers of the firmware in its emulator, with exact instruction counts and the stack's high-water mark.

    Counts are net of measuring: the same measurement around an empty function is subtracted. `timeout_s` bounds the
    wait for one sample; an emulator that hangs or dies ends in a TrecxError and is always reaped.
    """
    samples = _check(build.model, inputs, limits)
    per_tick = build.target.instructions_per_tick
    in_memory = build.target.samples_address is not None
    fitting = max(build.target.samples_size // build.model.input_bytes, 1)
    if build.model.state_bytes and len(samples) > fitting:
        in_memory = False  # a stream is one boot's; what does not fit comes over the serial line
    block = fitting if in_memory else max(len(samples), 1)
    rows = np.empty((len(samples), _answer_bytes(build.model)), np.uint8)
    ticks = np.zeros(len(samples), np.int64)
    stack = 0
    for start in range(0, len(samples), block):
        payloads = _payloads(build.model, samples[start : start + block])
        with counting(build, timeout_s, payloads.tobytes()) as console:
            _set_limits(console, limits)
            overhead = int(console.value("overhead", "overhead"))
            for k, payload in enumerate(payloads, start):
                answer = console.infer_picked(k - start) if in_memory else console.infer(payload.tobytes())
                rows[k] = (answer.exit, answer.label, *answer.scores.view(np.uint8), *answer.logits.view(np.uint8))
                ticks[k] = answer.ticks - overhead
                if progress:
                    progress(k + 1, len(samples))
            stack = max(stack, int(console.value("memory", "memory").split(",")[1]))
    instructions = np.rint(ticks * per_tick).astype(np.uint32) if per_tick else None
    return _answers(build.model, rows, instructions, stack)


def profile(build: Build, one_input: np.ndarray, limits: Sequence[int]) -> dict[int, int]:
    """Instructions of every operator that one input ran through, by the operator's index in the model file.

    `build` is of the program "profile". What its marks cost is subtracted; the rest of the count of `run_qemu`, the end
    of the model after its last operator, is nobody's.
    """
    sample = _check(build.model, one_input[np.newaxis], limits)
    per_tick = build.target.instructions_per_tick
    if build.program != "profile" or per_tick is None:
        raise TrecxError(
            f"{build.elf} cannot count per operator.", 'Build the program "profile" for an emulated target.'
        )
    with counting(build) as console:
        _set_limits(console, limits)
        console.load(_payloads(build.model, sample).tobytes())
        told = console.value("operators", "operators")
    if not re.fullmatch(r"(\d+:\d+(,|$))*", told):
        raise TrecxError(f"The device answered 'operators' with {told}.")
    counted = (entry.split(":") for entry in told.split(",") if entry)
    found: Counter[int] = Counter()
    for index, ticks in counted:
        found[int(index)] += round(int(ticks) * per_tick)
    return dict(found)


def points(build: Build) -> tuple[str, ...]:
    """The operating points as the program has them: for each "LIMIT,LIMIT,…", with "off " before those left out."""
    if build.target.emulator is None:
        rows = _trace(build, b"", (), ("--points",), HOST_TIMEOUT_S).decode(errors="replace").splitlines()
    else:
        with counting(build) as console:
            rows = [console.value(f"point {number}", "point") for number in range(build.model.points)]
    return tuple(row.partition(",")[2] for row in rows)


def _set_limits(console: Console, limits: Sequence[int] | Point) -> None:
    if isinstance(limits, Point):
        console.value(f"point {limits.number}", "point")
        return
    for index, limit in enumerate(limits):
        console.value(f"limit {index} {limit}", "limit")


def _check(model: Interface, inputs: np.ndarray, limits: Sequence[int] | Point) -> np.ndarray:
    """`inputs` as `(n, bytes)`, or all that is wrong with the arguments."""
    problems = []
    if inputs.dtype != np.int8:
        problems.append(f"Inputs are {inputs.dtype}; {model.name} takes int8.")
    if inputs.ndim < 2 or int(np.prod(inputs.shape[1:])) != model.input_bytes:
        problems.append(f"Inputs have shape {inputs.shape}; {model.name} takes {model.input_bytes} bytes per sample.")
    if isinstance(limits, Point):
        if not 0 <= limits.number < model.points:
            problems.append(f"{model.name} has no operating point {limits.number}; it has {model.points}.")
        limits = (0,) * model.limits
    if len(limits) != model.limits:
        problems.append(f"{model.name} has {model.limits} exits that decide, so as many limits, not {len(limits)}.")
    problems += [f"The limit {limit} is not in 0 ... 4294967295." for limit in limits if not 0 <= limit < 2**32]
    if problems:
        raise TrecxError(problems)
    return np.ascontiguousarray(inputs).reshape(len(inputs), model.input_bytes)


def _payloads(model: Interface, samples: np.ndarray) -> np.ndarray:
    """The bytes that MLPerf Tiny's runner would send for these samples, uint8 `(n, bytes)`."""
    return (samples.astype(np.int16) + model.input_offset).astype(np.uint8)


def _answer_bytes(model: Interface) -> int:
    return 2 + model.output_bytes + model.classes


def _answers(
    model: Interface,
    rows: np.ndarray,
    instructions: np.ndarray | None = None,
    stack: int | None = None,
    statistics: np.ndarray | None = None,
) -> Answers:
    middle = 2 + model.output_bytes
    scores, logits = rows[:, 2:middle].view(np.int8), rows[:, middle : middle + model.classes].view(np.int8)
    return Answers(rows[:, 0].copy(), rows[:, 1].copy(), scores.copy(), logits.copy(), instructions, stack, statistics)


def _trace(
    build: Build, sends: bytes, limits: Sequence[int] | Point, options: tuple[str, ...], timeout_s: float
) -> bytes:
    at = ("--point", str(limits.number)) if isinstance(limits, Point) else tuple(map(str, limits))
    command = (str(build.elf), *options, *at)
    try:
        done = subprocess.run(command, input=sends, capture_output=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise TrecxError(f"{build.elf} did not finish within {timeout_s:.0f} s.") from error
    except OSError as error:
        raise TrecxError(f"Cannot run {build.elf}: {error.strerror}.", "Build it again.") from error
    if done.returncode != 0:
        code = done.returncode
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with status {code}"
        told = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise TrecxError([f"{build.elf} {how}.", *told[:8]])
    return done.stdout


def _records(written: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(written):
        if position + 8 > len(written):
            raise TrecxError("The operators' outputs end in the middle of a record.")
        index, size = struct.unpack_from("<II", written, position)
        position += 8 + size
        if position > len(written):
            raise TrecxError("The operators' outputs end in the middle of a record.")
        yield index, written[position - size : position]
