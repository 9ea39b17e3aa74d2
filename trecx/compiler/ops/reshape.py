"""RESHAPE: the same bytes under another shape; batch 1 stays batch 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Self

import numpy as np
from ai_edge_litert.schema_py_generated import ReshapeOptionsT

from trecx.compiler.ir import VARIES, KernelCall, Moved, Node, Op, Tensor, View
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.runs import Runs
from trecx.compiler.params import params


@dataclass(frozen=True, eq=False)
class Reshape(Op):
    """A copy that packs its input; usually rewritten into a view."""

    @classmethod
    def read(cls, node: Node) -> Self:
        """The new shape is input 1, else the option, else the output's own; one entry may be -1."""
        inspection = Inspection(node)
        inspection.operands(1, 2)
        source, output = inspection.activation(0), inspection.output()
        inspection.same_quantization(source, output)
        wanted: tuple[int, ...] = output.shape
        if len(node.inputs) > 1 and node.inputs[1] is not None:
            wanted = inspection.integers(1, "new shape")
        elif isinstance(node.options, ReshapeOptionsT) and node.options.newShape is not None:
            wanted = tuple(int(d) for d in node.options.newShape)
        known = prod(d for d in wanted if d != -1)
        if wanted.count(-1) == 1 and known > 0:
            wanted = tuple(source.size // known if d == -1 else d for d in wanted)
        inspection.shape(output, wanted)
        sizes = f"{source.size} elements become {output.size}"
        inspection.require(source.size == output.size, sizes)
        inspection.finish()
        return cls(node.index, node.name, (source,), (output,))

    def origins(self, position: int, output: int = 0) -> np.ndarray | None:
        """Each from the channel that it has in its pixel, where pixels are only put together."""
        source, channels = self.inputs[0].shape[-1], self.output.shape[-1]
        return np.arange(channels) % source if channels % source == 0 else None

    def constants(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Those of the input."""
        origin = self.origins(0)
        return (np.full(self.output.shape[-1], VARIES, np.int64) if origin is None else inputs[0][origin],)

    def moved(self) -> tuple[Moved, tuple[tuple[Tensor, View], ...]] | None:
        """It lies where its input does, unless that has gaps."""
        source = self.inputs[0]
        if source.pixel_stride != source.shape[-1]:
            return None
        return Moved.BYTES, ((self.output, View(source.index, 0, self.output.shape[-1])),)

    def call(self) -> KernelCall:
        """`copy`."""
        runs = Runs.of(self.inputs[0])
        # memcpy wants each run apart from its copy; then it is apart from those before it, too.
        return KernelCall("copy", params(input=runs), distances=(runs.length,))
