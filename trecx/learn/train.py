"""Train a backbone and its exits: the backbone first, then the phases of the exit method."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlperf_tiny.task import Data, Split, Task
from trecx.errors import TrecxError
from trecx.files import whole, write_json
from trecx.learn import features, weights
from trecx.learn.batches import probabilities
from trecx.learn.exits import Method
from trecx.learn.exits.losses import weighted
from trecx.learn.exits.method import FINAL
from trecx.learn.keras import keras, save, seed
from trecx.learn.loop import Checkpoints, Progress, Record, Stage, fingerprint, fit
from trecx.learn.narrow import whole as at_full_width
from trecx.learn.settings import TrainSettings

Scorer = Callable[[np.ndarray], dict[str, np.ndarray]]

BACKBONE, MODEL, HISTORY, SCORES = "backbone.keras", "model.keras", "history.json", "float_scores.npz"


def plain(task: Task) -> Any:
    """The plain backbone as a Keras model with one softmax output, `final`."""
    backbone = task.backbone(keras())
    scores = keras().layers.Softmax(name=FINAL)(backbone.head(backbone.features))
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
    before = 0 if settings.weights else settings.backbone_epochs
    total = before + settings.epochs

    backbone, teacher, history = plain(task), _teacher(task, settings), []
    if settings.weights:
        weights.load_into(backbone, settings.weights)
    else:
        kept = Checkpoints(_checkpoint(folder, "backbone"), fingerprint("backbone", *identity))
        history = fit_backbone(backbone, teacher, data, settings, kept, _part(progress, 0, before, total))
    save(backbone, folder / BACKBONE)

    seed(settings.seed + 1)
    model = attach(task, method, backbone)
    records = {"backbone": history}
    for number, phase in enumerate(method.phases(model, settings), 1):
        _set_trainable(model, backbone, not phase.frozen)
        copies = tuple((model.get_layer(one), model.get_layer(other)) for one, other in phase.copies)
        following: tuple[Any, ...] = (copies, phase.release, teacher or backbone)
        stage = Stage(phase.name, number, model, method.outputs, phase.loss, phase.epochs, *following)
        kept = Checkpoints(_checkpoint(folder, phase.name), fingerprint(phase.name, *identity, *backbone.get_weights()))
        part = _part(progress, before, phase.epochs, total)
        if phase.features:
            records[phase.name] = _run_heads(stage, backbone, method, data, settings, kept, part)
        else:
            records[phase.name] = _run(stage, data, settings, kept, part, exit_scores(method, model))
        before += phase.epochs
    _set_trainable(model, backbone, True)
    save(model, folder / MODEL)
    write_scores(folder / SCORES, data, exit_scores(method, model), backbone)
    _write_history(folder / HISTORY, settings, records)
    for name in records:
        _checkpoint(folder, name).unlink(missing_ok=True)


def train_backbone(task: Task, data: Data, settings: TrainSettings, folder: Path, progress: Progress) -> None:
    """Train the plain backbone alone from scratch; write `backbone.keras` and `history.json` into `folder`.

    It is the backbone that `train` would begin with; an interrupted run continues in the same way.
    """
    _check(task, data, settings)
    folder.mkdir(parents=True, exist_ok=True)
    seed(settings.seed)
    backbone, teacher = plain(task), _teacher(task, settings)
    identity = (task.name, settings, data.train.x, data.train.y, data.validation.x, data.validation.y)
    kept = Checkpoints(_checkpoint(folder, "backbone"), fingerprint("backbone", *identity))
    history = fit_backbone(backbone, teacher, data, settings, kept, progress)
    save(backbone, folder / BACKBONE)
    _write_history(folder / HISTORY, settings, {"backbone": history, "joint": []})
    kept.path.unlink(missing_ok=True)


def fit_backbone(
    backbone: Any, teacher: Any, data: Data, settings: TrainSettings, kept: Checkpoints, progress: Progress
) -> list[Record]:
    """Train the plain `backbone` in place, on labels and, where there is one, on the scores of `teacher`."""
    rate = settings.backbone_learning_rate or settings.learning_rate
    loss = weighted((FINAL,), (1.0,), settings)
    stage = Stage("backbone", 0, backbone, (FINAL,), loss, settings.backbone_epochs, teacher=teacher)

    def found(x: np.ndarray) -> dict[str, np.ndarray]:
        return {FINAL: scores(backbone, x)[0]}

    return _run(stage, data, replace(settings, learning_rate=rate), kept, progress, found)


def _teacher(task: Task, settings: TrainSettings) -> Any:
    """The plain model that the settings name as teacher, of full width whatever it teaches, or None."""
    if settings.teacher is None:
        return None
    teacher = plain(at_full_width(task))
    weights.load_into(teacher, settings.teacher)
    return teacher


def attach(task: Task, method: Method, backbone: Any) -> Any:
    """The model with exits on a fresh backbone that has the weights of `backbone`, a model of `plain`."""
    model = method.attach(task.name, task.backbone(keras()))
    ours = {layer.name: layer for layer in model.layers}
    for layer in backbone.layers:
        if layer.weights and layer.name in ours:
            ours[layer.name].set_weights(layer.get_weights())
    method.start(model, backbone.get_layer(FINAL).input._keras_history.layer)
    return model


def freezes(task: Task, method: Method, settings: TrainSettings) -> bool:
    """Whether the backbone keeps its weights in all of a method's training."""
    model = method.attach(task.name, task.backbone(keras()))
    return all(phase.frozen for phase in method.phases(model, settings))


