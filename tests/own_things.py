"""What users bring: a task in a file, Keras models, and folders of images by class. All tiny."""

from pathlib import Path

import numpy as np

# The documented one. What it prints is no result: it must not be in the way of --json.
TASK = (Path(__file__).parent.parent / "docs" / "own_task.py").read_text() + '\nprint("working")\n'

COLOURS = ("blue", "green", "red")  # by name, as folders are read
SHAPE = (16, 16, 3)


def write_task(path: Path, old: str = "", new: str = "") -> Path:
    """The task's file, with one piece of text replaced."""
    assert old in TASK
    path.write_text(TASK.replace(old, new) if old else TASK)
    return path


def write_images(folder: Path, names: tuple[str, ...] = COLOURS, count: int = 20) -> Path:
    """Images of a colour and noise, in one folder per colour."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            pixels = rng.integers(0, 120, SHAPE).astype(np.uint8)
            pixels[..., 2 - label % 3] += 100
            Image.fromarray(pixels).save(folder / name / f"{k}.png")
    return folder


def plain(keras, end: str = "activation", **given):
    """A classifier of three colours whose last layers are named like an exit's; `end` says where its softmax is."""
    layers = keras.layers
    x = image = keras.Input(given.get("shape", SHAPE))
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="first_conv")(x)
    x = layers.ReLU(name="first")(layers.BatchNormalization(name="first_bn")(x))
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="early_filter")(x)
    x = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu", name="last_map")(x)
    x = layers.GlobalAveragePooling2D(name="gap")(layers.Dropout(0.2)(x))
    units = given.get("units", 3)
    x = layers.Dense(units, activation={"activation": "softmax", "sigmoid": "sigmoid"}.get(end), name="final")(x)
    x = layers.Softmax(name="early")(x) if end == "layer" else x
    return keras.Model(image, x)


def sequential(keras):
    """A plain stack that ends in logits."""
    layers = keras.layers
    rows = [layers.Conv2D(8, 3, activation="relu", input_shape=SHAPE), layers.Conv2D(8, 3, activation="relu")]
    return keras.Sequential([*rows, layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(3)])


def complete(keras):
    """Two exits, the later one first, with slices of channels by the framework's own operator and Dense softmax."""
    layers = keras.layers
    image = keras.Input(SHAPE)
    x = mid = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(image)
    x = last = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.DepthwiseConv2D(2, strides=2, padding="same", activation="relu")(mid[:, :, :, :8])
    y = layers.Flatten()(layers.AveragePooling2D(4)(y))
    early = layers.Softmax(name="ee")(layers.Dense(3)(y))
    z = layers.DepthwiseConv2D(2, padding="same", activation="relu")(last[:, :, :, :8])
    z = layers.Flatten()(layers.AveragePooling2D(4)(z))
    merged = layers.Concatenate()([layers.Flatten()(layers.AveragePooling2D(4)(x)), z])
    return keras.Model(image, [layers.Dense(3, activation="softmax", name="ef")(merged), early])
