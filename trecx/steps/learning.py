"""Steps that make the pair: train, quantize, calibrate; or take the one that ships, or a user's own."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mlperf_tiny import pretrained
from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Data, Task
from trecx import __version__, documents, files
from trecx import exits as door
from trecx.console import Step
from trecx.decision import Criterion
from trecx.errors import TrecxError
from trecx.files import write_json
from trecx.judge import search
from trecx.judge.calibrate import MEAN, Calibration, calibrate, promised, stuck, unlike
from trecx.judge.calibrate import thresholds as decision_thresholds
from trecx.judge.trace import Trace
from trecx.settings import Folders, Settings
from trecx.steps import counting, left_out
from trecx.steps import pair as pairs
from trecx.steps.answers import answer, answer_blocks
from trecx.steps.data import data, quantized, unlabelled
from trecx.steps.learned import described, exits_of, learned
from trecx.steps.pair import BACKBONE, BACKBONE_VALIDATION, EXITS, UNLABELLED, VALIDATION, Pair
from trecx.subjects import task as registered

if TYPE_CHECKING:
    from trecx.learn.exits import Method
    from trecx.learn.own_model import Ready
    from trecx.learn.settings import TrainSettings

PROVENANCE, STUDY = "provenance.json", "study"
# Accuracy that an operating point may be behind the best: nobody would choose one that loses more.
WORTH = 0.1
# Samples below which the search among several exits is cautious: to 400 that was better on others, at 800 no different.
FEW = 1000
# Share of a teacher's scores in the targets, where it is named and the recipe has none.
TAUGHT = 0.9
PACKAGES = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "tflite-micro", "numpy")


def take_pretrained(settings: Settings, _: Folders, out: Path, step: Step) -> None:
    """Copy the pair that ships with a task, with where it comes from and the answers it was judged by."""
    assert settings.task is not None
    source = pretrained.folder(registered(settings.task).name, settings.exit)
    if not (source / EXITS).is_file():
        what = f" with the exit {settings.exit!r}" if settings.exit else ""
        shipped = ", ".join(pretrained.exits(settings.task))
        hint = f"It ships with {shipped}; --train trains others." if shipped else "Train one: --train."
        raise TrecxError(f"No pretrained pair ships for {settings.task}{what}.", hint)
    for file in sorted(source.iterdir()):
        shutil.copyfile(file, out / file.name)
    accepted = pairs.read(out)
    step.outcome = f"pretrained pair, {len(accepted.content):,} bytes int8, {len(accepted.exits.exits)} exits"


def pretrained_files(settings: Settings) -> list[Path]:
    """The files of the pair that ships with a run's task."""
    if not settings.task or settings.train:
        return []
    folder = pretrained.folder(settings.task, settings.exit)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def own(model: Path, exits: Path | None) -> Pair:
    """A user's own model with its `exits.json`, or with its one output as the final exit."""
    if exits is None:
        return pairs.plain(model)
    spec = door.read(exits)
    found = pairs.bind(model, spec)
    if files.sha256(model) != spec.model_sha256:
        raise TrecxError(
            f"{model} is not the model that {exits} was made for (its SHA-256 differs).",
            "Correct 'sha256' in exits.json if the two do belong together.",
        )
    return found


def adopt(found: Pair, out: Path) -> None:
    """Make a `model/` folder of a user's own pair."""
    (out / "model.tflite").write_bytes(found.content)
    replace(found.exits, model_file="model.tflite").write(out / EXITS)


def train(settings: Settings, _: Folders, out: Path, step: Step) -> None:
    """Train the float model; `out` keeps checkpoints, so that an interrupted training goes on."""
    from trecx.learn.own_model import Ready
    from trecx.learn.train import HISTORY
    from trecx.learn.train import train as fit

    found = data(settings, step)
    assert found is not None
    task = learned(settings, step)
    method = exits_of(settings, task)
    if isinstance(method, Ready):
        return _take_trained(method, found, out, step)
    chosen = recipe_of(settings, task, found, method.tuning)
    if not (out / HISTORY).is_file():  # it is what a training writes last
        with step.progress("batches") as progress:
            fit(task, found, method, chosen, out, progress)
    left_out.train(settings, task, found, method, chosen, out, step)
    step.outcome = f"{len(found.train):,} training samples, seed {settings.seed}"


def recipe_of(settings: Settings, task: Task, found: Data, tuning: Recipe | None = None) -> "TrainSettings":
    """How a run trains; `tuning` is the recipe of a method's own on a trained backbone."""
    from trecx.learn.settings import settings_for

    start, teacher = _begins(settings)
    # Where a narrower network has a teacher it learns as exits do on a trained one: by its scores, on mixed samples.
    narrow = teacher if settings.width < 1 else None
    chosen = settings_for(task, start or narrow, found.source_weights, settings.seed, tuning)
    chosen = replace(chosen, weights=start)
    if teacher:
        chosen = replace(chosen, teacher=teacher, distillation=chosen.distillation or TAUGHT)
    if settings.epochs is not None:
        chosen = replace(chosen, epochs=settings.epochs, backbone_epochs=settings.epochs)
    return chosen


