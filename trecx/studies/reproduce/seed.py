"""One seed of one variant is a run like any other, with thresholds for every target between its calibration and its C.

    train/ -> quantize/ -> model/ -> thresholds/ -> firmware/ -> verify/ -> evaluate/

Thresholds are chosen and written before an int8 model answers a test sample. What is finished is not done again for
another program: days of training must not start anew for a new sentence in a docstring.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trecx import pipeline, program, stamp
from trecx import run as runs
from trecx.console import Step
from trecx.errors import TrecxError
from trecx.files import write_json
from trecx.judge.calibrate import Calibration, calibrate
from trecx.judge.trace import Trace
from trecx.learn import train as training
from trecx.learn.exits import Choice, Method
from trecx.learn.exits.trecx import TRecX
from trecx.learn.settings import QuantizeSettings, TrainSettings, settings_for
from trecx.run import Run
from trecx.settings import Settings
from trecx.stamp import Origin, content
from trecx.steps import pair
from trecx.steps.answers import PROVEN
from trecx.steps.pair import BACKBONE_VALIDATION, VALIDATION
from trecx.studies.reproduce import first_version, together
from trecx.studies.reproduce.material import Material, weights_sha256
from trecx.studies.reproduce.plan import BACKBONE, BACKBONE_ALONE, OBSERVED, POINTS, Options, Variant
from trecx.studies.reproduce.together import ANOTHER, THRESHOLDS

CHOSEN = "thresholds.json"
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
    def run(self) -> Run:
        """Its run directory."""
        return Run(self.folder)

    @property
    def method(self) -> Method:
        """The exit method with the variant's attachment."""
        return TRecX.of(self.material.task, Choice(self.variant.exit, (), self.variant.early_view))

    @property
    def settings(self) -> Settings:
        """Its settings as a run; its own operating point is the one that loses a point as observed."""
        chosen = {"weights": self.weights, "teacher": self.options.teacher, "seed": self.seed}
        how = {"exit": self.variant.exit, "early_view": self.variant.early_view, "against": self.options.against}
        judged = {"targets": ("host",), "samples": PROVEN, "points": 1.0, "confidence": OBSERVED}
        return self.material.settings.changed({**chosen, **how, **judged})


def backbone(material: Material, options: Options, out: Path, step: Step) -> Path:
    """The trained backbone that all seeds start from: the one given, else one that is trained here, once."""
    if options.weights is not None:
        return options.weights.absolute()
    settings = settings_for(material.task, None, material.data.source_weights, BACKBONE_SEED)
    settings = taught(settings, options)
    digest = program.digest(training.train_backbone)
    origin = Origin(trained_from(material, settings), digest, lasting=True, whole=True)
    if wrong := conflicts(Run(out), BACKBONE, origin):
        raise TrecxError(wrong, ANOTHER)

    def train(folder: Path) -> None:
        with step.progress("batches") as progress:
            training.train_backbone(material.task, material.data, settings, folder, progress)

    Run(out).step(BACKBONE, origin, train, resumable=True, about=material.about())
    return (out / BACKBONE / training.BACKBONE).absolute()


def taught(settings: TrainSettings, options: Options) -> TrainSettings:
    """The settings with the teacher that was chosen, if any."""
    return settings if options.teacher is None else replace(settings, teacher=options.teacher.absolute())


def trained_from(material: Material, settings: TrainSettings) -> dict[str, Any]:
    """The configuration of a training: everything that changes its result but the program."""
    weights = {"weights": settings.weights, "teacher": settings.teacher}
    return {
        "task": material.task.name,
        "settings": settings,
        "weights": {name: weights_sha256(path) if path else None for name, path in weights.items()},
        "data": {name: material.hashes[name] for name in ("train", "validation", "test")},
    }


