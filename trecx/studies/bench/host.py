"""How long the emitted C takes on this machine for every exit's answer, beside the oracle's wheel, in one run.

Both answer the same samples in one process after the other, and every logit and score is compared, so that neither is
fast by answering something else.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from trecx import __version__
from trecx.compiler.target import HOST
from trecx.console import Console, Step
from trecx.device import toolchain
from trecx.device.build import Build, Options, build
from trecx.device.run import Answers, run_host
from trecx.errors import TrecxError
from trecx.judge import reference
from trecx.judge.record import forced, record
from trecx.judge.trace import Trace
from trecx.judge.verify import Verification
from trecx.settings import Settings
from trecx.steps import pair as pairs
from trecx.steps import proof
from trecx.steps.data import data, quantized
from trecx.steps.firmware import compile_for
from trecx.steps.pair import Pair
from trecx.steps.proof import Inputs
from trecx.studies.bench import peers, results
from trecx.studies.bench.measure import SEED, pair_of

FORMAT = "trecx-host/1"
SYNTHETIC = 300
T = TypeVar("T")


@dataclass(frozen=True)
class Timed:
    """What some samples took: seconds by the clock, and of processor time, child processes included."""

    seconds: float
    processor_s: float

    def __add__(self, other: "Timed") -> "Timed":
        return Timed(self.seconds + other.seconds, self.processor_s + other.processor_s)


@dataclass(frozen=True)
class Compared:
    """One model on both sides: `wheel` and `emitted` took that long for every exit's answer to every sample.

    `at_thresholds` is the emitted C's pass that leaves where the thresholds say; None where every sample goes to one
    exit anyway. `first` are seconds to the first answer: loading the wheel, and emitting and compiling the C.
    """

    title: str
    pair: Pair
    inputs: Inputs
    wheel: Timed
    emitted: Timed
    at_thresholds: Timed | None
    first: tuple[float, float]
    flags: tuple[str, ...]
    verification: Verification

    @property
    def times_as_fast(self) -> float:
        """Seconds of the wheel per second of the emitted C."""
        return self.wheel.seconds / self.emitted.seconds


def compare(
    models: Sequence[Path], folder: Path | None, task: str | None, samples: int | None, optimize: str, console: Console
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Time models on both sides; the table, the same as JSON, and a sentence per model whose answers differ.

    A model is a `.tflite` or a folder with a pair, such as a run directory. With the data `folder` of `task`, the
    pair's own by default, the whole test split is answered, else synthetic samples; `samples` limits either.
    """
    if task is not None and folder is None:
        raise TrecxError("--task belongs to the data.", "Name their folder with --data.")
    toolchain.require(HOST.compiler)
    compared = []
    for path in models:
        with console.step("read") as step:
            pair = _pair(path)
            inputs = _inputs(pair, folder, task, samples, step)
            step.outcome = f"{pair.path.name}, {len(inputs.samples):,} {inputs.what}"
        compared.append(_compare(pair, inputs, optimize, console))
    problems = tuple(c.verification.message for c in compared if c.verification.mismatches)
    return _text(compared), _as_json(compared, optimize), problems


def _pair(path: Path) -> Pair:
    if not path.is_dir():
        return pair_of(path)
    return pairs.read(path / "model" if (path / "run.json").is_file() else path)


def _inputs(pair: Pair, folder: Path | None, task: str | None, samples: int | None, step: Step) -> Inputs:
    if folder is None:
        return proof.synthetic(pair.graph, samples or SYNTHETIC, SEED)
    name = task or pair.exits.task
    if not name:
        raise TrecxError(f"{pair.path.name} does not say whose data it takes.", "Name its task with --task.")
    found = data(Settings(pair.path.stem, task=name, data=str(folder)), step)
    assert found is not None
    if found.test.x.shape[1:] != pair.graph.sample_shape:
        raise TrecxError(
            f"{pair.path.name} takes inputs {pair.graph.sample_shape}; samples of {name} are {found.test.x.shape[1:]}.",
            "Name the task of this model with --task.",
        )
    return Inputs("test samples", quantized(found.test.x, pair.graph)[:samples])


def _compare(pair: Pair, inputs: Inputs, optimize: str, console: Console) -> Compared:
    known = peers.known(pair.exits.model_sha256)
    one = inputs.samples[:1]
    with console.step("wheel") as step:
        first, _ = _timed(lambda: proof.oracle(pair, Inputs(inputs.what, one), step))
        wheel, expected = _timed(lambda: proof.oracle(pair, inputs, step))
        step.outcome = f"{len(expected):,} samples at {_exits(pair)}"
    with console.step("C") as step, tempfile.TemporaryDirectory(prefix="trecx-bench-") as name:
        until_first, program = _timed(lambda: _first(pair, one, Path(name), optimize))
        passes, actual = _answers(pair, program, inputs, step)
        step.outcome = f"{len(actual):,} samples at {_exits(pair)}"
        verification = proof.compare(pair, program, inputs, expected, actual)
    every = [passes.pop(limits) for limits in _forced(pair)]
    emitted = sum(every[1:], every[0])
    return Compared(
        known.title if known else pair.path.stem,
        pair,
        inputs,
        wheel,
        emitted,
        passes.get(pair.limits),
        (first.seconds, until_first.seconds),
        HOST.flags(optimize),
        verification,
    )


