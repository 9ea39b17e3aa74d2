"""Steps that make the pair: train, quantize, calibrate; or take the one that ships, or a user's own."""

import json
import shutil
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlperf_tiny import pretrained
from mlperf_tiny.task import Split
from trecx import __version__
from trecx import exits as door
from trecx.console import Step
from trecx.errors import TrecxError
from trecx.judge import reference
from trecx.judge.calibrate import Calibration, calibrate
from trecx.judge.trace import Trace
from trecx.run import write_json
from trecx.settings import Settings
from trecx.steps import pair as pairs
from trecx.steps.data import data, quantized, task
from trecx.steps.pair import BACKBONE, Pair

if TYPE_CHECKING:
    from trecx.learn.exits import Method

# The convolutions of a converted model that were fused from two.
FUSED = "fused.json"
VALIDATION, BACKBONE_VALIDATION = "validation.npz", "backbone_validation.npz"
PACKAGES = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "tflite-micro", "numpy")


def take_pretrained(settings: Settings, out: Path, step: Step) -> None:
    """Copy the pair that ships with a task, with where it comes from and the answers it was judged by."""
    assert settings.task is not None
    source = pretrained.folder(task(settings.task).name)
    if not (source / "exits.json").is_file():
        raise TrecxError(f"No pretrained pair ships for {settings.task}.", "Train one: --train.")
    for file in sorted(source.iterdir()):
        shutil.copyfile(file, out / file.name)
    accepted = pairs.read(out)
    step.outcome = f"pretrained pair, {len(accepted.content):,} bytes int8, {len(accepted.exits.exits)} exits"


def pretrained_files(settings: Settings) -> list[Path]:
    """The files of the pair that ships with a run's task."""
    return sorted(pretrained.folder(settings.task).iterdir()) if settings.task and not settings.train else []


def own(model: Path, exits: Path | None) -> Pair:
    """A user's own model with its `exits.json`, or with its one output as the final exit."""
    if exits is None:
        return pairs.plain(model)
    spec = door.read(exits)
    found = pairs.bind(model, spec)
    if door.sha256(model) != spec.model_sha256:
        raise TrecxError(
            f"{model} is not the model that {exits} was made for (its SHA-256 differs).",
            "Correct 'sha256' in exits.json if the two do belong together.",
        )
    return found


def adopt(found: Pair, out: Path) -> None:
    """Make a `model/` folder of a user's own pair."""
    (out / "model.tflite").write_bytes(found.content)
    replace(found.exits, model_file="model.tflite").write(out / "exits.json")


def train(settings: Settings, out: Path, step: Step) -> None:
    """Train the float model; `out` keeps checkpoints, so that an interrupted training goes on."""
    from trecx.learn.settings import settings_for
    from trecx.learn.train import train as fit

    assert settings.task is not None
    found = data(settings, step)
    assert found is not None
    weights = Path(settings.weights) if settings.weights else None
    method = exit_method(settings)
    chosen = settings_for(task(settings.task), weights, found.source_weights, settings.seed, method.attachment)
    if settings.teacher:
        chosen = replace(chosen, teacher=Path(settings.teacher))
    if settings.epochs is not None:
        chosen = replace(chosen, epochs=settings.epochs, backbone_epochs=settings.epochs)
    with step.progress("batches") as progress:
        fit(task(settings.task), found, method, chosen, out, progress)
    step.outcome = f"{len(found.train):,} training samples, seed {settings.seed}"


def exit_method(settings: Settings) -> "Method":
    """The exit method of a run with the attachment that was chosen."""
    from trecx.learn.exits import attachment, method

    assert settings.task is not None
    return method(settings.method, attachment(task(settings.task), settings.exit, settings.early_view))