def _set_trainable(model: Any, backbone: Any, trainable: bool) -> None:
    """Let the layers that `model` shares with its backbone learn, or freeze them, normalization included."""
    shared = {layer.name for layer in backbone.layers if layer.weights}
    for layer in model.layers:
        if layer.name in shared:
            layer.trainable = trainable


def scores(model: Any, x: np.ndarray, read: Callable[[np.ndarray], Any] = lambda x: x) -> list[np.ndarray]:
    """What every output says, float32 `(n, classes)`, or `(n, 1)` for a gate, to what `read` makes of samples."""
    # Not predict(): with deterministic ops its data pipeline logs errors that are none.
    parts = [model.predict_on_batch(read(x[start : start + 500])) for start in range(0, len(x), 500)]
    parts = [part if isinstance(part, list) else [part] for part in parts]
    return [np.concatenate(one) for one in zip(*parts, strict=True)]


def exit_scores(method: Method, model: Any) -> Scorer:
    """The exits' scores of samples, by exit; gates are left out."""

    def of(x: np.ndarray) -> dict[str, np.ndarray]:
        return _of_exits(method, scores(model, x))

    return of


def _of_exits(method: Method, outputs: list[np.ndarray]) -> dict[str, np.ndarray]:
    found = dict(zip(method.outputs, outputs, strict=True))
    return {name: found[name] for name in method.exits}


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


def _checkpoint(folder: Path, phase: str) -> Path:
    return folder / f"checkpoint-{phase}.npz"


def _part(progress: Progress, before: int, epochs: int, total: int) -> Progress:
    """Progress of one stage as progress of all of them."""

    def report(done: int, of: int) -> None:
        steps = of // epochs
        progress(before * steps + done, total * steps)

    return report


def _run(
    stage: Stage, data: Data, settings: TrainSettings, kept: Checkpoints, progress: Progress, found: Scorer
) -> list[Record]:
    def evaluate() -> Record:
        return accuracies(data.validation, found(data.validation.x))

    return fit(stage, data.train, settings, kept, evaluate, progress)


def _run_heads(
    stage: Stage,
    backbone: Any,
    method: Method,
    data: Data,
    settings: TrainSettings,
    kept: Checkpoints,
    progress: Progress,
) -> list[Record]:
    """Train what `stage.model` has beyond its frozen `backbone`, on features that are computed once."""
    at = features.cut(stage.model, backbone)
    computed = (at.front.predict_on_batch, stage.teacher.predict_on_batch)
    classes = (int(stage.model.outputs[-1].shape[-1]),)
    heads = replace(stage, model=at.tail, parts=(*at.shapes, classes))

    def found(x: np.ndarray) -> dict[str, np.ndarray]:
        outputs = scores(at.tail, x, lambda rows: features.unpacked(rows, heads.parts)[:-1])
        return _of_exits(method, outputs)

    with features.kept(data.train, *computed) as train, features.kept(data.validation, *computed) as validation:
        mine = replace(data, train=train, validation=validation)
        records = _run(heads, mine, features.as_they_are(settings), kept, progress, found)
    at.finish(stage.model)
    return records


def accuracies(split: Split, found: dict[str, np.ndarray]) -> Record:
    """Accuracy of every exit, over the split and over each of its sources."""
    record = {}
    for name, one in found.items():
        right = one.argmax(-1) == split.y
        record[f"{split.name}_{name}"] = float(right.mean())
        for source in [] if split.source is None else sorted(set(split.source.tolist())):
            record[f"{split.name}_{name}_{source}"] = float(right[split.source == source].mean())
    return record


def write_scores(path: Path, data: Data, found: Scorer, backbone: Any = None) -> None:
    """Write the exits' float scores, and the plain backbone's, of validation and test samples, with their labels."""
    arrays: dict[str, np.ndarray] = {}
    for key, split in (("validation", data.validation), ("test", data.test)):
        arrays |= {f"{key}_{name}": one for name, one in found(split.x).items()}
        if backbone is not None:
            arrays[f"{key}_backbone"] = scores(backbone, split.x)[0]
        arrays[f"{key}_labels"] = split.y
        if split.source is not None:
            arrays[f"{key}_source"] = split.source
    with whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _write_history(path: Path, settings: TrainSettings, records: dict[str, list[Record]]) -> None:
    files = {"weights": settings.weights, "teacher": settings.teacher}
    told = asdict(settings) | {name: path.name if path else None for name, path in files.items()}
    write_json(path, {"settings": told, **records})