def _first(pair: Pair, one: np.ndarray, folder: Path, optimize: str) -> Build:
    """The host's program, after it has answered one sample."""
    sources = compile_for(pair, pair.optimised, HOST, folder / "c", optimize)
    program = build(sources, HOST, folder / "program", options=Options(optimize=optimize))
    run_host(program, one, pair.limits)
    return program


def _answers(pair: Pair, program: Build, inputs: Inputs, step: Step) -> tuple[dict[tuple[int, ...], Timed], Trace]:
    """The program's trace, and what each of its passes took, by its limits; no pass is made twice."""
    took: dict[tuple[int, ...], Timed] = {}
    kept: dict[tuple[int, ...], Answers] = {}
    with step.progress(inputs.what) as progress:

        def run(samples: np.ndarray, limits: tuple[int, ...]) -> Answers:
            if limits not in kept:
                took[limits], kept[limits] = _timed(lambda: run_host(program, samples, limits, progress))
            return kept[limits]

        return took, record(run, inputs.samples, pair.limits, exits=len(pair.graph.exits))


def _forced(pair: Pair) -> tuple[tuple[int, ...], ...]:
    return tuple(forced(len(pair.limits), exit_index) for exit_index in range(len(pair.graph.exits)))


def _timed(work: Callable[[], T]) -> tuple[Timed, T]:
    began, spent = time.perf_counter(), _processor_s()
    result = work()
    return Timed(time.perf_counter() - began, _processor_s() - spent), result


def _processor_s() -> float:
    return sum(os.times()[:4])


def _exits(pair: Pair) -> str:
    count = len(pair.graph.exits)
    return "its one exit" if count == 1 else f"all {count} exits"


def _as_json(compared: Sequence[Compared], optimize: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "trecx": __version__,
        "oracle": reference.tflm_version(),
        "compiler": _compiler(),
        "flags": list(HOST.flags(optimize)),
        "optimize": optimize,
        "models": [_model_json(c) for c in compared],
    }


def _model_json(compared: Compared) -> dict[str, Any]:
    def side(took: Timed, first: float) -> dict[str, float]:
        return {**asdict(took), "samples_per_s": len(compared.inputs.samples) / took.seconds, "first_answer_s": first}

    known = compared.verification
    return {
        "title": compared.title,
        "file": compared.pair.path.name,
        "sha256": compared.pair.exits.model_sha256,
        "exits": [e.name for e in compared.pair.graph.exits],
        "inputs": compared.inputs.what,
        "samples": len(compared.inputs.samples),
        "wheel": side(compared.wheel, compared.first[0]),
        "emitted": side(compared.emitted, compared.first[1]),
        "at_thresholds": None if compared.at_thresholds is None else asdict(compared.at_thresholds),
        "times_as_fast": compared.times_as_fast,
        "mismatches": known.mismatches,
        "problem": known.message,
    }


def _text(compared: Sequence[Compared]) -> str:
    return results.plain(Group(*(part for c in compared for part in _parts(c)), *_notes(compared)))


def _parts(compared: Compared) -> list[Any]:
    count = len(compared.inputs.samples)
    title = f"  {compared.pair.path.name}, {count:,} {compared.inputs.what}, {_exits(compared.pair)}"
    found = results.table("side", "first answer s", "all s", "samples/s", "processor s", "x as fast")
    wheel, emitted = (f"{seconds:.2f}" for seconds in compared.first)
    compiled = " ".join((HOST.compiler, *compared.flags))
    rows: list[tuple[str, str, Timed | None, str]] = [
        (f"TFLM's wheel, {reference.tflm_version()}", wheel, compared.wheel, "1.0"),
        (f"emitted C, {compiled}", emitted, compared.emitted, f"{compared.times_as_fast:.1f}"),
        ("  the same at its thresholds", "", compared.at_thresholds, ""),
    ]
    for name, first, took, times in rows:
        if took is not None:
            speed = results.number(count / took.seconds)
            found.add_row(name, first, f"{took.seconds:.2f}", speed, f"{took.processor_s:.2f}", times)
    differ = f"Answers that differ: {compared.verification.mismatches:,} of {count:,}."
    return [Text.assemble((compared.title, "bold"), title), "", found, "", Padding(Text(differ), (0, 0, 1, 2))]


def _notes(compared: Sequence[Compared]) -> list[Any]:
    notes = [
        "all s: logits and scores of every exit for every sample, one process at a time; the C runs once per exit.",
        "first answer s: to load the wheel and answer a sample; to emit the C, compile it and answer a sample.",
        f"Compiled with {_compiler()}.",
    ]
    if any(c.at_thresholds for c in compared):
        notes.insert(2, "at its thresholds: one more pass, where each sample leaves as in the firmware; also compared.")
    return [Padding(Text(note), (0, 0, 0, 2)) for note in notes]


def _compiler() -> str:
    found = next((tool.version for tool in toolchain.tools() if tool.name == HOST.compiler), None)
    return found or HOST.compiler