def quantize(settings: Settings, trained: Path, out: Path, step: Step) -> None:
    """Make the int8 model with its exits, and the int8 backbone alone."""
    from trecx.learn.quantize import quantize as convert
    from trecx.learn.settings import QuantizeSettings

    assert settings.task is not None
    found = data(settings, step)
    assert found is not None
    chosen = QuantizeSettings(scheme=settings.scheme, seed=settings.seed)
    if settings.epochs is not None:
        chosen = replace(chosen, epochs=settings.epochs)
    with step.progress("converting") as progress:
        fused = convert(task(settings.task), found, exit_method(settings), trained, out, chosen, progress)
    write_json(out / FUSED, list(fused))
    sizes = [(out / name).stat().st_size for name in (f"{settings.task}.tflite", BACKBONE)]
    step.outcome = f"{settings.scheme}, {sizes[0]:,} bytes; the backbone alone {sizes[1]:,}"


def choose_thresholds(settings: Settings, trained: Path, converted: Path, out: Path, step: Step) -> None:
    """Put the pair together: thresholds chosen on validation answers of the int8 model, paired with the backbone's."""
    assert settings.task is not None
    found = data(settings, step)
    assert found is not None
    name = f"{settings.task}.tflite"
    for file in (name, BACKBONE):
        shutil.copyfile(converted / file, out / file)
    chosen, exits = task(settings.task), exit_method(settings).exits
    specs = tuple(door.ExitSpec(e, e, "max_score" if e != exits[-1] else None) for e in exits)
    spec = door.Exits(settings.task, settings.method, name, door.sha256(out / name), chosen.classes, specs)
    split = found.validation.of(found.calibration)
    answers = answer(pairs.bind(out / name, spec), split, step, "validation")
    plain = answer(pairs.plain(out / BACKBONE, chosen.classes), split, step, "validation, backbone")
    answers.save(out / VALIDATION)
    plain.save(out / BACKBONE_VALIDATION)
    scales = pairs.bind(out / name, spec).scales
    right = plain.right()[:, -1]
    found_point = calibrate(answers, scales, settings.points, settings.confidence, right)
    thresholds = {} if found_point.threshold is None else {exits[0]: found_point.threshold}
    point = door.OperatingPoint("calibrated", thresholds)
    replace(spec, operating_points=(point,)).write(out / "exits.json")
    write_json(out / "calibration.json", asdict(found_point))
    write_json(out / "provenance.json", provenance(settings, found.sources, trained, converted, out))
    step.outcome = outcome(found_point)


def outcome(found: Calibration) -> str:
    """A calibration in one line."""
    threshold = "never" if found.threshold is None else f"{found.threshold:.4g}"
    return (
        f"threshold {threshold}: {found.exit_rate:.1%} of {found.samples:,} validation samples leave early, "
        f"{found.loss:+.2f} points lost"
    )


def answer(pair: Pair, split: Split, step: Step, what: str) -> Trace:
    """What the oracle answers to a split, both exits of every sample."""
    inputs = quantized(split, pair.graph.input)
    with step.progress(what) as progress:
        return reference.tflm_trace(
            pair.content, pair.logits, pair.scores, inputs, pair.scales, pair.limits, split.y.astype(np.int32), progress
        )


def provenance(
    settings: Settings, sources: dict[str, str], trained: Path, converted: Path, out: Path
) -> dict[str, object]:
    """Where a pair comes from: data, settings, versions, hashes."""
    history = json.loads((trained / "history.json").read_text(encoding="utf-8"))
    weights, fused = Path(settings.weights) if settings.weights else None, converted / FUSED
    return {
        "trecx": __version__,
        "task": settings.task,
        "method": settings.method,
        "exit": settings.exit,
        "early_view": settings.early_view,
        "quantization": settings.scheme,
        "fused_convolutions": json.loads(fused.read_text(encoding="utf-8")) if fused.is_file() else [],
        "seed": settings.seed,
        "data": sources,
        "starting_weights": None if weights is None else weights.name,
        "training": history["settings"],
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "sha256": {name: door.sha256(out / name) for name in (f"{settings.task}.tflite", BACKBONE)},
    }
