"""A task of one's own: which half of the picture is bright?"""

import numpy as np

from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Backbone, Data, Split, Task

SHAPE = (8, 8, 1)


def backbone(keras):
    """Build the network up to its last map, with `keras`; exits may attach to the maps that `taps` names."""
    layers = keras.layers
    x = image = keras.Input(SHAPE)
    x = mid = layers.Conv2D(8, 3, padding="same", activation="relu", name="mid_conv")(x)
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="last_conv")(x)

    def head(features):
        return layers.Dense(2, name="logits")(layers.Flatten()(layers.AveragePooling2D(4)(features)))

    return Backbone(image, {"mid": mid}, x, head)


def split(name, count):
    """Make `count` labelled samples: x float32 (n, *SHAPE), y int32 (n,)."""
    rng = np.random.default_rng(count)
    y = rng.integers(0, 2, count).astype(np.int32)
    x = rng.uniform(0, 60, (count, *SHAPE)).astype(np.float32)
    x[y == 1, :4] += 150
    return Split(name, "random", x, y)


def load(folder, progress=None, training=True):
    """Read the splits below the folder that --data names; raise DataError with all problems."""
    return Data(split("train", 60), split("validation", 40), split("test", 20))


QUICK = Recipe(batch=20, epochs=1, backbone_epochs=1)
MINE = Task("bright", "Bright halves", SHAPE, ("dark", "bright"), backbone, load, recipe=QUICK)
