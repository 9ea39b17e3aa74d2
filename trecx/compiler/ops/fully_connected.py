"""FULLY_CONNECTED: int8, per-tensor or per-channel symmetric weights, one row of outputs."""

from dataclasses import dataclass
from typing import Self

from ai_edge_litert.schema_py_generated import FullyConnectedOptionsT, FullyConnectedOptionsWeightsFormat

from trecx.compiler.ir import KernelCall, Node
from trecx.compiler.ops import activation
from trecx.compiler.ops.channels import check_weights, read_channels
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.product import Dense
from trecx.compiler.ops.runs import Runs
from trecx.compiler.params import params


@dataclass(frozen=True, eq=False)
class FullyConnected(Dense):
    """out[o] = sum over i of w[o, i] * in[i], the input flattened."""

    @classmethod
    def read(cls, node: Node) -> Self:
        """Weights are (outputs, inputs)."""
        inspection = Inspection(node)
        inspection.operands(2, 3)
        options = inspection.options(FullyConnectedOptionsT)
        source, output = inspection.activation(0), inspection.output()
        activation.check(inspection, options.fusedActivationFunction)
        plain = options.weightsFormat == FullyConnectedOptionsWeightsFormat.DEFAULT
        inspection.require(plain, f"weights format {options.weightsFormat}; supported: the default, (outputs, inputs)")
        weights = check_weights(inspection, 2, 0)
        units, depth = weights.shape
        inspection.require(depth == source.size, f"weights expect {depth} inputs, the input has {source.size}")
        kept = (*source.shape[:-1], units)
        inspection.shape(output, kept if options.keepNumDims else (1, units))
        inspection.require(output.size == units, f"output has shape {output.shape}; supported: one row of {units}")
        inspection.finish()
        channels = read_channels(inspection, weights, 0, source, output)
        return cls(node.index, node.name, (source,), (output,), channels, options.fusedActivationFunction)

    def macs(self) -> int:
        """One per weight."""
        return self.channels.weights.size

    def call(self) -> KernelCall:
        """`fully_connected`."""
        runs = Runs.of(self.inputs[0])
        layer = params(
            input=runs,
            outputs=self.output.size,
            shifts_right=int(self.channels.shifts_right),
            output=activation.output(self.activation, self.output),
        )
        # Every output reads the whole input, the last one too.
        return KernelCall("fully_connected", layer, self.channels.tables(), distances=(self.output.size - 1,))
