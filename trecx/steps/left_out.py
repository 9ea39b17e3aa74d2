"""Labelled answers from training data: heads that were trained without a sample say what they make of it.

`--folds K` parts the training data, trains the heads on a frozen backbone once more without each part, and lets
thresholds be chosen on what these say of the parts, beside the validation samples. Firmware gets the heads that were
trained on all of the data.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlperf_tiny.task import Data, Task
from trecx import archives
from trecx import exits as door
from trecx.console import Step
from trecx.decision import Criterion
from trecx.errors import TrecxError
from trecx.judge.calibrate import LEAST_APART
from trecx.judge.sweep import places
from trecx.judge.trace import Trace
from trecx.settings import AUTO, Settings
from trecx.steps import pair as pairs
from trecx.steps.answers import answer
from trecx.steps.data import split_sha256
from trecx.steps.learned import described
from trecx.steps.pair import EXITS, Pair

if TYPE_CHECKING:
    from trecx.learn.exits import Method
    from trecx.learn.settings import QuantizeSettings, TrainSettings


# Which training samples are in which part, and of which data.
PARTS = "parts.npz"
AGAIN = "Train and quantize again."
UNLIKE = (
    "Heads that were trained without a part of the data let other shares of it leave than the firmware's head does of "
    "validation samples, so thresholds are chosen on validation samples alone; more --folds leave out less."
)


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

    if not settings.folds:
        return
    refuse(settings, task, method, found)
    part = folds.parts(found.train, settings.folds, settings.seed)
    own = replace(chosen, weights=out / BACKBONE)
    for number in range(settings.folds):
        here = folder(out, number)
        if not (here / HISTORY).is_file():
            with step.progress(f"batches, without part {number + 1} of {settings.folds}") as progress:
                fit(task, folds.without(found, part, number), method, own, here, progress)
    np.savez_compressed(out / PARTS, part=part, data=np.array(split_sha256(found.train)))


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

    if (trained / PARTS).is_file():
        shutil.copyfile(trained / PARTS, out / PARTS)
        for number in range(_count(out)):
            here = folder(out, number)
            with step.progress(f"converting, without part {number + 1}") as progress:
                convert(task, found, method, folder(trained, number), here, chosen, progress)
            described(task, method, here / f"{settings.name}.tflite").write(here / EXITS)


def answers(
    settings: Settings, found: Data, quantized: Path, pair: Pair, plain: Pair | None, step: Step
) -> tuple[list[Trace], list[Trace]]:
    """What heads say of the parts that they were trained without, and the backbone alone, part by part.

    Their statistics are told in those of `pair`, whose limits are to be chosen. Raises TrecxError where they were
    trained on other parts than are asked for now, or on other data.
    """
    from trecx.learn import folds

    if not settings.folds:
        return [], []
    part = _part(settings, settings.folds, found, quantized)
    told, alone = [], []
    for number in range(int(part.max()) + 1):
        own = _own(folder(quantized, number), pair)
        split = folds.left_out(found, part, number, settings.seed)
        if len(split):
            what = f"part {number + 1}"
            told.append(_told(answer(own, split, own.limits, step, what), own, pair))
            alone += [] if plain is None else [answer(plain, split, (), step, f"{what}, backbone")]
    return told, alone


def alike(validation: Trace, left_out: list[Trace], decisions: Sequence[Criterion]) -> bool:
    """Whether as many of both leave at every limit as chance explains; heads that learned from less may differ.

    Kolmogorov and Smirnov's test on the path of limits, as for samples without labels.
    """
    both = Trace.joined([validation, *left_out])
    found, here = places(both, decisions), np.arange(len(both)) < len(validation)
    left = [_leaving(found.intervals[rows], len(found.limits)) for rows in (here, ~here)]
    few = len(validation) * (len(both) - len(validation)) / len(both)
    return bool(np.abs(left[0] - left[1]).max() * sqrt(few) <= LEAST_APART)


def _leaving(intervals: np.ndarray, points: int) -> np.ndarray:
    """The share of samples that leaves before the final exit at every point, which it does where it stays no more."""
    stays_until = np.sort(intervals[:, -1, 1])
    return np.asarray(np.searchsorted(stays_until, np.arange(points), "right") / len(intervals))


def _count(quantized: Path) -> int:
    return int(_kept(quantized)["part"].max()) + 1


def _kept(folder_: Path) -> dict[str, np.ndarray]:
    try:
        found = archives.read(folder_ / PARTS)
        if found["part"].ndim == 1 and np.issubdtype(found["part"].dtype, np.integer) and len(found["part"]):
            return found
    except (archives.Unreadable, KeyError):
        pass
    raise TrecxError(f"{folder_ / PARTS} does not say which training samples were left out.", AGAIN)


def _part(settings: Settings, count: int, found: Data, quantized: Path) -> np.ndarray:
    """The parts that the heads in `quantized` were trained without."""
    from trecx.learn import folds

    kept = _kept(quantized)
    wanted = folds.parts(found.train, count, settings.seed)
    if str(kept.get("data")) != split_sha256(found.train) or not np.array_equal(kept["part"], wanted):
        raise TrecxError(f"The heads in {quantized} were trained without other parts than --folds asks for.", AGAIN)
    return wanted


def _own(folder_: Path, pair: Pair) -> Pair:
    """The model in a folder with the criteria of `pair`."""
    own = pairs.read(folder_)
    if [one.name for one in own.exits.exits] != [one.name for one in pair.exits.exits]:
        raise TrecxError(f"{own.path} has other exits than {pair.path}.", AGAIN)
    return pairs.bind(own.path, replace(own.exits, exits=_deciding(own.exits, pair.exits)))


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
