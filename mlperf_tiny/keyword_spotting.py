"""Keyword spotting: twelve classes of Speech Commands, a DS-CNN on MFCC features."""

from typing import Any

from mlperf_tiny import front_end, keyword_data
from mlperf_tiny.attachment import Attachment, Block, EarlyExit, EarlyView
from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Backbone, Task

FILTERS = 64
BLOCKS = 4
L2 = 1e-4
# How an exit that is a network of its own learns, on a backbone that stays what it is.
HEADS = Recipe(
    epochs=40,
    steps_per_epoch=100,
    learning_rate=2e-3,
    schedule="cosine",
    frozen=True,
    distillation=0.9,
    time_shift=4,
    mixup=0.5,
    class_balance=1.0,
)


def backbone(keras: Any) -> Backbone:
    """Return MLPerf Tiny's DS-CNN up to its last map; taps `conv1`, `block1` … `block4`, each `(25, 5, 64)`.

    `keras` is the Keras module to build with. Bias everywhere, batch normalization and initializers at Keras'
    defaults (glorot), L2 on convolution kernels only. With its head: 24,908 parameters, 2,656,768 MACs.
    Source: `keras_model.py` of the benchmark's training code.
    """
    layers = keras.layers

    def normalised(x: Any, name: str) -> Any:
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    def l2() -> Any:
        return keras.regularizers.l2(L2)

    x = image = keras.Input(front_end.SHAPE, name="input")
    x = layers.Conv2D(FILTERS, (10, 4), strides=2, padding="same", kernel_regularizer=l2(), name="conv1")(x)
    x = layers.Dropout(0.2, name="conv1_dropout")(normalised(x, "conv1"))
    taps = {"conv1": x}
    for block in range(1, BLOCKS + 1):
        name = f"block{block}"
        x = layers.DepthwiseConv2D(3, padding="same", depthwise_regularizer=l2(), name=f"{name}_dw")(x)
        x = normalised(x, f"{name}_dw")
        x = layers.Conv2D(FILTERS, 1, padding="same", kernel_regularizer=l2(), name=f"{name}_pw")(x)
        x = taps[name] = normalised(x, f"{name}_pw")
    features = layers.Dropout(0.4, name="features")(x)

    def head(features: Any) -> Any:
        # The reference pools 24 of the 25 rows: half of 49, rounded down.
        x = layers.AveragePooling2D((24, 5), name="head_pool")(features)
        return layers.Dense(len(keyword_data.CLASSES), name="head_logits")(layers.Flatten(name="head_flatten")(x))

    return Backbone(image, taps, features, head)


KWS = Task(
    name="kws",
    title="Keyword spotting, Speech Commands",
    runner_name="kws01",
    input_shape=front_end.SHAPE,
    classes=keyword_data.CLASSES,
    backbone=backbone,
    load=keyword_data.load,
    fetch=keyword_data.fetch,
    unlabelled=keyword_data.unlabelled,
    input_quant=(front_end.SCALE, front_end.ZERO_POINT),
    # T-RecX's: for 30 of 36 epochs the copied filter follows.
    recipe=Recipe(epochs=36, backbone_epochs=36, learning_rate=5e-4, schedule="steps", release=5 / 6),
    # The reference backbone knows more speech than is at hand, so it is also the teacher: its scores on mixed samples
    # make up most of the targets, which keeps its accuracy where labels are few or noisy.
    tuning=Recipe(
        epochs=24,
        steps_per_epoch=100,
        learning_rate=7e-4,
        backbone_learning_rate=2e-3,
        schedule="cosine",
        release=0.9,
        early_weight=0.6,
        distillation=0.9,
        time_shift=4,
        mixup=0.5,
        class_balance=1.0,
    ),
    attachments=(
        Attachment("paper", EarlyExit("block2", 32, 3, 2, 2), EarlyView(1, (13, 3)), "glorot_uniform", 0.3),
        # A small network of its own behind the first convolution, on a backbone that stays what it is.
        Attachment(
            "best",
            EarlyExit("conv1", blocks=(Block(64, 2), Block(64, 2), Block(64, 1))),
            None,
            "he_normal",
            1.0,
            HEADS,
        ),
        # A network of its own on the input, chosen by what a Cortex-M4 executes: all ten coefficients of a frame at
        # once and then time alone, in full convolutions, which take a third of the instructions per MAC of depthwise
        # ones (Choi et al., "Temporal Convolution for Real-time Keyword Spotting on Mobile Devices", arXiv:1904.03814).
        Attachment(
            "fast",
            EarlyExit(
                "input",
                blocks=(
                    Block(32, (3, 1), (6, 10), separable=False, padding="valid"),
                    Block(48, 1, (3, 1), separable=False),
                    Block(64, (2, 1), (3, 1), separable=False),
                    Block(64, 1, (3, 1), separable=False),
                ),
            ),
            None,
            "he_normal",
            1.0,
            HEADS,
        ),
    ),
)