def _begins(settings: Settings) -> tuple[Path | None, Path | None]:
    """The trained network that a training begins with, and the teacher, each None where there is none.

    A model of the user's own has weights for its full width only; a narrower network learns from its scores.
    """
    weights, teacher = settings.weights or settings.model, settings.teacher
    if settings.width < 1:
        weights, teacher = None, teacher or settings.model
    return Path(weights) if weights else None, Path(teacher) if teacher else None


def _take_trained(method: "Ready", found: Data, out: Path, step: Step) -> None:
    """Take a model of the user's own that has its exits, in place of a training."""
    from trecx.learn.own_model import adopt

    with step.progress("scores"):
        adopt(method, found, out)
    step.outcome = f"{len(method.exits)} exits as they are in {method.path.name}"


def quantize(settings: Settings, folders: Folders, out: Path, step: Step) -> None:
    """Make the int8 model with its exits, and the int8 backbone alone where there is one."""
    from trecx.learn.quantize import quantize as convert
    from trecx.learn.settings import QuantizeSettings

    found = data(settings, step)
    assert found is not None
    chosen = QuantizeSettings(scheme=settings.scheme, seed=settings.seed)
    if settings.epochs is not None:
        chosen = replace(chosen, epochs=settings.epochs)
    task = learned(settings, step)
    method, model = exits_of(settings, task), out / f"{settings.name}.tflite"
    with step.progress("converting") as progress:
        fused = convert(task, found, method, folders["train"], out, chosen, progress)
    described(task, method, model).write(out / EXITS)
    left_out.quantize(settings, task, found, method, chosen, folders["train"], out, step)
    write_json(out / PROVENANCE, provenance(settings, method, found.sources, folders["train"], list(fused), out))
    step.outcome = f"{settings.scheme}, {model.stat().st_size:,} bytes"
    if (out / BACKBONE).is_file():
        step.outcome += f"; the backbone alone {(out / BACKBONE).stat().st_size:,}"


def choose_thresholds(settings: Settings, folders: Folders, out: Path, step: Step) -> None:
    """Complete the quantized pair with thresholds, chosen on its validation answers paired with the backbone's.

    A model that came with its exits has no backbone; it is compared with its own final exit, as is one whose backbone
    has seen the validation samples and is therefore no measure on them (`settings.against`).
    """
    found = data(settings, step)
    assert found is not None
    missing = [name for name in (EXITS, PROVENANCE) if not (folders["quantize"] / name).is_file()]
    if missing:
        problem = f"{folders['quantize']} lacks {' and '.join(missing)}, without which no thresholds can be chosen."
        raise TrecxError(problem, "Delete that folder, so that the model is quantized anew.")
    pair = pairs.read(folders["quantize"])
    if settings.criterion is not None:
        pair = pairs.bind(pair.path, deciding(pair.exits, settings.criterion))
    backbone = folders["quantize"] / BACKBONE
    split = found.validation.of(found.calibration)
    more = _unlabelled(settings, pair, out, step)
    answered = answer(pair, split, pair.limits, step, "validation")
    plain = pairs.plain(backbone, pair.exits.classes) if backbone.is_file() else None
    alone = None if plain is None else answer(plain, split, (), step, "validation, backbone")
    told, told_alone = left_out.answers(settings, found, folders["quantize"], pair, plain, step)
    apart = bool(told) and not left_out.alike(answered, told, pair.decisions)
    if apart:
        told, told_alone = [], []
    labelled = Trace.joined([answered, *told])
    labelled.save(out / VALIDATION)
    right = None
    if alone is not None:
        alone = Trace.joined([alone, *told_alone])
        alone.save(out / BACKBONE_VALIDATION)
        right = alone.right()[:, -1] if settings.against == "backbone" else None
        shutil.copyfile(backbone, out / BACKBONE)
    chosen = calibrate(labelled, pair.decisions, settings.points, settings.confidence, right, settings.promise, more)
    chosen = replace(chosen, left_out=len(labelled) - len(answered))
    shutil.copyfile(pair.path, out / pair.path.name)
    whence = documents.required(folders["quantize"] / PROVENANCE, "Quantize again.", "task")
    studied = {} if settings.study is None else {STUDY: {**asdict(settings.study), "samples": chosen.samples}}
    write_json(out / PROVENANCE, {**whence, **studied, "promise": promised(chosen)})
    with step.progress("operating points") as progress:
        points = operating_points(pair, answered, chosen.limits, settings.choices, settings.cost, progress)
    replace(pair.exits, operating_points=points).write(out / EXITS)
    warned = [left_out.UNLIKE] if apart else []
    write_json(out / "calibration.json", asdict(replace(chosen, warnings=(*chosen.warnings, *warned))))
    step.outcome = "; WARNING: ".join((outcome(chosen), *warned, *unlike(chosen), *stuck(answered, pair.decisions)))


