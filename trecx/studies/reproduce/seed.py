"""One seed of one variant, from training to test answers; each stage is done once and goes on where it stopped.

    train/  ->  int8/  ->  validation/  ->  calibration.json  ->  test/

Thresholds are chosen and written before an int8 model answers a test sample.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trecx.console import Step
from trecx.errors import TrecxError
from trecx.judge.calibrate import Calibration, calibrate
from trecx.judge.trace import Trace
from trecx.learn import train as training
from trecx.learn.exits import Method
from trecx.learn.exits.trecx import TRecX
from trecx.learn.quantize import quantize
from trecx.learn.settings import QuantizeSettings, TrainSettings, settings_for
from trecx.run import write_json
from trecx.steps import answers
from trecx.steps.pair import Pair
from trecx.studies.reproduce import together
from trecx.studies.reproduce.damage import (
    BACKBONE_TRACE,
    CALIBRATION,
    INT8,
    TEST,
    TRACE,
    TRAIN,
    VALIDATION,
    calibration_problems,
    read,
)
from trecx.studies.reproduce.material import Material, file_sha256
from trecx.studies.reproduce.plan import BACKBONE_ALONE, OBSERVED, POINTS, Options, Variant
from trecx.studies.reproduce.stage import ANOTHER, conflicts, finish, finished, kept, told

FUSED = "fused.json"
# The seed of the backbone that all seeds start from where none is given.
BACKBONE_SEED = 1


@dataclass(frozen=True)
class Job:
    """One seed of one variant and the folder that it leaves everything in."""

    material: Material
    variant: Variant
    seed: int
    options: Options
    weights: Path
    folder: Path

    @property
    def method(self) -> Method:
        """The exit method with the variant's attachment."""
        return TRecX(self.variant.attachment)


def backbone(material: Material, options: Options, folder: Path, step: Step) -> Path:
    """The trained backbone that all seeds start from: the one given, else one that is trained here, once."""
    if options.weights is not None:
        return options.weights.absolute()
    settings = settings_for(material.task, None, material.data.source_weights, BACKBONE_SEED)
    settings = taught(settings, options)
    configuration = trained_from(material, settings)
    if not finished(folder, configuration, precious=True):
        with step.progress("batches") as progress:
            training.train_backbone(material.task, material.data, settings, folder, progress)
        finish(folder, configuration, material.about())
    return (folder / training.BACKBONE).absolute()


def taught(settings: TrainSettings, options: Options) -> TrainSettings:
    """The settings with the teacher that was chosen, if any."""
    return settings if options.teacher is None else replace(settings, teacher=options.teacher.absolute())


def trained_from(material: Material, settings: TrainSettings) -> dict[str, Any]:
    """The configuration of a training: everything that changes its result but the program."""
    weights = {"weights": settings.weights, "teacher": settings.teacher}
    return {
        "task": material.task.name,
        "settings": settings,
        "weights": {name: file_sha256(path) if path else None for name, path in weights.items()},
        "data": {name: material.hashes[name] for name in ("train", "validation", "test")},
    }


def check(jobs: Iterable[Job]) -> None:
    """Raise TrecxError with every training that is there already, but damaged or with another configuration."""
    wrong = [line for job in jobs for line in conflicts(job.folder / TRAIN, trained_as(job)[1])]
    if wrong:
        raise TrecxError(wrong, ANOTHER)


def terms(job: Job) -> together.Terms:
    """What a seed will have to have in common with those that it is reported with."""
    on = together.chosen(job.material.hashes["calibration"], job.options.confidence, job.options.against)
    return together.terms(told(trained_as(job)[1])) | on


def run(job: Job, step: Step) -> bool:
    """Bring every stage of a seed up to date; False where all were."""
    changed = [stage(job, step) for stage in (_train, _quantize, _validate, _calibrate, _test)]
    return any(changed)


def trained_as(job: Job) -> tuple[TrainSettings, dict[str, Any]]:
    """Settings and configuration of a seed's training."""
    source_weights, attachment = job.material.data.source_weights, job.variant.attachment
    settings = settings_for(job.material.task, job.weights, source_weights, job.seed, attachment.tuning)
    settings = taught(settings, job.options)
    attached = {"method": job.method.name, "attachment": attachment}
    return settings, trained_from(job.material, settings) | attached


