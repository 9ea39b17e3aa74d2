"""A task with everything that training cares about, in few layers: normalization, dropout, a tap, a head."""

import numpy as np

from mlperf_tiny.attachment import Attachment, EarlyExit, EarlyView
from mlperf_tiny.task import Backbone, Data, Split, Task
from trecx.learn.exits.trecx import TRecX

CLASSES = 5
SHAPE = (12, 6, 1)


def backbone(keras) -> Backbone:
    layers = keras.layers
    image = keras.Input(SHAPE, name="input")
    x = layers.Conv2D(8, 3, strides=2, padding="same", kernel_regularizer="l2", name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(x))
    features = layers.Dropout(0.4, name="features")(x)

    def head(features):
        x = layers.Flatten(name="flat")(layers.AveragePooling2D((6, 3), name="pool")(features))
        return layers.Dense(CLASSES, name="out")(x)

    return Backbone(image, {"tap": x}, features, head)


def split(name: str, count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count).astype(np.int32)
    x = rng.normal(0, 10, (count, *SHAPE)).astype(np.float32)
    x[:, :, 0, 0] -= 15 * y[:, None]  # something to learn
    return Split(name, "random", x, y, np.where(rng.random(count) < 0.5, "a", "b"))


DATA = Data(split("train", 40, 1), split("validation", 20, 2), split("test", 10, 3))
ATTACHMENT = Attachment("paper", EarlyExit("tap", 4, 3, 1, 2), EarlyView(1, (6, 3)), "he_normal", 0.3)
TASK = Task(
    "tiny",
    "A tiny task",
    SHAPE,
    tuple("abcde"),
    backbone,
    lambda folder: DATA,
    input_quant=(0.5, 83),
    attachments=(ATTACHMENT,),
)
METHOD = TRecX(ATTACHMENT)