def trained_as(job: Job) -> dict[str, Any]:
    """The configuration of a seed's training."""
    source_weights, attachment = job.material.data.source_weights, job.variant.attachment
    settings = settings_for(job.material.task, job.weights, source_weights, job.seed, attachment.tuning)
    attached = {"method": job.method.name, "attachment": attachment}
    return trained_from(job.material, taught(settings, job.options)) | attached


def origin(job: Job, name: str) -> Origin:
    """What a step of a seed is made from: as in any run, but data by their content, and a training by its recipe."""
    of = pipeline.origin(job.run, name, job.settings, data=job.material.hashes)
    configuration = trained_as(job) if name == "train" else of.configuration
    if name == "quantize":
        configuration = {**configuration, "recipe": QuantizeSettings(seed=job.seed)}
    return replace(of, configuration=configuration, lasting=True, whole=True)


def conflicts(run: Run, name: str, of: Origin) -> list[str]:
    """Why a finished step that took long cannot be used: it is damaged, or made from something else."""
    folder = run.folder(name)
    if wrong := stamp.damage(folder):
        return [f"{folder} is damaged: {'; '.join(wrong)}."]
    found = run.objections(name, of)
    return [f"{folder} was made with another configuration: {'; '.join(found)}."] if found else []


def check(jobs: Iterable[Job]) -> None:
    """Raise TrecxError with every training that is there already, but damaged or with another configuration."""
    wrong = [line for job in jobs for line in conflicts(job.run, "train", origin(job, "train"))]
    if wrong:
        raise TrecxError(wrong, ANOTHER)


def terms(job: Job) -> together.Terms:
    """What a seed will have to have in common with those that it is reported with."""
    on = together.chosen(job.material.hashes["calibration"], job.options.confidence, job.options.against)
    return together.terms(stamp.told(trained_as(job))) | on


def run(job: Job, step: Step) -> bool:
    """Bring every step of a seed up to date; False where all were. Raises Busy where another process is at it."""
    with runs.create(job.folder, job.settings.as_json()).working():
        changed = [_choose(job) if name == THRESHOLDS else _do(job, name, step) for name in together.STEPS]
    return any(changed)


def _do(job: Job, name: str, step: Step) -> bool:
    about = job.material.about() if name == "train" else None
    return pipeline.perform(job.run, name, job.settings, step, origin(job, name), about)


def _choose(job: Job) -> bool:
    """Choose the thresholds of every target, with the confidence and as observed, from validation answers."""
    validated = job.folder / pipeline.folder("calibrate")
    confidence, against = job.options.confidence, job.options.against
    asked: dict[str, Any] = {"confidence": confidence, "points": POINTS, "against": against}
    asked |= {"reads": {"calibrate": content(validated)}, "data": job.material.hashes["calibration"]}

    def choose(folder: Path) -> None:
        trace, decisions = Trace.load(validated / VALIDATION), pair.read(validated).decisions
        alone = Trace.load(validated / BACKBONE_VALIDATION).right()[:, -1]
        right = alone if against == BACKBONE_ALONE else None  # its own final exit
        chosen = [
            _chosen(calibrate(trace, decisions, points, level, right))
            for level in dict.fromkeys((confidence, OBSERVED))
            for points in POINTS
        ]
        # Another confidence, chosen after the test answers were there, is no crime, but readers must know.
        before = not job.run.folder("evaluate").exists() and first_version.chosen_before_test(job.folder, chosen)
        write_json(folder / CHOSEN, {"before_test": before, "chosen": chosen})

    return job.run.step(THRESHOLDS, Origin(asked, program.digest(calibrate), lasting=True, whole=True), choose)


def _chosen(found: Calibration) -> dict[str, Any]:
    """A calibration of one shared threshold, as it is kept."""
    document = asdict(found)
    (limit,) = set(document.pop("limits"))
    (threshold,) = set(document.pop("thresholds"))
    (unbounded,) = set(document.pop("unbounded_thresholds"))
    return {"threshold": threshold, "limit": limit, **document, "unbounded_threshold": unbounded}
