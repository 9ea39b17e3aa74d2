"""Train a backbone and its exits: the backbone first, then everything jointly."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlperf_tiny.task import Data, Split, Task
from trecx.errors import TrecxError
from trecx.learn import weights
from trecx.learn.batches import probabilities
from trecx.learn.exits import Method
from trecx.learn.files import whole
from trecx.learn.keras import keras, save, seed
from trecx.learn.loop import Checkpoints, Progress, Record, Stage, fingerprint, fit
from trecx.learn.settings import TrainSettings

BACKBONE, MODEL, HISTORY, SCORES = "backbone.keras", "model.keras", "history.json", "float_scores.npz"
_FINAL = "final"  # the backbone's only output carries the name of the final exit


def plain(task: Task) -> Any:
    """The plain backbone as a Keras model with one softmax output, `final`."""
    backbone = task.backbone(keras())
    scores = keras().layers.Softmax(name=_FINAL)(backbone.head(backbone.features))
    return keras().Model(backbone.input, scores, name=f"{task.name}_backbone")


def train(task: Task, data: Data, method: Method, settings: TrainSettings, folder: Path, progress: Progress) -> None:
    """Train and write `backbone.keras`, `model.keras`, `history.json` and `float_scores.npz` into `folder`.

    `progress(done, total)` counts steps over all stages. An interrupted run continues where it stopped when it is
    started again with the same task, data, method and settings. Test samples are scored once, at the end, and not
    judged here. Raises TrecxError with all problems.
    """
    _check(task, data, settings)
    folder.mkdir(parents=True, exist_ok=True)
    seed(settings.seed)
    identity = (task.name, method, settings, data.train.x, data.train.y, data.validation.x, data.validation.y)
    checkpoints = [folder / "checkpoint-backbone.npz", folder / "checkpoint-joint.npz"]
    before = 0 if settings.weights else settings.backbone_epochs
    epochs = before + settings.epochs

    backbone, teacher, history = plain(task), _teacher(task, settings), []
    if settings.weights:
        weights.load_into(backbone, settings.weights)
    else:
        kept = Checkpoints(checkpoints[0], fingerprint("backbone", *identity))
        history = fit_backbone(backbone, teacher, data, settings, kept, _part(progress, 0, before, epochs))
    save(backbone, folder / BACKBONE)

    seed(settings.seed + 1)
    model = attach(task, method, backbone)
    chosen = exit_weights(settings, method.loss_weights())
    release = copied_epochs(settings)
    copies = method.copies(model)
    _set_trainable(model, backbone, not settings.frozen)
    learning = [k for k, name in enumerate(method.exits) if learns(model, name)]
    exits = tuple(method.exits[k] for k in learning)
    stage = Stage(
        "joint",
        1,
        model,
        exits,
        tuple(chosen[k] for k in learning),
        settings.epochs,
        copies,
        release,
        teacher or backbone,
    )
    kept = Checkpoints(checkpoints[1], fingerprint("joint", *identity, *backbone.get_weights()))
    joint = _run(stage, data, settings, kept, _part(progress, before, settings.epochs, epochs))
    _set_trainable(model, backbone, True)
    save(model, folder / MODEL)
    _write_scores(folder / SCORES, data, model, backbone, method.exits)
    _write_history(folder / HISTORY, settings, history, joint)
    for path in checkpoints:
        path.unlink(missing_ok=True)


def train_backbone(task: Task, data: Data, settings: TrainSettings, folder: Path, progress: Progress) -> None:
    """Train the plain backbone alone from scratch; write `backbone.keras` and `history.json` into `folder`.

    It is the backbone that `train` would begin with; an interrupted run continues in the same way.
    """
    _check(task, data, settings)
    folder.mkdir(parents=True, exist_ok=True)
    seed(settings.seed)
    backbone, teacher = plain(task), _teacher(task, settings)
    identity = (task.name, settings, data.train.x, data.train.y, data.validation.x, data.validation.y)
    kept = Checkpoints(folder / "checkpoint-backbone.npz", fingerprint("backbone", *identity))
    history = fit_backbone(backbone, teacher, data, settings, kept, progress)
    save(backbone, folder / BACKBONE)
    _write_history(folder / HISTORY, settings, history, [])
    kept.path.unlink(missing_ok=True)


def fit_backbone(
    backbone: Any, teacher: Any, data: Data, settings: TrainSettings, kept: Checkpoints, progress: Progress
) -> list[Record]:
    """Train the plain `backbone` in place, on labels and, where there is one, on the scores of `teacher`."""
    rate = settings.backbone_learning_rate or settings.learning_rate
    stage = Stage("backbone", 0, backbone, (_FINAL,), (1.0,), settings.backbone_epochs, teacher=teacher)
    return _run(stage, data, replace(settings, learning_rate=rate), kept, progress)


def _teacher(task: Task, settings: TrainSettings) -> Any:
    """The plain model that the settings name as teacher, or None."""
    if settings.teacher is None:
        return None
    teacher = plain(task)
    weights.load_into(teacher, settings.teacher)
    return teacher


def attach(task: Task, method: Method, backbone: Any) -> Any:
    """The model with exits on a fresh backbone that has the weights of `backbone`, a model of `plain`."""
    graph = task.backbone(keras())
    model = method.attach(task.name, graph)
    ours = {layer.name: layer for layer in model.layers}
    for layer in backbone.layers:
        if layer.weights and layer.name in ours:
            ours[layer.name].set_weights(layer.get_weights())
    method.start(model, backbone.get_layer(_FINAL).input._keras_history.layer)
    return model


def _set_trainable(model: Any, backbone: Any, trainable: bool) -> None:
    """Let the layers that `model` shares with its backbone learn, or freeze them, normalization included."""
    shared = {layer.name for layer in backbone.layers if layer.weights}
    for layer in model.layers:
        if layer.name in shared:
            layer.trainable = trainable


def learns(model: Any, output: str) -> bool:
    """Whether any weight that an output depends on is trained; with a frozen backbone a plain final exit has none."""
    return bool(keras().Model(model.input, model.get_layer(output).output).trainable_variables)


def scores(model: Any, x: np.ndarray) -> list[np.ndarray]:
    """Scores of every output, float32 `(n, classes)` each."""
    # Not predict(): with deterministic ops its data pipeline logs errors that are none.
    parts = [model.predict_on_batch(x[start : start + 500]) for start in range(0, len(x), 500)]
    parts = [part if isinstance(part, list) else [part] for part in parts]
    return [np.concatenate(one) for one in zip(*parts, strict=True)]


def _check(task: Task, data: Data, settings: TrainSettings) -> None:
    problems = []
    for split in (data.train, data.validation, data.test):
        if not len(split):
            problems.append(f"The split {split.name} has no samples.")
        elif split.x.shape[1:] != task.input_shape:
            problems.append(f"Samples of {split.name} have shape {split.x.shape[1:]}, expected {task.input_shape}.")
        elif not 0 <= split.y.min() <= split.y.max() < len(task.classes):
            problems.append(f"Labels of {split.name} are not all among the {len(task.classes)} classes.")
    if problems:
        raise TrecxError(problems, "Check the folder that the data were read from.")
    probabilities(data.train, settings)


def copied_epochs(settings: TrainSettings) -> int:
    """How many joint epochs the copied filters follow their originals."""
    return round(settings.release * settings.epochs)


def exit_weights(settings: TrainSettings, own: tuple[float, ...]) -> tuple[float, ...]:
    """Weights of the exits' losses: as set, else the method's own."""
    if settings.early_weight is None:
        return own
    return (*(settings.early_weight for _ in own[:-1]), own[-1])


def _part(progress: Progress, before: int, epochs: int, total: int) -> Progress:
    """Progress of one stage as progress of all of them."""

    def report(done: int, of: int) -> None:
        steps = of // epochs
        progress(before * steps + done, total * steps)

    return report


def _run(stage: Stage, data: Data, settings: TrainSettings, kept: Checkpoints, progress: Progress) -> list[Record]:
    def evaluate() -> Record:
        found = scores(stage.model, data.validation.x)
        return accuracies(tuple(stage.model.output_names), data.validation, found)

    return fit(stage, data.train, settings, kept, evaluate, progress)


def accuracies(exits: tuple[str, ...], split: Split, found: list[np.ndarray]) -> Record:
    """Accuracy of every exit, over the split and over each of its sources."""
    record = {}
    for name, one in zip(exits, found, strict=True):
        right = one.argmax(-1) == split.y
        record[f"{split.name}_{name}"] = float(right.mean())
        for source in [] if split.source is None else sorted(set(split.source.tolist())):
            record[f"{split.name}_{name}_{source}"] = float(right[split.source == source].mean())
    return record


def _write_scores(path: Path, data: Data, model: Any, backbone: Any, exits: tuple[str, ...]) -> None:
    arrays: dict[str, np.ndarray] = {}
    for key, split in (("validation", data.validation), ("test", data.test)):
        found = dict(zip(exits, scores(model, split.x), strict=True)) | {"backbone": scores(backbone, split.x)[0]}
        arrays |= {f"{key}_{name}": one for name, one in found.items()}
        arrays[f"{key}_labels"] = split.y
        if split.source is not None:
            arrays[f"{key}_source"] = split.source
    with whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _write_history(path: Path, settings: TrainSettings, backbone: list[Record], joint: list[Record]) -> None:
    files = {"weights": settings.weights, "teacher": settings.teacher}
    told = asdict(settings) | {name: path.name if path else None for name, path in files.items()}
    text = json.dumps({"settings": told, "backbone": backbone, "joint": joint}, indent=1)
    with whole(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
