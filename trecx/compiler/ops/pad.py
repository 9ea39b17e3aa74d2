"""PAD: zeros (the zero point) around height, width and channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from trecx.compiler.ir import ELSEWHERE, VARIES, KernelCall, Node, Op
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.params import Padding, params


@dataclass(frozen=True, eq=False)
class Pad(Op):
    """`paddings` are (before, after) of height, width and channels."""

    paddings: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, node: Node) -> Self:
        """Input 1 is the constant (4, 2) of paddings."""
        inspection = Inspection(node)
        inspection.operands(2)
        source, output = inspection.activation(0, (4,)), inspection.output((4,))
        inspection.same_quantization(source, output)
        table = inspection.constant(1, "paddings", ("int32", "int64"), (4, 2)).tolist()
        inspection.require(all(v >= 0 for pair in table for v in pair), "a padding is negative; supported: 0 or more")
        inspection.require(table[0] == [0, 0], f"pads the batch by {table[0]}; supported: 0")
        inspection.shape(output, tuple(size + sum(pair) for size, pair in zip(source.shape, table, strict=False)))
        inspection.finish()
        paddings = tuple((int(before), int(after)) for before, after in table[1:])
        return cls(node.index, node.name, (source,), (output,), paddings)

    def origins(self, position: int, output: int = 0) -> np.ndarray:
        """Behind the channels that it adds in front."""
        shifted = np.arange(self.output.shape[3]) - self.paddings[2][0]
        return np.where((shifted >= 0) & (shifted < self.inputs[0].shape[3]), shifted, ELSEWHERE)

    def constants(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Added channels are constant; others stay so where they equal what is put around the image."""
        zero, origin = self.output.zero_point, self.origins(0)
        inside = np.where((inputs[0] == zero) | (not any(map(any, self.paddings[:2]))), inputs[0], VARIES)
        return (np.where(origin == ELSEWHERE, zero, inside[origin]),)

    def call(self) -> KernelCall:
        """`pad`."""
        source = self.inputs[0]
        sizes = zip(source.shape[1:], self.paddings, self.output.shape[1:], strict=True)
        rows, columns, channels = (Padding(size, before, output) for size, (before, _), output in sizes)
        layer = params(
            rows=rows,
            columns=columns,
            channels=channels,
            input_stride=source.pixel_stride,
            zero_point=self.output.zero_point,
        )
        return KernelCall("pad", layer)
