"""The training loop: a method's loss, copied filters, checkpoints, exact continuation after an interruption.

Random numbers are functions of (seed, stage, epoch), never of what was drawn before. A checkpoint therefore needs
weights, optimizer and epoch only, and a continued run is the run that was never interrupted: bit for bit on the same
machine with the same versions, because `keras.seed` makes TensorFlow's ops deterministic.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlperf_tiny.task import Split
from trecx import archives
from trecx.files import whole
from trecx.learn.batches import batches, steps_per_epoch
from trecx.learn.exits.method import Loss
from trecx.learn.features import unpacked
from trecx.learn.keras import keras, tensorflow
from trecx.learn.settings import TrainSettings

Progress = Callable[[int, int], None]
Record = dict[str, float]


@dataclass(frozen=True)
class Stage:
    """One training run: a model whose last output is the final exit's scores, what it minimises, and for how long.

    `number` tells apart the random numbers of stages. `outputs` are named by layers, which may have a `prefix` more.
    `copies`: pairs (layer, copy); the copy carries the layer's weights and gets no gradient before the epoch `release`.
    `teacher`: a model whose scores on the augmented input the loss may use, or None. With `parts` a sample is a row of
    the tensors that the model reads, of these shapes, and last the teacher's scores.
    """

    name: str
    number: int
    model: Any
    outputs: tuple[str, ...]
    loss: Loss
    epochs: int
    copies: tuple[tuple[Any, Any], ...] = ()
    release: int = 0
    teacher: Any = None
    prefix: str = ""
    parts: tuple[tuple[int, ...], ...] = ()

    def seen(self, x: Any) -> tuple[Any, Any]:
        """What the model reads of samples, and the teacher's scores of them or None."""
        if self.parts:
            *inputs, scores = unpacked(x, self.parts)
            return inputs, scores
        return x, None if self.teacher is None else self.teacher(x, training=False)

    @property
    def variables(self) -> list[Any]:
        """Everything that learns: the model's weights and the loss's own."""
        return [*self.model.trainable_variables, *self.loss.variables]


@dataclass(frozen=True)
class Checkpoints:
    """Where an interrupted stage is kept, and the fingerprint of everything that must be equal to continue it."""

    path: Path
    fingerprint: str


def logits_model(model: Any, outputs: tuple[str, ...]) -> Any:
    """The same layers, ending before the softmax of each output that has one: a list of logits, in order."""
    ends = [model.get_layer(name) for name in outputs]
    kinds = [type(getattr(end, "layer", end)).__name__ for end in ends]  # TFMOT wraps layers
    found = [end.input if kind == "Softmax" else end.output for end, kind in zip(ends, kinds, strict=True)]
    return keras().Model(model.input, found)


