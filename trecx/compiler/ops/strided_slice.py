"""STRIDED_SLICE: a prefix of the channels, all pixels."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from ai_edge_litert.schema_py_generated import StridedSliceOptionsT

from trecx.compiler.ir import KernelCall, Moved, Node, Tensor, View
from trecx.compiler.ops.channelwise import Channelwise
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.runs import Runs
from trecx.compiler.params import params


@dataclass(frozen=True, eq=False)
class StridedSlice(Channelwise):
    """out[..., c] = in[..., c] for the first channels; usually rewritten into a view."""

    @classmethod
    def read(cls, node: Node) -> Self:
        """Begin, end and strides are constants; axes before the channels must be taken whole."""
        inspection = Inspection(node)
        inspection.operands(4)
        options = inspection.options(StridedSliceOptionsT)
        source, output = inspection.activation(0), inspection.output()
        inspection.same_quantization(source, output)
        rank = len(source.shape)
        begins = inspection.integers(1, "begin", rank)
        ends = inspection.integers(2, "end", rank)
        strides = inspection.integers(3, "strides", rank)
        for mask in ("ellipsisMask", "newAxisMask", "shrinkAxisMask", "offset"):
            inspection.require(not getattr(options, mask, 0), f"{mask} is set; supported: 0")
        inspection.require(set(strides) == {1}, f"strides are {strides}; supported: 1")
        wanted = []
        for axis, (size, begin, end) in enumerate(zip(source.shape, begins, ends, strict=True)):
            start = 0 if options.beginMask >> axis & 1 else _clamp(begin, size)
            stop = size if options.endMask >> axis & 1 else _clamp(end, size)
            if axis < rank - 1:
                whole = (start, stop) == (0, size)
                inspection.require(whole, f"cuts axis {axis} to {start}..{stop}; supported: channel prefixes")
            else:
                prefix = start == 0 < stop
                inspection.require(prefix, f"takes channels {start}..{stop}; supported: channel prefixes")
            wanted.append(stop - start)
        inspection.shape(output, tuple(wanted))
        inspection.finish()
        return cls(node.index, node.name, (source,), (output,))

    def value(self, taken: tuple[int, ...]) -> int:
        """The same."""
        return taken[0]

    def loses(self, flags: np.ndarray, follows: np.ndarray) -> np.ndarray:
        """The last channels may go alone: what stays is a prefix of what the input keeps."""
        return follows | np.logical_and.accumulate(flags[::-1])[::-1]

    def moved(self) -> tuple[Moved, tuple[tuple[Tensor, View], ...]]:
        """It lies where its input's pixels begin."""
        source = self.inputs[0]
        return Moved.CHANNELS, ((self.output, View(source.index, 0, source.pixel_stride)),)

    def call(self) -> KernelCall:
        """`copy`, one run of channels per pixel."""
        channels = self.output.shape[-1]
        runs = Runs(self.output.size // channels, channels, self.inputs[0].pixel_stride)
        # memcpy wants each run apart from its copy; then it is apart from those before it, too.
        return KernelCall("copy", params(input=runs), distances=(channels,))


def _clamp(position: int, size: int) -> int:
    """A begin or end index, negative ones counted from the end, as a position inside the axis."""
    return min(max(position + size if position < 0 else position, 0), size)
