"""Layers that the heads of several methods are made of."""

from collections.abc import Sequence
from typing import Any

from mlperf_tiny.attachment import Block
from trecx.learn.keras import keras

L2 = 1e-4  # on convolution kernels
WIDEST = 64  # filters of a trunk's 1x1 convolution


def blocks(x: Any, chain: Sequence[Block], initializer: str, name: str) -> Any:
    """Blocks one after another, their layers named after `name`."""
    for number, block in enumerate(chain, 1):
        here = f"{name}_block{number}"
        first = f"{here}_{'dw' if block.separable else 'conv'}"
        x = _normalised(_convolved(x, block, initializer, first), first)
        if block.separable:
            x = _normalised(point(x, block.filters, initializer, f"{here}_pw"), f"{here}_pw")
    return x


def _convolved(x: Any, block: Block, initializer: str, name: str) -> Any:
    """The block's depthwise convolution, or the full one."""
    layers, l2 = keras().layers, keras().regularizers.l2(L2)
    over = {"strides": block.stride, "padding": block.padding, "name": name}
    if block.separable:
        own = {"depthwise_initializer": initializer, "depthwise_regularizer": l2}
        return layers.DepthwiseConv2D(block.kernel, **over, **own)(x)
    own = {"kernel_initializer": initializer, "kernel_regularizer": l2}
    return layers.Conv2D(block.filters, block.kernel, **over, **own)(x)


def _normalised(x: Any, name: str) -> Any:
    layers = keras().layers
    return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))


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
    return pooled(blocks(tap, (Block(filters, 2),), "he_normal", name), name)


def pooled(x: Any, name: str) -> Any:
    """The average of every channel, as a vector."""
    layers = keras().layers
    x = layers.AveragePooling2D(x.shape[1:3], padding="valid", name=f"{name}_pool")(x)
    return layers.Flatten(name=f"{name}_flat")(x)
