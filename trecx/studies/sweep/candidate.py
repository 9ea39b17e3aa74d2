"""A candidate is a run with its settings, as far as its thresholds, and what it is worth on validation answers.

    trials/<what is trained>/train/ -> quantize/ -> model-<criterion>/ -> judged-<criterion>/

Candidates that differ in what decides alone share the training. Nothing here reads an answer to a test sample.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from trecx import documents, pipeline, program
from trecx import run as runs
from trecx.console import Step
from trecx.files import write_json
from trecx.judge import search
from trecx.judge.calibrate import Calibration
from trecx.judge.trace import Trace
from trecx.run import Run
from trecx.settings import TRAINED, Settings
from trecx.stamp import Origin, content, digest, told
from trecx.steps import counting, pair
from trecx.steps.pair import BACKBONE_VALIDATION, VALIDATION

TRIALS, JUDGED = "trials", "judged.json"


@dataclass(frozen=True)
class Judged:
    """What a candidate is worth on the samples that its thresholds were chosen on.

    `accuracy` is the share of right answers at the calibrated thresholds, `cost` the mean cost of an inference in what
    `counted` says: "macs" or "instructions:TARGET". `loss` and `bound` are points lost against the reference, as
    observed, and at most so many with the confidence of the calibration.
    """

    accuracy: float
    cost: float
    counted: str
    exit_rate: float
    loss: float
    bound: float
    thresholds: tuple[float | None, ...]
    samples: int


@dataclass(frozen=True)
class Candidate:
    """A candidate of the sweep in `out`."""

    out: Path
    settings: Settings

    @property
    def name(self) -> str:
        """The name of its run: candidates that train the same have the same."""
        trained = {step: self.settings.read_by(step) for step in ("train", "quantize")}
        return digest(told(trained))[:12]

    @property
    def label(self) -> str:
        """What tells it from all other candidates."""
        return f"{self.name}-{self.settings.criterion}"

    @property
    def folder(self) -> Path:
        """Its run directory."""
        return self.out / TRIALS / self.name

    def judged(self, step: Step, says: Callable[[str], None]) -> Judged:
        """Do what is not done yet, and judge it; `says` hears which step begins, and what came of it."""
        run = runs.bare(self.folder)
        with run.lock(wait=True):  # another worker may be at the training that this one shares
            for name in TRAINED:
                says(name)
                of = pipeline.origin(run, name, self.settings)
                into = self._own("model") if name == "calibrate" else None
                if pipeline.perform(run, name, self.settings, step, of, into=into):
                    says(f"{name}: {step.outcome}")
            return judge(run, self._own("model"), self._own("judged"), self.settings)

    def _own(self, what: str) -> str:
        return f"{what}-{self.settings.criterion}"


def judge(run: Run, model: str, into: str, settings: Settings) -> Judged:
    """What the calibrated pair in a run's folder `model` is worth, kept in its folder `into`."""
    folder = run.folder(model)
    asked = {"cost": settings.cost, "against": settings.against, "reads": {"calibrate": content(folder)}}

    def work(out: Path) -> None:
        write_json(out / JUDGED, asdict(worth(folder, settings)))

    run.step(into, Origin(asked, program.digest(worth)), work)
    found: Judged = documents.kept(Judged, run.folder(into) / JUDGED)
    return found


def worth(calibrated: Path, settings: Settings) -> Judged:
    """What a pair is worth by the validation answers beside it."""
    found, answered = pair.read(calibrated), Trace.load(calibrated / VALIDATION)
    chosen: Calibration = documents.kept(Calibration, calibrated / "calibration.json")
    right, early = answered.right(), len(found.exits.exits) - 1
    reference = right[:, -1]
    if settings.against == "backbone" and (calibrated / BACKBONE_VALIDATION).is_file():
        reference = Trace.load(calibrated / BACKBONE_VALIDATION).right()[:, -1]
    counted, costs = counting.costs(found, settings.cost)
    recorded = search.Recorded(answered.decided(found.decisions)[:, :early], right, costs, found.taps)
    # Where the surest of all exits answers, this is wrong about who is right, but not about where inference ended.
    spent = search.outcome(recorded, tuple(chosen.limits[:early])).cost
    lost = round(chosen.loss / 100 * chosen.samples)
    return Judged(
        accuracy=(int(reference.sum()) - lost) / chosen.samples,
        cost=spent,
        counted=counted,
        exit_rate=chosen.exit_rate,
        loss=chosen.loss,
        bound=chosen.bound,
        thresholds=chosen.thresholds,
        samples=chosen.samples,
    )