def fingerprint(*parts: object) -> str:
    """A hash of settings, names and arrays: equal only where a checkpoint may be continued."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return digest.hexdigest()


def learning_rate(settings: TrainSettings, epoch: int, epochs: int, step: int, steps: int) -> float:
    """Learning rate of one step; see TrainSettings.schedule."""
    if settings.schedule == "steps":
        return settings.learning_rate * 0.2 ** (3 * epoch // epochs)
    if settings.schedule == "decay":
        return settings.learning_rate * 0.99**epoch
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (epoch * steps + step) / (epochs * steps)))


def fit(
    stage: Stage,
    split: Split,
    settings: TrainSettings,
    checkpoints: Checkpoints,
    evaluate: Callable[[], Record],
    progress: Progress,
) -> list[Record]:
    """Train `stage.model` in place and return one record per epoch: losses, learning rate and what `evaluate` says.

    Continues from `checkpoints.path` where it belongs to the same run. The finished stage's checkpoint stays, so that
    a run interrupted in a later stage finds it; whoever knows the run has ended removes it.
    """
    optimizer = keras().optimizers.Adam(settings.learning_rate)
    optimizer.build(stage.variables)
    first, history = _restore(stage, optimizer, checkpoints)
    step = _train_step(stage, optimizer)
    steps, classes = steps_per_epoch(split, settings), stage.model.outputs[-1].shape[-1]
    progress(first * steps, stage.epochs * steps)
    for epoch in range(first, stage.epochs):
        _seed_dropout(stage.model, (settings.seed, stage.number, epoch))
        free = epoch >= stage.release
        losses, past = np.zeros(len(stage.loss.parts)), tensorflow().constant(epoch, "float32")
        for done, (x, target) in enumerate(batches(split, classes, settings, (stage.number, epoch))):
            optimizer.learning_rate.assign(learning_rate(settings, epoch, stage.epochs, done, steps))
            losses += np.asarray(step(x, target, past, free))
            progress(epoch * steps + done + 1, stage.epochs * steps)
        record = {f"loss_{name}": float(loss / steps) for name, loss in zip(stage.loss.parts, losses, strict=True)}
        history.append({"epoch": epoch + 1.0, "learning_rate": float(optimizer.learning_rate), **record, **evaluate()})
        _keep(stage, optimizer, history, checkpoints)
    return history


def _train_step(stage: Stage, optimizer: Any) -> Callable[[Any, Any, Any, bool], Any]:
    """One optimizer step; returns the parts of the loss before it."""
    tf = tensorflow()
    logits = logits_model(stage.model, tuple(stage.prefix + name for name in stage.outputs))
    everything = stage.variables
    copied = {id(v) for _, copy in stage.copies for v in copy.trainable_variables}
    coupled = [v for v in everything if id(v) not in copied]

    @tf.function(reduce_retracing=True)
    def step(x: Any, target: Any, epoch: Any, free: bool) -> Any:
        variables = everything if free else coupled
        inputs, teacher = stage.seen(x)
        with tf.GradientTape() as tape:
            found = logits(inputs, training=True)
            found = found if isinstance(found, list) else [found]
            total, parts = stage.loss.of(dict(zip(stage.outputs, found, strict=True)), target, teacher, epoch)
            total += tf.add_n(stage.model.losses) if stage.model.losses else 0.0
        gradients = zip(tape.gradient(total, variables), variables, strict=True)
        # What this loss does not depend on stays as it is.
        optimizer.apply_gradients([(gradient, variable) for gradient, variable in gradients if gradient is not None])
        if not free:
            copy_weights(stage.copies)
        return tf.stack(parts)

    copy_weights(stage.copies if stage.release else ())
    return step


def copy_weights(copies: tuple[tuple[Any, Any], ...]) -> None:
    """Give every copy the weights of its layer; in a graph or outside."""
    for layer, copy in copies:
        for source, target in zip(layer.trainable_variables, copy.trainable_variables, strict=True):
            target.assign(source)


def _seed_dropout(model: Any, key: tuple[int, ...]) -> None:
    """Set the state of every random layer from `key`."""
    for number, layer in enumerate(model.layers):
        layer = getattr(layer, "layer", layer)  # TFMOT wraps layers
        generator = getattr(getattr(layer, "_random_generator", None), "_generator", None)
        if generator is not None:
            seed = np.random.default_rng((*key, number)).integers(2**62)
            generator.reset_from_seed(int(seed))


def _keep(stage: Stage, optimizer: Any, history: list[Record], checkpoints: Checkpoints) -> None:
    """Replace the checkpoint by one of now."""
    arrays = {f"model_{k}": value for k, value in enumerate(stage.model.get_weights())}
    arrays |= {f"own_{k}": variable.numpy() for k, variable in enumerate(stage.loss.variables)}
    arrays |= {f"optimizer_{k}": np.asarray(v) for k, v in enumerate(optimizer.variables)}
    names = list(history[0])
    arrays["history"] = np.array([[record[name] for name in names] for record in history])
    with whole(checkpoints.path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, fingerprint=checkpoints.fingerprint, names=np.array(names), **arrays)


def _restore(stage: Stage, optimizer: Any, checkpoints: Checkpoints) -> tuple[int, list[Record]]:
    """Epochs done and their records; (0, []) where there is no checkpoint of this very run."""
    try:
        kept = archives.read(checkpoints.path)
    except archives.Unreadable:
        return 0, []
    if str(kept.get("fingerprint")) != checkpoints.fingerprint:
        return 0, []
    stage.model.set_weights([kept[f"model_{k}"] for k in range(len(stage.model.get_weights()))])
    for k, variable in enumerate(stage.loss.variables):
        variable.assign(kept[f"own_{k}"])
    for k, variable in enumerate(optimizer.variables):
        variable.assign(kept[f"optimizer_{k}"])
    names = kept["names"].tolist()
    history = [dict(zip(names, map(float, row), strict=True)) for row in kept["history"]]
    return len(history), history