def _train(job: Job, step: Step) -> bool:
    settings, configuration = trained_as(job)
    folder = job.folder / TRAIN
    if finished(folder, configuration, precious=True):
        return False
    with step.progress("batches") as progress:
        training.train(job.material.task, job.material.data, job.method, settings, folder, progress)
    finish(folder, configuration, job.material.about())
    return True


def _quantize(job: Job, step: Step) -> bool:
    settings = QuantizeSettings(seed=job.seed)
    trained = {name: file_sha256(job.folder / TRAIN / name) for name in (training.MODEL, training.BACKBONE)}
    configuration = {"settings": settings, "trained": trained, "data": job.material.hashes["train"]}
    folder = job.folder / INT8
    if finished(folder, configuration):
        return False
    task, data = job.material.task, job.material.data
    with step.progress("converting") as progress:
        fused = quantize(task, data, job.method, job.folder / TRAIN, folder, settings, progress)
    write_json(folder / FUSED, list(fused))
    finish(folder, configuration, {"models": {file.name: file_sha256(file) for file in folder.glob("*.tflite")}})
    return True


def models(job: Job) -> tuple[Pair, Pair]:
    """The int8 model with its exits and the backbone alone."""
    task = job.material.task
    return answers.models(job.folder / INT8, task.name, task.classes, job.method.exit_specs())


def _answered(job: Job, split: str, limits: tuple[int, ...] | None, step: Step) -> bool:
    """Leave the answers of both models to a split; `limits` None lets nothing leave early."""
    pair, plain = models(job)
    folder = job.folder / (VALIDATION if split == "calibration" else TEST)
    hashes = {"model": pair.exits.model_sha256, "backbone": plain.exits.model_sha256}
    configuration = {"models": hashes, "data": job.material.hashes[split]}
    if finished(folder, configuration):
        return False
    samples = job.material.splits[split]
    what = f"{folder.name} samples"
    answers.answer(pair, samples, pair.limits if limits is None else limits, step, what).save(folder / TRACE)
    answers.answer(plain, samples, (), step, f"{what}, backbone").save(folder / BACKBONE_TRACE)
    scales = [decision.scale for decision in pair.decisions]
    costs = {"macs": list(pair.macs), "backbone_macs": plain.macs[-1], "scales": scales}
    proven = min(answers.PROVEN, len(samples))
    finish(folder, configuration, {"exits": list(job.method.exits), **costs, "proven": proven})
    return True


def _validate(job: Job, step: Step) -> bool:
    return _answered(job, "calibration", None, step)


def _calibrate(job: Job, step: Step) -> bool:
    """Choose the thresholds of every target, with the confidence and as observed, from validation answers."""
    pair, _ = models(job)
    answered = kept(job.folder / VALIDATION)
    assert answered is not None
    confidence, against = job.options.confidence, job.options.against
    made_from = told({"validation": answered["sha256"], "confidence": confidence, "points": POINTS, "against": against})
    path = job.folder / CALIBRATION
    if path.exists() and not calibration_problems(path) and read(path)["from"] == made_from:
        return False
    trace = Trace.load(job.folder / VALIDATION / TRACE)
    backbone = Trace.load(job.folder / VALIDATION / BACKBONE_TRACE).right()[:, -1]
    right = backbone if against == BACKBONE_ALONE else None  # its own final exit
    chosen = [
        _chosen(calibrate(trace, pair.decisions, points, confidence, right))
        for confidence in dict.fromkeys((job.options.confidence, OBSERVED))
        for points in POINTS
    ]
    # Another confidence, chosen after the test answers were there, is no crime, but readers must know.
    write_json(path, {"from": made_from, "before_test": kept(job.folder / TEST) is None, "chosen": chosen})
    return True


def _chosen(found: Calibration) -> dict[str, Any]:
    """A calibration of one shared threshold, as it is kept."""
    document = asdict(found)
    (limit,) = set(document.pop("limits"))
    (threshold,) = set(document.pop("thresholds"))
    (unbounded,) = set(document.pop("unbounded_thresholds"))
    return {"threshold": threshold, "limit": limit, **document, "unbounded_threshold": unbounded}


def _test(job: Job, step: Step) -> bool:
    chosen = read(job.folder / CALIBRATION)["chosen"]
    limit = next(one["limit"] for one in reversed(chosen) if one["points"] == 1.0)
    return _answered(job, "test", (limit,) * (len(job.method.exits) - 1), step)
