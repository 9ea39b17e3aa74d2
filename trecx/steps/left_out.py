"""Labelled answers from training data: heads that were trained without a sample say what they make of it.

`--folds K` parts the training data, trains the heads on a frozen backbone once more without each part, and lets
thresholds be chosen on what these say of the parts, beside the validation samples. Firmware gets the heads that were
trained on all of the data.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlperf_tiny.task import Data, Task
from trecx import exits as door
from trecx.console import Step
from trecx.errors import TrecxError
from trecx.judge.trace import Trace
from trecx.settings import AUTO, Settings
from trecx.steps import pair as pairs
from trecx.steps.answers import answer
from trecx.steps.learned import described
from trecx.steps.pair import EXITS, Pair

if TYPE_CHECKING:
    from trecx.learn.exits import Method
    from trecx.learn.settings import QuantizeSettings, TrainSettings


def folder(where: Path, number: int) -> Path:
    """Where what was made without a part lies."""
    return where / f"without{number + 1}"


def refuse(settings: Settings, task: Task, method: "Method", found: Data) -> None:
    """TrecxError where the backbone learns too: then it is another one without each part."""
    from trecx.learn.settings import settings_for
    from trecx.learn.train import freezes

    if not settings.folds or settings.method == AUTO:  # whose exits leave the backbone as it is
        return
    weights = settings.weights or settings.model
    start = Path(weights) if weights else None
    if not freezes(task, method, settings_for(task, start, found.source_weights, settings.seed, method.tuning)):
        hint = "Leave --folds out, or the backbone as it is: dyce, pteenet, --heads-only, or an exit that does so."
        raise TrecxError(f"--folds: exits of {method.name} train the backbone as well.", hint)


def train(
    settings: Settings, task: Task, found: Data, method: "Method", chosen: "TrainSettings", out: Path, step: Step
) -> None:
    """Train the heads on the backbone in `out` without each part; what is finished of an interrupted one is kept."""
    from trecx.learn import folds
    from trecx.learn.train import BACKBONE, HISTORY
    from trecx.learn.train import train as fit

    part = folds.parts(found.train, settings.folds or 1, settings.seed)
    for number in range(settings.folds or 0):
        here = folder(out, number)
        if (here / HISTORY).is_file():
            continue
        with step.progress(f"batches, without part {number + 1} of {settings.folds}") as progress:
            fit(
                task,
                folds.without(found, part, number),
                method,
                replace(chosen, weights=out / BACKBONE),
                here,
                progress,
            )


def quantize(
    settings: Settings,
    task: Task,
    found: Data,
    method: "Method",
    chosen: "QuantizeSettings",
    trained: Path,
    out: Path,
    step: Step,
) -> None:
    """Make the int8 models of these trainings. Ranges come from all training samples, so the backbone is the same."""
    from trecx.learn.quantize import quantize as convert

    for number in range(settings.folds or 0):
        here = folder(out, number)
        with step.progress(f"converting, without part {number + 1}") as progress:
            convert(task, found, method, folder(trained, number), here, chosen, progress)
        described(task, method, here / f"{settings.name}.tflite").write(here / EXITS)


def answers(
    settings: Settings, found: Data, quantized: Path, pair: Pair, plain: Pair | None, step: Step
) -> tuple[list[Trace], list[Trace]]:
    """What heads say of the parts that they were trained without, and the backbone alone, part by part.

    Their statistics are told in those of `pair`, whose limits are to be chosen.
    """
    from trecx.learn import folds

    part = folds.parts(found.train, settings.folds or 1, settings.seed)
    told, alone = [], []
    for number in range(settings.folds or 0):
        own = pairs.read(folder(quantized, number))
        own = pairs.bind(own.path, replace(own.exits, exits=_deciding(own.exits, pair.exits)))
        split = folds.left_out(found, part, number, settings.seed)
        if not len(split):
            continue
        what = f"part {number + 1} of {settings.folds}"
        told.append(_told(answer(own, split, own.limits, step, what), own, pair))
        if plain is not None:
            alone.append(answer(plain, split, (), step, f"{what}, backbone"))
    return told, alone


def _deciding(own: door.Exits, chosen: door.Exits) -> tuple[door.ExitSpec, ...]:
    """The exits of a model with the criteria of another one with the same exits."""
    both = zip(own.exits, chosen.exits, strict=True)
    return tuple(replace(one, criterion=other.criterion, gate=other.gate) for one, other in both)


def _told(trace: Trace, own: Pair, pair: Pair) -> Trace:
    """A trace with statistics of another model's scales: those that its criteria would have at the same thresholds."""
    statistics = np.array(trace.decided(own.decisions))
    for number, (one, other) in enumerate(zip(own.decisions, pair.decisions, strict=True)):
        if one != other and not one.comparable:
            values, places = np.unique(statistics[:, number], return_inverse=True)
            limits = [other.real_limit(one.real_threshold(float(value))) for value in values]
            statistics[:, number] = np.clip(np.rint(limits), 1, other.most).astype(np.uint32)[places]
    return replace(trace, statistics=statistics)
