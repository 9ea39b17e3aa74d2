"""SPLIT: int8, equal parts of one quantization along any axis but the batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Self

import numpy as np
from ai_edge_litert.schema_py_generated import SplitOptionsT

from trecx.compiler.ir import KernelCall, Moved, Node, Op, Tensor, View
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.runs import Runs
from trecx.compiler.params import params

# The size of the arrays in trecx_split_params.
MAX_PARTS = 8


@dataclass(frozen=True)
class Slice:
    """An output of SPLIT: it begins `begin` bytes after each index before the axis."""

    begin: int
    runs: Runs


@dataclass(frozen=True, eq=False)
class Split(Op):
    """For every index before the axis: a slice of the first output, of the second, and so on; usually views.

    Outputs are as long along the axis as their shapes say: rewrites may leave some with fewer channels than others.
    """

    axis: int

    @classmethod
    def read(cls, node: Node) -> Self:
        """Input 0 is the constant axis, input 1 the value; a negative axis counts from the end."""
        inspection = Inspection(node)
        inspection.operands(2, outputs=MAX_PARTS)
        options = inspection.options(SplitOptionsT)
        source = inspection.activation(1)
        outputs = tuple(inspection.output(part=k) for k in range(len(node.outputs)))
        inspection.same_quantization(source, *outputs)
        (given,) = inspection.integers(0, "axis", 1)
        rank, parts = len(source.shape), len(outputs)
        inspection.require(options.numSplits == parts, f"says {options.numSplits} parts and has {parts} outputs")
        axis = given + rank if given < 0 else given
        inspection.require(1 <= axis < rank, f"splits along axis {given}; supported: any but the batch")
        inspection.finish()
        size = source.shape[axis]
        if inspection.require(size % parts == 0, f"splits {size} into {parts} parts; supported: equal parts"):
            for output in outputs:
                inspection.shape(output, (*source.shape[:axis], size // parts, *source.shape[axis + 1 :]))
        inspection.finish()
        return cls(node.index, node.name, (source,), outputs, axis)

    @property
    def _offsets(self) -> list[int]:
        """Where each output begins along the axis."""
        return np.cumsum([0, *(part.shape[self.axis] for part in self.outputs)]).tolist()[:-1]

    def origins(self, position: int, output: int = 0) -> np.ndarray:
        """Where channels are split, behind those of the outputs before."""
        channels = np.arange(self.outputs[output].shape[-1])
        return channels + (self._offsets[output] if self.axis == len(self.inputs[0].shape) - 1 else 0)

    def constants(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Those of the input."""
        return tuple(inputs[0][self.origins(0, k)] for k in range(len(self.outputs)))

    def moved(self) -> tuple[Moved, tuple[tuple[Tensor, View], ...]] | None:
        """Parts are consecutive bytes of the input, or channels of its pixels."""
        source, shape = self.inputs[0], self.inputs[0].shape
        dense = source.pixel_stride == shape[-1] or source.size == shape[-1]
        parts = tuple(zip(self.outputs, self._offsets, strict=True))
        if prod(shape[: self.axis]) == 1 and dense:
            inner = prod(shape[self.axis + 1 :])
            return Moved.BYTES, tuple((o, View(source.index, at * inner, o.shape[-1])) for o, at in parts)
        if self.axis == len(shape) - 1:
            return Moved.CHANNELS, tuple((o, View(source.index, at, source.pixel_stride)) for o, at in parts)
        return None

    def call(self) -> KernelCall:
        """`split`."""
        shape, stride = self.inputs[0].shape, self.inputs[0].pixel_stride
        outer, channels = prod(shape[: self.axis]), shape[-1]
        step = self.inputs[0].size // channels // outer * stride
        parts = []
        for part, offset in zip(self.outputs, self._offsets, strict=True):
            if self.axis == len(shape) - 1:
                begin, runs, length = offset, 1, part.shape[-1]
            else:
                before = prod(shape[self.axis + 1 : -1])
                begin, runs, length = offset * before * stride, part.shape[self.axis] * before, channels
                if stride == channels:
                    runs, length = 1, runs * channels
            parts.append(Slice(begin, Runs(runs, length, stride)))
        layer = params(outputs=len(parts), outer=outer, input_step=step, slices=tuple(parts))
        return KernelCall("split", layer, output_array=True)
