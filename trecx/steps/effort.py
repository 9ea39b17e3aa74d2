"""The runs of a proof on all cores, within a time: the oracle in processes of its own, programs beside each other."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from threading import Event

import numpy as np

from trecx.console import Step
from trecx.device import run as device
from trecx.device.build import Build
from trecx.errors import TrecxError
from trecx.judge import reference
from trecx.judge.record import forced, record
from trecx.judge.rounds import FEW, rounds
from trecx.judge.trace import Trace
from trecx.steps.pair import Pair

# The oracle gets processes of its own where it would take longer alone; starting them takes about a second.
ALONE_S = 3.0
PIECES = 8  # for each core, so that none waits long for the others


@dataclass(frozen=True, eq=False)
class Job:
    """A program and the samples that it is to answer, int8 `(n, *shape)`."""

    program: Build
    samples: np.ndarray


class _Stopped(Exception):
    """Another job failed, so this one need not go on."""


def cores() -> int:
    """How many processes this machine runs at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def oracle(pair: Pair, sets: Sequence[np.ndarray], seconds: float | None, step: Step) -> list[Trace]:
    """The oracle's answers to the first samples of each set, as many as `seconds` allow; None is no limit.

    A stream is never cut: each sample depends on those before.
    """
    stream = bool(pair.graph.states)
    run = partial(_oracle, pair.content, pair.reading, pair.limits)
    left, found = sum(map(len, sets)), []
    total, share = left, None if seconds is None else seconds / len(sets)
    with step.progress("oracle") as progress, ExitStack() as stack:
        begun = time.monotonic()
        run(sets[0][:1])
        pool = None
        if (time.monotonic() - begun) * total > ALONE_S and cores() > 1:
            pool = stack.enter_context(ProcessPoolExecutor(cores(), mp_context=get_context("spawn")))
        for samples in sets:
            parts, known = [], 0
            for piece in rounds(len(samples), None if stream else share, max(FEW, cores())):
                count = min(piece.stop - piece.start, cores() * PIECES)
                pieces = [samples] if stream else np.array_split(samples[piece], count)
                try:
                    for part in map(run, pieces) if pool is None else pool.map(run, pieces):
                        parts.append(part)
                        known += len(part)
                        progress(total - left + known, total)
                except BrokenProcessPool as error:
                    raise TrecxError("The reference interpreter crashed on this model.") from error
            left -= len(samples)
            found.append(Trace.joined(parts))
    return found


def _oracle(model: bytes, reading: reference.Reading, limits: Sequence[int], samples: np.ndarray) -> Trace:
    return reference.tflm_trace(model, reading, samples, limits)


def answers(pair: Pair, jobs: Sequence[Job], seconds: float | None, step: Step) -> list[tuple[Trace, int]]:
    """What each program answers to its first samples, and the bytes of stack that took; as many run at once as can.

    `seconds` are for all of them together; None is no limit. The first error stops the others.
    """
    passes = [forced(len(pair.limits), k) for k in range(len(pair.graph.exits))]
    passes = list(dict.fromkeys((*passes, pair.limits)))
    workers = max(min(cores(), len(jobs)), 1)
    share = None if seconds is None else seconds * workers / max(len(jobs), 1)
    stop, counts, total = Event(), [0] * len(jobs), sum(len(job.samples) for job in jobs) * len(passes)
    with step.progress("targets") as progress, ThreadPoolExecutor(workers) as pool:

        def told(number: int, done: int) -> None:
            if stop.is_set():
                raise _Stopped
            counts[number] = done
            progress(sum(counts), total)

        running = [pool.submit(_answered, pair, one, passes, share, partial(told, k)) for k, one in enumerate(jobs)]
        try:
            return [one.result() for one in running]
        except BaseException:
            stop.set()
            for one in running:
                one.cancel()
            raise


def _answered(
    pair: Pair, job: Job, passes: list[tuple[int, ...]], seconds: float | None, told: Callable[[int], None]
) -> tuple[Trace, int]:
    run = device.run_host if job.program.target.emulator is None else device.run_qemu
    parts: dict[tuple[int, ...], list[device.Answers]] = {limits: [] for limits in passes}
    done = count = 0
    for piece in rounds(len(job.samples), None if pair.graph.states else seconds):
        count = piece.stop
        for limits in passes:
            before = done
            parts[limits].append(
                run(job.program, job.samples[piece], limits, lambda n, _, before=before: told(before + n))  # type: ignore[misc]
            )
            done += count - piece.start
    told(len(job.samples) * len(passes))
    known = {limits: device.joined(many) for limits, many in parts.items()}
    trace = record(lambda _, limits: known[limits], job.samples[:count], pair.limits, exits=len(pair.graph.exits))
    return trace, max(one.stack or 0 for one in known.values())
