"""Heads on a backbone that keeps its weights: what they read is computed once, and only they are trained.

A model is cut where its constant part ends: `front` computes from samples everything that no training changes, up to
the tensors that layers with something to learn read; `tail` is the rest, a copy. Normalization and dropout of the
backbone are in inference mode by construction, so that its moving statistics stay as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mlperf_tiny.task import Split
from trecx.learn.keras import keras
from trecx.learn.settings import TrainSettings

BATCH = 500
# Arrays above this size lie in a file, which the system keeps in memory as far as there is room.
MOST_BYTES = 2**30


@dataclass(frozen=True)
class Cut:
    """`front` gives the tensors of `shapes`, which `tail` reads; the tail's outputs are the model's."""

    front: Any
    tail: Any
    shapes: tuple[tuple[int, ...], ...]

    def finish(self, model: Any) -> None:
        """Give the model that was cut the weights of the tail."""
        for layer in self.tail.layers:
            if layer.weights:
                model.get_layer(layer.name).set_weights(layer.get_weights())


def cut(model: Any, backbone: Any) -> Cut:
    """Cut a model with exits where it stops being `backbone`, the frozen plain network that it grew on."""
    kept = {layer.name for layer in backbone.layers} - set(model.output_names)
    read: dict[tuple[Any, ...], Any] = {}
    for output in model.outputs:
        _frontier(output, kept, set(model.output_names), read)
    front = keras().Model(model.input, list(read.values()))
    tail = keras().models.clone_model(keras().Model(list(read.values()), model.outputs))
    for layer in tail.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return Cut(front, tail, tuple(tuple(int(n) for n in tensor.shape[1:]) for tensor in read.values()))


def _frontier(tensor: Any, kept: set[str], outputs: set[str], found: dict[tuple[Any, ...], Any]) -> None:
    """Collect, by layer and its use, the constant tensors that what learns reads on the way to `tensor`."""
    for source in _inputs(tensor._keras_history.layer):
        if _constant(source, kept, outputs):
            layer, *place = source._keras_history
            found.setdefault((layer.name, *place), source)
        else:
            _frontier(source, kept, outputs, found)


def _constant(tensor: Any, kept: set[str], outputs: set[str]) -> bool:
    layer = tensor._keras_history.layer
    if layer.name in kept:
        return True
    if layer.weights or layer.name in outputs:
        return False
    return all(_constant(source, kept, outputs) for source in _inputs(layer))


def _inputs(layer: Any) -> list[Any]:
    return list(layer.input) if isinstance(layer.input, list | tuple) else [layer.input]


def unpacked(x: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """The tensors of these shapes that lie one after another in the rows of `x` `(n, total)`."""
    parts, begin = [], 0
    for shape in shapes:
        end = begin + prod(shape)
        parts.append(x[:, begin:end] if len(shape) == 1 else _reshaped(x[:, begin:end], (-1, *shape)))
        begin = end
    return parts


def _reshaped(x: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(x, np.ndarray):
        return x.reshape(shape)
    from trecx.learn.keras import tensorflow

    return tensorflow().reshape(x, shape)


@contextmanager
def kept(split: Split, *models: Callable[[np.ndarray], Any]) -> Iterator[Split]:
    """A split whose samples are the outputs of `models`, one after another in each row; while the context lasts."""
    with TemporaryDirectory(prefix="trecx-features-") as folder:
        yield replace(split, x=_computed(split.x, models, Path(folder) / "features.npy"))


def _computed(x: np.ndarray, models: Sequence[Callable[[np.ndarray], Any]], path: Path) -> np.ndarray:
    found: np.ndarray | None = None
    for start in range(0, len(x), BATCH):
        batch = x[start : start + BATCH]
        outputs = [one for model in models for one in _many(model(batch))]
        rows = np.concatenate([np.asarray(one, np.float32).reshape(len(batch), -1) for one in outputs], axis=1)
        if found is None:
            found = _room((len(x), rows.shape[1]), path)
        found[start : start + len(batch)] = rows
    assert found is not None
    return found


def _room(shape: tuple[int, int], path: Path) -> np.ndarray:
    if 4 * prod(shape) <= MOST_BYTES:
        return np.empty(shape, np.float32)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)


def _many(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def as_they_are(settings: TrainSettings) -> TrainSettings:
    """The settings without what changes samples at random: features were computed of samples as they are."""
    none = TrainSettings()
    names = ("time_shift", "rotation", "shift", "zoom", "flip", "crop", "mixup")
    return replace(settings, **{name: getattr(none, name) for name in names})
