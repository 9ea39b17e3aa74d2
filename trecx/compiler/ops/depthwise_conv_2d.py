"""DEPTHWISE_CONV_2D: int8, per-channel or per-tensor symmetric weights, strides, SAME or VALID."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from ai_edge_litert.schema_py_generated import DepthwiseConv2DOptionsT

from trecx.compiler.ir import KernelCall, Node
from trecx.compiler.ops import activation, window
from trecx.compiler.ops.channels import check_weights, read_channels
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.product import Product
from trecx.compiler.ops.window import Window, windowed
from trecx.compiler.overlap import channelwise, distance, windows
from trecx.compiler.params import params


@dataclass(frozen=True, eq=False)
class DepthwiseConv2D(Product):
    """out[y, x, o] = sum over ky, kx of w[ky, kx, o] * in[y*s + ky - before, x*s + kx - before, o // multiplier]."""

    rows: Window
    columns: Window
    depth_multiplier: int

    @classmethod
    def read(cls, node: Node) -> Self:
        """Weights are (1, height, width, output channels)."""
        inspection = Inspection(node)
        inspection.operands(2, 3)
        options = inspection.options(DepthwiseConv2DOptionsT)
        source, output = inspection.activation(0, (4,)), inspection.output((4,))
        window.check_padding(inspection, options.padding)
        window.check_dilation(inspection, options.dilationHFactor, options.dilationWFactor)
        activation.check(inspection, options.fusedActivationFunction)
        strides = inspection.extent(options.strideH, "stride"), inspection.extent(options.strideW, "stride")
        weights = check_weights(inspection, 4, 3)
        first, height, width, units = weights.shape
        inspection.require(first == 1, f"weights have shape {weights.shape}; supported: (1, height, width, channels)")
        # TFLM computes with the option, and leaves or overwrites outputs where the shapes say otherwise.
        depth_multiplier = int(options.depthMultiplier)
        agrees = depth_multiplier >= 1 and units == depth_multiplier * source.shape[3]
        both = f"depth multiplier is {depth_multiplier}, but weights make {units} channels of {source.shape[3]}"
        inspection.require(agrees, f"{both}; supported: the quotient of the channels")
        rows = Window.over(source.shape[1], height, strides[0], options.padding)
        columns = Window.over(source.shape[2], width, strides[1], options.padding)
        inspection.shape(output, (1, rows.output, columns.output, units))
        inspection.finish()
        channels = read_channels(inspection, weights, 3, source, output)
        function = options.fusedActivationFunction
        return cls(node.index, node.name, (source,), (output,), channels, function, rows, columns, depth_multiplier)

    def macs(self) -> int:
        """Output elements x kernel area."""
        return self.output.size * self.rows.kernel * self.columns.kernel

    @property
    def padded(self) -> bool:
        """Whether some window reaches outside the image."""
        return self.rows.padded or self.columns.padded

    def origins(self, position: int, output: int = 0) -> np.ndarray:
        """Each from one input channel."""
        return np.arange(self.output.shape[-1]) // self.depth_multiplier

    def constants(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Constant where the input channel is, or where the weights are zero."""
        origins = self.origins(0)
        taken = inputs[0][origins]
        weights = self.channels.weights.reshape(-1, len(taken)).astype(np.int64)
        fixed = self.absorbed(inputs[0])[origins] | ~weights.any(axis=0)
        return (self.activated(fixed, self.channels.bias + weights.sum(axis=0) * taken),)

    def narrowed(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], values: Sequence[np.ndarray]
    ) -> Self:
        """Weights, bias and factors of the outputs that stay."""
        return replace(self, channels=self.channels.depthwise(outputs[0]))

    def call(self) -> KernelCall:
        """`depthwise_conv_2d`."""
        source = self.inputs[0]
        layer = windowed(self.rows, self.columns, source) + params(
            depth_multiplier=self.depth_multiplier,
            shifts_right=int(self.channels.shifts_right),
            output=activation.output(self.activation, self.output),
        )
        pixels = windows(self.rows, self.columns, source.pixel_stride, self.output.shape[3], 1)
        lag = distance(channelwise(pixels, source.shape[3] - 1))
        return KernelCall("depthwise_conv_2d", layer, self.channels.tables(), distances=(lag,))
