"""MEAN over height and width, int8."""

from dataclasses import dataclass
from typing import Self

from ai_edge_litert.schema_py_generated import ReducerOptionsT

from trecx.compiler.fixed_point import INT8_MAX, INT8_MIN, Multiplier, mean_multiplier, scaled
from trecx.compiler.ir import KernelCall, Node
from trecx.compiler.ops.channelwise import Channelwise
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.runs import Runs
from trecx.compiler.params import params


@dataclass(frozen=True, eq=False)
class Mean(Channelwise):
    """out[c] = sum over pixels of (in[pixel, c] - zero point) * factor; the factor holds the division by the count."""

    factor: Multiplier

    @classmethod
    def read(cls, node: Node) -> Self:
        """Axes must be height and width; the output may keep them as 1 or drop them."""
        inspection = Inspection(node)
        inspection.operands(2)
        options = inspection.options(ReducerOptionsT)
        source, output = inspection.activation(0, (4,)), inspection.output()
        axes = {axis + 4 if axis < 0 else axis for axis in inspection.integers(1, "axes")}
        inspection.require(axes == {1, 2}, f"reduces axes {sorted(axes)}; supported: height and width, 1 and 2")
        inspection.finish()
        channels = source.shape[3]
        inspection.shape(output, (1, 1, 1, channels) if options.keepDims else (1, channels))
        inspection.finish()
        count = source.shape[1] * source.shape[2]
        factor = mean_multiplier(source.scale / output.scale, count)
        bound = count * (INT8_MAX - INT8_MIN)
        inspection.require(factor.fits(bound), "its scales amplify beyond int32")
        inspection.finish()
        return cls(node.index, node.name, (source,), (output,), factor)

    def value(self, taken: tuple[int, ...]) -> int:
        """The mean of as many equal values as there are pixels."""
        source = self.inputs[0]
        pixels = source.shape[1] * source.shape[2]
        return scaled(pixels * (taken[0] - source.zero_point), self.factor, self.output.zero_point)

    def call(self) -> KernelCall:
        """`mean`."""
        source = self.inputs[0]
        layer = params(
            input=Runs(source.shape[1] * source.shape[2], source.shape[3], source.pixel_stride),
            input_zero_point=source.zero_point,
            factor=self.factor,
            output_zero_point=self.output.zero_point,
        )
        return KernelCall("mean", layer, distances=(0,))
