"""QUANTIZE from int8 to int8: another scale and zero point."""

from dataclasses import dataclass
from typing import Self

from trecx.compiler.fixed_point import INT8_MAX, INT8_MIN, Multiplier, multiplier, scaled
from trecx.compiler.ir import KernelCall, Node
from trecx.compiler.ops.channelwise import Channelwise
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.runs import Runs
from trecx.compiler.params import params


@dataclass(frozen=True, eq=False)
class Quantize(Channelwise):
    """out = (in - input zero point) * factor + output zero point."""

    factor: Multiplier

    @classmethod
    def read(cls, node: Node) -> Self:
        """Only the requantization between int8 tensors that quantization-aware training leaves behind."""
        inspection = Inspection(node)
        inspection.operands(1)
        source, output = inspection.activation(0), inspection.output()
        inspection.shape(output, source.shape)
        inspection.finish()
        factor = multiplier(source.scale / output.scale)
        inspection.require(factor.fits(INT8_MAX - INT8_MIN), "its scales amplify beyond int32")
        inspection.finish()
        return cls(node.index, node.name, (source,), (output,), factor)

    def value(self, taken: tuple[int, ...]) -> int:
        """The value at the other scale."""
        return scaled(taken[0] - self.inputs[0].zero_point, self.factor, self.output.zero_point)

    def call(self) -> KernelCall:
        """`quantize`."""
        layer = params(
            input=Runs.of(self.inputs[0]),
            input_zero_point=self.inputs[0].zero_point,
            factor=self.factor,
            output_zero_point=self.output.zero_point,
        )
        return KernelCall("quantize", layer, distances=(0,))