def _unlabelled(settings: Settings, pair: Pair, out: Path, step: Step) -> Trace | None:
    """The model's answers to samples without labels, where there are any and the promise makes use of them."""
    if not settings.unlabelled or settings.promise == MEAN:
        return None
    samples = (quantized(x, pair.graph) for x in unlabelled(settings, step))
    found = answer_blocks(pair, samples, pair.limits, "samples without labels")
    found.save(out / UNLABELLED)
    return found


def deciding(exits: door.Exits, criterion: str) -> door.Exits:
    """The same exits with another criterion; the gates that it reads must be theirs."""
    if criterion == exits.exits[0].criterion:
        return exits
    *early, final = exits.exits
    return replace(exits, exits=(*(replace(one, criterion=criterion, gate=None) for one in early), final))


def operating_points(
    pair: Pair,
    answered: Trace,
    calibrated: Sequence[int],
    count: int,
    cost: str | None = None,
    progress: search.Progress = lambda done, total: None,
) -> tuple[door.OperatingPoint, ...]:
    """The calibrated limits as an operating point, and those that the search finds, so many in all, cheapest first.

    `cost` is what they trade accuracy for (`counting.costs`). Predicted is what was seen.
    """
    early = len(pair.exits.exits) - 1
    if pair.optimised.most_confident:  # who answers is not decided by limits alone
        at = decision_thresholds(pair.decisions[:early], calibrated)
        named = {e.name: t for e, t in zip(pair.exits.exits, at, strict=False) if t is not None}
        return (door.OperatingPoint("calibrated", named),)
    statistics, right = answered.decided(pair.decisions)[:, :early], answered.right()
    what, costs = counting.costs(pair, cost) if count > 1 and early else (counting.MACS, pair.costs)
    few = early > 1 and len(right) < FEW
    macs, recorded = (search.Recorded(statistics, right, each, pair.taps, few) for each in (pair.costs, costs))
    chosen: list[tuple[str, search.Limits]] = [("calibrated", tuple(calibrated[:early]))]
    if count > 1 and early:
        every = search.search(recorded, progress)
        worth = [one for one in every if one.accuracy >= every[-1].accuracy - WORTH]
        kept = [one.limits for one in search.thinned(worth, count - 1)]
        others = dict.fromkeys(sayable(pair.decisions, limits) for limits in kept)
        chosen += [(f"point {k}", limits) for k, limits in enumerate(others, 1)]
    found = [(name, search.outcome(macs, limits), search.outcome(recorded, limits).cost) for name, limits in chosen]
    on = what.partition(":")[2]
    return tuple(point(pair, name, one, len(right), {on: spent} if on else None) for name, one, spent in found)


def sayable(decisions: Sequence[Criterion], limits: search.Limits) -> search.Limits:
    """Limits without those that no threshold says: near a gate's end sigmoid is 1 in a float, and nobody leaves."""
    known = zip(decisions, limits, strict=False)
    return tuple(None if at is None or kind.threshold(at) is None else at for kind, at in known)


def point(
    pair: Pair, name: str, found: search.Outcome, samples: int, instructions: dict[str, float] | None
) -> door.OperatingPoint:
    """A configuration as an operating point; a limit that lets nobody leave does without the exit."""
    early = zip(pair.exits.exits, pair.decisions, found.limits, strict=False)
    at = {spec.name: kind.threshold(limit) for spec, kind, limit in early if limit is not None}
    rates = tuple(count / samples for count in found.taken)
    predicted = door.Predicted(samples, found.accuracy, rates, found.cost, instructions)
    return door.OperatingPoint(name, {k: v for k, v in at.items() if v is not None}, predicted)


def outcome(found: Calibration) -> str:
    """A calibration in one line."""
    if not found.limits:
        return f"no early exit, so no threshold to choose on {found.samples:,} validation samples"
    at = ", ".join("never" if threshold is None else f"{threshold:.4g}" for threshold in found.thresholds)
    told = (
        f"threshold {at}: {found.exit_rate:.1%} of {found.samples - found.left_out:,} validation samples "
        f"{f'and {found.left_out:,} of the training data ' if found.left_out else ''}leave early, "
        f"{found.loss:+.2f} points lost; promised: {promised(found)}"
    )
    return told if found.exit_rate else "; WARNING: ".join((told, *found.warnings[:1]))


def provenance(
    settings: Settings, method: "Method", sources: dict[str, str], trained: Path, fused: list[str], out: Path
) -> dict[str, object]:
    """Where the models in `out` come from: data, settings, versions, hashes; what is not known is None."""
    history = documents.required(trained / "history.json", "Train again.", "settings")
    weights, _ = _begins(settings)
    return {
        "trecx": __version__,
        "task": settings.name,
        "method": method.name,
        "exit": settings.exit or (f"at {', '.join(settings.taps)}" if settings.taps else None),
        **method.about(),
        "quantization": settings.scheme,
        "fused_convolutions": fused,
        "seed": settings.seed,
        "data": sources,
        "width": settings.width,
        "starting_weights": weights and weights.name,
        "training": history["settings"],
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "sha256": {file.name: files.sha256(file) for file in sorted(out.glob("*.tflite"), reverse=True)},
    }
