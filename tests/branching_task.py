"""A task for methods with several exits: a backbone with three taps, and real handwritten digits (`corpus/`)."""

from pathlib import Path

import numpy as np

from mlperf_tiny.task import Backbone, Data, Split, Task

CLASSES = 10
SHAPE = (8, 8, 1)
TAPS = ("one", "two", "three")


def backbone(keras) -> Backbone:
    layers = keras.layers
    x = image = keras.Input(SHAPE, name="input")
    taps = {}
    for name, stride in zip(TAPS, (1, 2, 1), strict=True):
        x = layers.Conv2D(16, 3, strides=stride, padding="same", name=f"{name}_conv")(x)
        x = taps[name] = layers.ReLU(name=name)(layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x))
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="last")(x)

    def head(features):
        x = layers.Flatten(name="flat")(layers.AveragePooling2D(2, name="pool")(features))
        return layers.Dense(CLASSES, name="out")(x)

    return Backbone(image, taps, x, head)


def data() -> Data:
    """Digits of other people in every split, as far as the corpus is in the order of its writers."""
    with np.load(Path(__file__).parent / "corpus" / "digits.npz") as digits:
        x, y = digits["x"][..., None].astype(np.float32) / 16, digits["y"].astype(np.int32)
    ends = {"train": slice(0, 1000), "validation": slice(1000, 1400), "test": slice(1400, None)}
    return Data(*(Split(name, "digits", x[rows], y[rows]) for name, rows in ends.items()))


DATA = data()
TASK = Task("branching", "Handwritten digits", SHAPE, tuple("0123456789"), backbone, lambda *_, **__: DATA)
