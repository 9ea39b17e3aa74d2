"""CONV_2D: int8, per-channel or per-tensor symmetric weights, strides, SAME or VALID."""

from dataclasses import dataclass
from typing import Self

from ai_edge_litert.schema_py_generated import Conv2DOptionsT

from trecx.compiler.ir import KernelCall, Node
from trecx.compiler.ops import activation, window
from trecx.compiler.ops.channels import check_weights, read_channels
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.product import Dense
from trecx.compiler.ops.runs import Runs
from trecx.compiler.ops.window import Window, windowed
from trecx.compiler.overlap import Step, channelwise, distance, windows
from trecx.compiler.params import params


@dataclass(frozen=True, eq=False)
class Conv2D(Dense):
    """out[y, x, o] = sum over ky, kx, i of w[o, ky, kx, i] * in[y*s + ky - before, x*s + kx - before, i]."""

    rows: Window
    columns: Window

    @classmethod
    def read(cls, node: Node) -> Self:
        """Weights are (output channels, height, width, input channels)."""
        inspection = Inspection(node)
        inspection.operands(2, 3)
        options = inspection.options(Conv2DOptionsT)
        source, output = inspection.activation(0, (4,)), inspection.output((4,))
        window.check_padding(inspection, options.padding)
        window.check_dilation(inspection, options.dilationHFactor, options.dilationWFactor)
        activation.check(inspection, options.fusedActivationFunction)
        strides = inspection.extent(options.strideH, "stride"), inspection.extent(options.strideW, "stride")
        weights = check_weights(inspection, 4, 0)
        units, height, width, depth = weights.shape
        found = source.shape[3]
        inspection.require(depth == found, f"weights expect {depth} channels, input has {found}; supported: one group")
        rows = Window.over(source.shape[1], height, strides[0], options.padding)
        columns = Window.over(source.shape[2], width, strides[1], options.padding)
        inspection.shape(output, (1, rows.output, columns.output, units))
        inspection.finish()
        channels = read_channels(inspection, weights, 0, source, output)
        function = options.fusedActivationFunction
        return cls(node.index, node.name, (source,), (output,), channels, function, rows, columns)

    def macs(self) -> int:
        """Output elements x kernel volume."""
        return self.output.size * (self.channels.weights.size // self.output.shape[3])

    @property
    def padded(self) -> bool:
        """Whether some window reaches outside the image."""
        return self.rows.padded or self.columns.padded

    @property
    def pointwise(self) -> bool:
        """Whether every output pixel reads exactly the input pixel at its place."""
        return all((w.kernel, w.stride, w.padded) == (1, 1, False) for w in (self.rows, self.columns))

    def call(self) -> KernelCall:
        """`conv_1x1` where pixels map to pixels, else `conv_2d`."""
        source = self.inputs[0]
        output = params(
            output_channels=self.output.shape[3],
            shifts_right=int(self.channels.shifts_right),
            output=activation.output(self.activation, self.output),
        )
        if self.pointwise:
            runs = Runs(self.rows.output * self.columns.output, source.shape[3], source.pixel_stride)
            layer = params(input=runs) + output
            return KernelCall("conv_1x1", layer, self.channels.tables(), distances=(self._tiled(),))
        layer = windowed(self.rows, self.columns, source) + output
        pixels = windows(self.rows, self.columns, source.pixel_stride, self.output.shape[3], 1)
        lag = distance(channelwise(pixels, 0))
        return KernelCall("conv_2d", layer, self.channels.tables(), distances=(lag,))

    def _tiled(self) -> int:
        """The distance of `conv_1x1`: tiles of 2 channels of 4 pixels, then what is left of each pixel's channels."""
        pixels, units = self.rows.output * self.columns.output, self.output.shape[3]
        stride = self.inputs[0].pixel_stride
        tiled, even = pixels - pixels % 4, units - units % 2
        steps = []
        if even:
            for pixel in range(0, tiled, 4):
                end = (pixel + 3) * units + even
                steps += [Step(pixel * stride, end - 2), Step(pixel * stride, end)]
        for pixel in range(tiled if even == units else 0, pixels):
            steps += [Step(pixel * stride, (pixel + 1) * units - 1), Step(pixel * stride, (pixel + 1) * units)]
        return distance(steps)
