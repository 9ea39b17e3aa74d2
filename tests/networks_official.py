"""Networks with the shapes of MLPerf Tiny's models and random weights: they cost what the official ones cost.

The official models are not part of this repository (docs/bench.md says where they come from).
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from networks import NONE, RELU, SAME, Network
from vectors.flatbuffer import network

from trecx.compiler.ir import Tensor

# (channels, dead ones) of the layer of visual wake words that has such a channel after the dead ones are gone
STEEP = (128, 71)


class Official(Network):
    """Convolutions as the official models have them."""

    def layer(
        self, x: Tensor, channels: int, kernel: tuple[int, int], stride: int = 1, dead: int = 0, activation: int = RELU
    ) -> Tensor:
        """CONV_2D with SAME padding; the weights of `dead` output channels are zero, and what they yield is 0.0.

        In the layer STEEP one channel is so steep that its accumulator is not shifted right.
        """
        values = self.random.integers(-127, 128, (channels, *kernel, x.shape[3])).astype(np.int8)
        offsets = self.random.integers(-3000, 3000, channels).astype(np.int32)
        gone = self.random.permutation(channels)[:dead]
        values[gone], offsets[gone] = 0, -(2**30)
        scales = self.random.uniform(0.001, 0.01, channels)
        if channels == STEEP[0] and dead == STEEP[1]:
            scales[next(k for k in range(channels) if k not in gone)] = 0.8
        weights = self.build.weights(values, scales, 0)
        zero_point = -128 if activation == RELU else None
        rows, columns = (-(-size // stride) for size in x.shape[1:3])
        output = self.activation(rows, columns, channels, zero_point=zero_point)
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = SAME, stride, stride
        options.dilationHFactor = options.dilationWFactor = 1
        options.fusedActivationFunction = activation
        return self.add("CONV_2D", (x, weights, self.build.bias(offsets, x, weights)), output, options)

    def separable(self, x: Tensor, channels: int, stride: int = 1, dead: int = 0) -> Tensor:
        """A depthwise 3x3 and a 1x1 convolution."""
        return self.layer(self.conv(x, 0, 3, stride, depthwise=True), channels, (1, 1), dead=dead)

    def finished(self, source: Tensor, features: Tensor, classes: int) -> bytes:
        """The file, with an average over the whole map and a classifier."""
        pooled = self.flat(self.pool(features, *features.shape[1:3]))
        return network(self.nodes, [source], {"scores": self.classifier(pooled, classes)})


def keyword_spotting() -> bytes:
    """DS-CNN: 2,656,768 MACs."""
    net = Official(1)
    source = net.activation(49, 10, 1, zero_point=83)
    x = net.layer(source, 64, (10, 4), 2)
    for _ in range(4):
        x = net.separable(x, 64)
    return net.finished(source, x, 12)


def image_classification() -> bytes:
    """ResNet-8: 12,501,632 MACs."""
    net = Official(2)
    source = net.activation(32, 32, 3, zero_point=-128)
    x = net.layer(source, 16, (3, 3))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = net.layer(net.layer(x, channels, (3, 3), stride), channels, (3, 3), activation=NONE)
        x = net.residual(x if stride == 1 else net.layer(x, channels, (1, 1), stride, activation=NONE), y)
    return net.finished(source, x, 10)


# (channels, stride, channels whose weights training has driven to zero) of the official model's blocks
BLOCKS = (
    *((16, 1, 0), (32, 2, 0), (32, 1, 0), (64, 2, 0), (64, 1, 4), (128, 2, 21), (128, 1, 71)),
    *((128, 1, 98), (128, 1, 109), (128, 1, 109), (128, 1, 101), (256, 2, 224), (256, 1, 234)),
)


def visual_wake_words() -> bytes:
    """MobileNet v1 at a quarter of its width: 7,489,664 MACs, of which half multiply with constants."""
    net = Official(3)
    source = net.activation(96, 96, 3, zero_point=-128)
    x = net.layer(source, 8, (3, 3), 2)
    for channels, stride, dead in BLOCKS:
        x = net.separable(x, channels, stride, dead)
    return net.finished(source, x, 2)


OFFICIAL = {"kws": keyword_spotting, "ic": image_classification, "vww": visual_wake_words}
