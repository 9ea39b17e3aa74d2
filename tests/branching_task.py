"""A task for methods with several exits: a backbone with three taps, and something to learn."""

import numpy as np

from mlperf_tiny.task import Backbone, Data, Split, Task

CLASSES = 4
SHAPE = (12, 12, 2)
TAPS = ("one", "two", "three")


def backbone(keras) -> Backbone:
    layers = keras.layers
    x = image = keras.Input(SHAPE, name="input")
    taps = {}
    for name, stride in zip(TAPS, (1, 2, 1), strict=True):
        x = layers.Conv2D(8, 3, strides=stride, padding="same", name=f"{name}_conv")(x)
        x = taps[name] = layers.ReLU(name=name)(layers.BatchNormalization(name=f"{name}_bn")(x))
    x = layers.Conv2D(12, 3, strides=2, padding="same", activation="relu", name="last")(x)

    def head(features):
        x = layers.Flatten(name="flat")(layers.AveragePooling2D(3, name="pool")(features))
        return layers.Dense(CLASSES, name="out")(x)

    return Backbone(image, taps, x, head)


def split(name: str, count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count).astype(np.int32)
    x = rng.normal(0, 1, (count, *SHAPE)).astype(np.float32)
    x[np.arange(count), :, 3 * y, 0] += rng.uniform(0.5, 2, count)[:, None]  # a line, brighter or fainter
    return Split(name, "random", x, y)


DATA = Data(split("train", 200, 1), split("validation", 80, 2), split("test", 60, 3))
TASK = Task("branching", "A branching task", SHAPE, tuple("abcd"), backbone, lambda folder: DATA)
