"""Image classification: ten classes of CIFAR-10, a ResNet-8 on raw pixels."""

from dataclasses import replace
from functools import partial
from typing import Any

from mlperf_tiny import cifar10, class_folder, image_folder
from mlperf_tiny.attachment import Attachment, Block, EarlyExit, EarlyView
from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Backbone, Task

STACKS = ((16, 1), (32, 2), (64, 2))  # filters, stride
L2 = 1e-4
# What all recipes share. In so few epochs nothing overfits: images are mirrored and not moved.
SHORT = Recipe(batch=32, schedule="cosine", temperature=2.0, flip=True)


def backbone(keras: Any) -> Backbone:
    """Return MLPerf Tiny's ResNet-8 up to its last map.

    Taps: `conv1` and `stack1` `(32, 32, 16)`; `stack2_conv1` and `stack2` `(16, 16, 32)`; `stack3_conv1` `(8, 8, 64)`.
    `keras` is the Keras module to build with. Bias everywhere; he_normal and L2 on convolution kernels; shortcuts that
    change the shape are 1x1 convolutions without normalization. With its head: 78,666 parameters, 12,501,632 MACs.
    Source: `keras_model.py` of the benchmark's training code.
    """
    layers = keras.layers

    def conv(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
        return layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=keras.regularizers.l2(L2),
            name=name,
        )(x)

    def normalised(x: Any, filters: int, stride: int, name: str) -> Any:
        return layers.BatchNormalization(name=f"{name}_bn")(conv(x, filters, 3, stride, name))

    image = keras.Input(cifar10.SHAPE, name="input")
    taps = {}
    x = taps["conv1"] = layers.ReLU(name="conv1_relu")(normalised(image, STACKS[0][0], 1, "conv1"))
    for number, (filters, stride) in enumerate(STACKS, 1):
        name = f"stack{number}"
        y = layers.ReLU(name=f"{name}_conv1_relu")(normalised(x, filters, stride, f"{name}_conv1"))
        taps[f"{name}_conv1"] = y
        y = normalised(y, filters, 1, f"{name}_conv2")
        x = x if stride == 1 else conv(x, filters, 1, stride, f"{name}_shortcut")
        x = taps[name] = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))

    def head(features: Any) -> Any:
        x = layers.Flatten(name="head_flatten")(layers.AveragePooling2D(8, name="head_pool")(features))
        return layers.Dense(len(cifar10.CLASSES), kernel_initializer="he_normal", name="head_logits")(x)

    return Backbone(image, taps, x, head)


IC = Task(
    name="ic",
    title="Image classification, CIFAR-10",
    runner_name="ic01",
    input_shape=cifar10.SHAPE,
    classes=cifar10.CLASSES,
    backbone=backbone,
    load=cifar10.load,
    fetch=cifar10.fetch,
    unlabelled=partial(class_folder.unlabelled, shape=cifar10.SHAPE, suffixes=image_folder.SUFFIXES),
    input_quant=(1.0, -128),  # the benchmark's: raw pixels
    # T-RecX takes 500 epochs at 1e-3 x .99^epoch (schedule "decay"); these are for a machine without a GPU.
    recipe=replace(
        SHORT,
        batch=100,
        backbone_epochs=30,
        backbone_learning_rate=3e-3,
        epochs=12,
        learning_rate=1e-3,
        release=402 / 500,
        distillation=0.7,
        shift=0.1,
    ),
    tuning=replace(SHORT, epochs=8, learning_rate=2e-3, release=402 / 500, early_weight=1.0, distillation=0.7),
    attachments=(
        Attachment("paper", EarlyExit("stack1", 32, 2, 2, 4, 32), EarlyView(2), "he_normal", 0.5),
        # A small network of its own behind the first convolution, on a backbone that stays what it is.
        Attachment(
            "best",
            EarlyExit("conv1", blocks=(Block(32, 2), Block(64, 2), Block(64, 1), Block(64, 1))),
            None,
            "he_normal",
            1.0,
            replace(SHORT, epochs=20, learning_rate=3e-3, frozen=True, distillation=0.8),
        ),
    ),
)
