"""Answers of int8 models to whole splits, by the emitted C on this machine; it is proven against the oracle as it goes.

The C gives the oracle's bytes several times sooner (`trecx bench --host`).
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mlperf_tiny.task import Split
from trecx.compiler.target import HOST
from trecx.console import Step
from trecx.device import run as device
from trecx.device.build import Build, build
from trecx.judge import reference
from trecx.judge.record import forced, record
from trecx.judge.trace import Trace
from trecx.steps import proof
from trecx.steps.data import quantized
from trecx.steps.firmware import compile_for
from trecx.steps.pair import Pair
from trecx.steps.proof import Inputs

# Samples of each model and split on which every bit is compared with the oracle.
PROVEN = 200


def answer(pair: Pair, split: Split, limits: tuple[int, ...], step: Step, what: str, proven: int = PROVEN) -> Trace:
    """What a model answers to a split at every exit, and which exit it takes at `limits`.

    Raises AnswerIsNo where one bit of logits or scores of the first `proven` samples is not the oracle's.
    """
    samples, labels = quantized(split.x, pair.graph), split.y.astype(np.int32)
    with _program(pair) as program:
        with step.progress(what) as progress:
            found = _recorded(program, len(pair.graph.exits), samples, limits, labels, progress)
        with step.progress(f"{what}, oracle") as progress:
            _prove(pair, program, Inputs(what, samples[:proven]), limits, found.first(proven), progress)
    return found


def answer_blocks(
    pair: Pair, blocks: Iterable[np.ndarray], limits: tuple[int, ...], what: str, proven: int = PROVEN
) -> Trace:
    """The same for int8 samples without labels, which come some at a time: not all of them fit into memory."""
    found: list[Trace] = []
    with _program(pair) as program:
        for samples in blocks:
            found.append(_recorded(program, len(pair.graph.exits), samples, limits, None, _untold))
            if len(found) == 1:
                _prove(pair, program, Inputs(what, samples[:proven]), limits, found[0].first(proven), _untold)
    return Trace.joined(found)


@contextmanager
def _program(pair: Pair) -> Iterator[Build]:
    """The emitted C of a pair as a program of this machine."""
    with tempfile.TemporaryDirectory(prefix="trecx-answers-") as folder:
        sources = compile_for(pair, pair.optimised, HOST, Path(folder) / "c", "time")
        yield build(sources, HOST, Path(folder) / "host")


def _prove(
    pair: Pair, program: Build, few: Inputs, limits: tuple[int, ...], found: Trace, progress: device.Progress
) -> None:
    """Raise AnswerIsNo where one bit of what was found is not the oracle's."""
    expected = reference.tflm_trace(pair.content, pair.reading, few.samples, limits, found.labels, progress)
    proof.compare(pair, program, few, expected, found).require_equal()


def _untold(done: int, total: int) -> None:
    """Progress that another bar tells."""


def _recorded(
    program: Build,
    exits: int,
    samples: np.ndarray,
    limits: tuple[int, ...],
    labels: np.ndarray | None,
    progress: device.Progress,
) -> Trace:
    """The trace of a program; limits that force an exit are not run twice."""
    known: dict[tuple[int, ...], device.Answers] = {}
    passes = len({*(forced(len(limits), k) for k in range(exits)), limits})

    def run(inputs: np.ndarray, chosen: tuple[int, ...]) -> device.Answers:
        if chosen not in known:
            before = len(known) * len(inputs)
            known[chosen] = device.run_host(
                program, inputs, chosen, lambda done, total: progress(before + done, passes * total)
            )
        return known[chosen]

    return record(run, samples, limits, labels, exits)
