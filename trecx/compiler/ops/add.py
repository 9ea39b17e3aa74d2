"""ADD: two int8 activations of equal shape."""

from dataclasses import dataclass
from typing import Self

from ai_edge_litert.schema_py_generated import AddOptionsT

from trecx.compiler.fixed_point import INT8_MAX, INT8_MIN, Multiplier, multiplier, requantize, scaled
from trecx.compiler.ir import KernelCall, Node
from trecx.compiler.ops import activation
from trecx.compiler.ops.channelwise import Channelwise
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.runs import Runs
from trecx.compiler.params import Addend, params

# Fraction bits that each input gets before it is scaled to the common scale (TFLM's left_shift for int8).
LEFT_SHIFT = 20


@dataclass(frozen=True, eq=False)
class Add(Channelwise):
    """out = round((round(a * factors[0]) + round(b * factors[1])) * factors[2]) in TFLM's fixed point."""

    factors: tuple[Multiplier, Multiplier, Multiplier]
    activation: int

    @classmethod
    def read(cls, node: Node) -> Self:
        """Broadcasting is refused."""
        inspection = Inspection(node)
        inspection.operands(2)
        options = inspection.options(AddOptionsT)
        first, second, output = inspection.activation(0), inspection.activation(1), inspection.output()
        activation.check(inspection, options.fusedActivationFunction)
        equal = first.shape == second.shape
        inspection.require(equal, f"inputs have shapes {first.shape} and {second.shape}; supported: equal shapes")
        inspection.shape(output, first.shape)
        inspection.finish()
        common = 2.0 * max(first.scale, second.scale)
        real = common / (2**LEFT_SHIFT * output.scale)
        inspection.require(real < 1.0, "the output's scale is too fine for its inputs' (ratio 2^19 or more)")
        inspection.finish()
        factors = multiplier(first.scale / common), multiplier(second.scale / common), multiplier(real)
        # |x - z| < 2^8, so that inputs stay below 2^28, each scaled by at most 1/2, and so does their sum.
        assert all(factor.fits((INT8_MAX - INT8_MIN) << LEFT_SHIFT) for factor in factors)
        return cls(node.index, node.name, (first, second), (output,), factors, options.fusedActivationFunction)

    def value(self, taken: tuple[int, ...]) -> int:
        """The sum of two values."""
        low, high = activation.limits(self.activation, self.output)
        parts = zip(taken, self.inputs, self.factors[:2], strict=True)
        total = sum(requantize((value - tensor.zero_point) << LEFT_SHIFT, factor) for value, tensor, factor in parts)
        return scaled(total, self.factors[2], self.output.zero_point, low, high)

    def call(self) -> KernelCall:
        """`add`."""
        first, second = self.inputs
        runs = [Runs.of(tensor) for tensor in self.inputs]
        if runs[0] != runs[1]:
            channels = self.output.shape[-1]
            runs = [Runs(self.output.size // channels, channels, tensor.pixel_stride) for tensor in self.inputs]
        layer = params(
            runs=runs[0].count,
            run_length=runs[0].length,
            input0=Addend(runs[0].stride, first.zero_point, self.factors[0]),
            input1=Addend(runs[1].stride, second.zero_point, self.factors[1]),
            factor=self.factors[2],
            output=activation.output(self.activation, self.output),
        )
        return KernelCall("add", layer, distances=(0, 0))
