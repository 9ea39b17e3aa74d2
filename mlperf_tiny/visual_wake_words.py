"""Visual wake words: is a person in the picture? A MobileNetV1 of a quarter of the width on 96x96 pixels."""

from dataclasses import replace
from functools import partial
from typing import Any

from mlperf_tiny import class_folder, image_folder, person_data
from mlperf_tiny.attachment import Attachment, Block, EarlyExit, EarlyView
from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Backbone, Task

STEM = 8
# (filters, stride) of the 13 separable blocks
BLOCKS = (
    *((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)),
    *((128, 1), (128, 1), (128, 1), (128, 1), (128, 1), (256, 2), (256, 1)),
)
L2 = 1e-4
# The benchmark's augmentation.
AUGMENTED = Recipe(schedule="cosine", rotation=10, shift=0.05, zoom=0.1, flip=True)
# Of few photographs many inputs: whatever is cut out or mixed, the teacher says what is in it, so no label is needed
# (Beyer et al., arXiv:2106.05237).
IMITATING = Recipe(
    batch=64, steps_per_epoch=65, schedule="cosine", distillation=1.0, rotation=10, flip=True, crop=0.8, mixup=0.5
)


def backbone(keras: Any) -> Backbone:
    """Return MLPerf Tiny's MobileNetV1-0.25 up to its last map; taps `conv1`, `block1` … `block13`.

    `keras` is the Keras module to build with. Bias everywhere, he_normal and L2 on convolution kernels, ReLU (not
    ReLU6). With its head: 221,794 parameters, 7,489,664 MACs. Source: `vww_model.py` of the benchmark's training code.
    """
    layers = keras.layers

    def l2() -> Any:
        return keras.regularizers.l2(L2)

    def normalised(x: Any, name: str) -> Any:
        return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))

    def conv(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
        return layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=l2(),
            name=name,
        )(x)

    def depthwise(x: Any, stride: int, name: str) -> Any:
        return layers.DepthwiseConv2D(
            3,
            strides=stride,
            padding="same",
            depthwise_initializer="he_normal",
            depthwise_regularizer=l2(),
            name=name,
        )(x)

    image = keras.Input(person_data.SHAPE, name="input")
    x = normalised(conv(image, STEM, 3, 2, "conv1"), "conv1")
    taps = {"conv1": x}
    for number, (filters, stride) in enumerate(BLOCKS, 1):
        name = f"block{number}"
        x = normalised(depthwise(x, stride, f"{name}_dw"), f"{name}_dw")
        x = taps[name] = normalised(conv(x, filters, 1, 1, f"{name}_pw"), f"{name}_pw")

    def head(features: Any) -> Any:
        x = layers.Flatten(name="head_flatten")(layers.AveragePooling2D(3, name="head_pool")(features))
        return layers.Dense(len(person_data.CLASSES), name="head_logits")(x)

    return Backbone(image, taps, x, head)


VWW = Task(
    name="vww",
    title="Visual wake words, person or not",
    runner_name="vww01",
    input_shape=person_data.SHAPE,
    classes=person_data.CLASSES,
    backbone=backbone,
    load=person_data.load,
    fetch=person_data.fetch,
    unlabelled=partial(class_folder.unlabelled, shape=person_data.SHAPE, pixels="0..1", suffixes=image_folder.SUFFIXES),
    input_quant=(1 / 255, -128),  # the benchmark's: pixels as shares of 255
    # As many epochs as T-RecX.
    recipe=replace(AUGMENTED, batch=32, backbone_epochs=50, epochs=50, learning_rate=1e-3, release=42 / 50),
    # The reference backbone has seen 20 times the photographs at hand, so it is also the teacher.
    tuning=replace(AUGMENTED, batch=64, epochs=5, learning_rate=5e-4, release=0.8, distillation=0.9, class_balance=1.0),
    attachments=(
        Attachment("paper", EarlyExit("block3", 64, 2, 2, 4, 64), EarlyView(1, None, 32), "he_normal", 0.4),
        # The backbone's own features of 6x6 pixels, learnt from all photographs, and two blocks that learn to answer as
        # its later ones would, on any part of any photograph.
        Attachment(
            "best",
            EarlyExit("block6", blocks=(Block(128, 2), Block(128, 1))),
            None,
            "he_normal",
            1.0,
            replace(IMITATING, epochs=90, learning_rate=2e-3, frozen=True),
        ),
    ),
)
