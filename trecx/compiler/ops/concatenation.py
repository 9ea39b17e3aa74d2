"""CONCATENATION: int8 inputs of equal quantization, along any axis but the batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Self

import numpy as np
from ai_edge_litert.schema_py_generated import ActivationFunctionType, ConcatenationOptionsT

from trecx.compiler.ir import ELSEWHERE, VARIES, KernelCall, Moved, Node, Op, Tensor, View
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.runs import Runs
from trecx.compiler.params import params

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
        return cls(node.index, node.name, parts, (output,), axis)

    @property
    def _joins_channels(self) -> bool:
        return self.axis == len(self.output.shape) - 1

    def origins(self, position: int, output: int = 0) -> np.ndarray:
        """Where channels are joined, behind those of the inputs before."""
        channels = np.arange(self.output.shape[-1])
        if not self._joins_channels:
            return channels
        shifted = channels - sum(part.shape[-1] for part in self.inputs[:position])
        return np.where((shifted >= 0) & (shifted < self.inputs[position].shape[-1]), shifted, ELSEWHERE)

    def constants(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Those of the inputs; where pixels are joined, what is the same in all of them."""
        if self._joins_channels:
            return (np.concatenate(inputs),)
        return (np.where(np.all(np.equal(inputs, inputs[0]), axis=0), inputs[0], VARIES),)

    def moved(self) -> tuple[Moved, tuple[tuple[Tensor, View], ...]] | None:
        """Flat parts lie in the result one behind the other."""
        if any(part.size != part.shape[-1] for part in self.inputs):
            return None
        offsets = np.cumsum([0, *(part.size for part in self.inputs)]).tolist()
        parts = zip(self.inputs, offsets, strict=False)
        return Moved.PARTS, tuple((part, View(self.output.index, offset, part.size)) for part, offset in parts)

    def call(self) -> KernelCall:
        """`concatenation`."""
        outer = prod(self.output.shape[: self.axis])
        parts = tuple(self._runs(part, outer) for part in self.inputs)
        layer = params(parts=len(parts), outer=outer, inputs=parts)
        distances = tuple(self._distance(k, outer) for k in range(len(self.inputs)))
        return KernelCall("concatenation", layer, input_array=True, distances=distances)

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
