"""CONCATENATION: int8 inputs of equal quantization, along any axis but the batch."""

from dataclasses import dataclass
from math import prod
from typing import Self

from ai_edge_litert.schema_py_generated import ActivationFunctionType, ConcatenationOptionsT

from trecx.compiler.ir import KernelCall, Node, Op, Tensor
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.runs import Runs

# The size of the arrays in trecx_concatenation_params.
MAX_PARTS = 8


@dataclass(frozen=True, eq=False)
class Concatenation(Op):
    """For every index before the axis: the slice of the first input, of the second, and so on."""

    axis: int

    @classmethod
    def read(cls, node: Node) -> Self:
        """A negative axis counts from the end."""
        inspection = Inspection(node)
        inspection.operands(1, MAX_PARTS)
        options = inspection.options(ConcatenationOptionsT)
        parts = tuple(inspection.activation(k) for k in range(len(node.inputs)))
        output = inspection.output()
        inspection.same_quantization(*parts, output)
        fused = options.fusedActivationFunction
        inspection.require(fused == ActivationFunctionType.NONE, "has a fused activation; supported: NONE")
        rank = len(output.shape)
        axis = options.axis + rank if options.axis < 0 else options.axis
        inspection.require(1 <= axis < rank, f"joins along axis {options.axis}; supported: any but the batch")
        inspection.finish()
        around = {part.shape[:axis] + part.shape[axis + 1 :] for part in parts}
        fitting = {len(part.shape) for part in parts} == {rank} and len(around) == 1
        if inspection.require(fitting, f"cannot join shapes {', '.join(str(p.shape) for p in parts)}"):
            first = parts[0].shape
            inspection.shape(output, (*first[:axis], sum(part.shape[axis] for part in parts), *first[axis + 1 :]))
        inspection.finish()
        return cls(node.index, node.name, parts, output, axis)

    def call(self) -> KernelCall:
        """`concatenation`; its params describe each part by array elements."""
        outer = prod(self.output.shape[: self.axis])
        params = [("parts", len(self.inputs)), ("outer", outer)]
        for k, part in enumerate(self.inputs):
            runs = self._runs(part, outer)
            params += [
                (f"runs[{k}]", runs.count),
                (f"run_length[{k}]", runs.length),
                (f"input_stride[{k}]", runs.stride),
            ]
        distances = tuple(self._distance(k, outer) for k in range(len(self.inputs)))
        return KernelCall("concatenation", tuple(params), input_array=True, distances=distances)

    def _distance(self, number: int, outer: int) -> int:
        """How far part `number` must start above the output: memcpy writes no byte that it or a later one reads."""
        runs = [self._runs(part, outer) for part in self.inputs]
        before = sum(r.count * r.length for r in runs[:number])
        block, own = sum(r.count * r.length for r in runs), runs[number]
        return max(
            0,
            *(
                k * block + before + (run + 1) * own.length - (k * own.count + run) * own.stride
                for k in (0, outer - 1)
                for run in (0, own.count - 1)
            ),
        )

    def _runs(self, part: Tensor, outer: int) -> Runs:
        """The runs that each step of the outer loop takes from `part`."""
        channels, block = part.shape[-1], part.size // outer
        if part.pixel_stride == channels or part.size == channels:
            return Runs(1, block, block)
        return Runs(block // channels, channels, part.pixel_stride)
