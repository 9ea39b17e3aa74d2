"""Layers that the heads of several methods are made of."""

from collections.abc import Sequence
from typing import Any

from mlperf_tiny.attachment import Block
from trecx.learn.keras import keras

L2 = 1e-4  # on convolution kernels
WIDEST = 64  # filters of a trunk's 1x1 convolution


def separable(x: Any, blocks: Sequence[Block], initializer: str, name: str) -> Any:
    """Separable blocks as in MobileNet, their layers named after `name`."""
    layers = keras().layers
    for number, block in enumerate(blocks, 1):
        here = f"{name}_block{number}"
        x = layers.DepthwiseConv2D(
            3,
            strides=block.stride,
            padding="same",
            depthwise_initializer=initializer,
            depthwise_regularizer=keras().regularizers.l2(L2),
            name=f"{here}_dw",
        )(x)
        x = layers.ReLU(name=f"{here}_dw_relu")(layers.BatchNormalization(name=f"{here}_dw_bn")(x))
        x = point(x, block.filters, initializer, f"{here}_pw")
        x = layers.ReLU(name=f"{here}_pw_relu")(layers.BatchNormalization(name=f"{here}_pw_bn")(x))
    return x


def point(x: Any, filters: int, initializer: str, name: str) -> Any:
    """A linear 1x1 convolution."""
    return keras().layers.Conv2D(
        filters,
        1,
        kernel_initializer=initializer,
        kernel_regularizer=keras().regularizers.l2(L2),
        name=name,
    )(x)


def trunk(tap: Any, name: str) -> Any:
    """What a head of one block reads a tap with: 3x3 depthwise with stride 2, 1x1 to twice the channels, the average.

    It is the separable form of heads that are full convolutions in their papers, which a tiny network cannot afford.
    """
    filters = min(2 * int(tap.shape[-1]), WIDEST)
    return pooled(separable(tap, (Block(filters, 2),), "he_normal", name), name)


def pooled(x: Any, name: str) -> Any:
    """The average of every channel, as a vector."""
    layers = keras().layers
    x = layers.AveragePooling2D(x.shape[1:3], padding="valid", name=f"{name}_pool")(x)
    return layers.Flatten(name=f"{name}_flat")(x)
