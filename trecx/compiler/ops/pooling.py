"""What AVERAGE_POOL_2D and MAX_POOL_2D share: everything but the kernel."""

from dataclasses import dataclass
from typing import ClassVar, Self

from ai_edge_litert.schema_py_generated import Pool2DOptionsT

from trecx.compiler.ir import KernelCall, Node
from trecx.compiler.ops import activation, window
from trecx.compiler.ops.channelwise import Channelwise
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.window import Window
from trecx.compiler.overlap import channelwise, distance, windows
from trecx.compiler.params import Pixels, Range, params


@dataclass(frozen=True, eq=False)
class Pool2D(Channelwise):
    """Each output pixel reduces the taps of its window that lie inside the input, channel by channel."""

    rows: Window
    columns: Window
    activation: int

    kernel: ClassVar[str]

    @classmethod
    def read(cls, node: Node) -> Self:
        """Input and output share scale and zero point."""
        inspection = Inspection(node)
        inspection.operands(1)
        options = inspection.options(Pool2DOptionsT)
        source, output = inspection.activation(0, (4,)), inspection.output((4,))
        window.check_padding(inspection, options.padding)
        activation.check(inspection, options.fusedActivationFunction)
        inspection.same_quantization(source, output)
        strides = inspection.extent(options.strideH, "stride"), inspection.extent(options.strideW, "stride")
        height = inspection.extent(options.filterHeight, "filter height")
        width = inspection.extent(options.filterWidth, "filter width")
        inspection.finish()
        rows = Window.over(source.shape[1], height, strides[0], options.padding)
        columns = Window.over(source.shape[2], width, strides[1], options.padding)
        inspection.shape(output, (1, rows.output, columns.output, source.shape[3]))
        inspection.finish()
        return cls(node.index, node.name, (source,), (output,), rows, columns, options.fusedActivationFunction)

    def value(self, taken: tuple[int, ...]) -> int:
        """The mean of n equal values is that value: (n * c +- n // 2) / n, truncated, is c. Padding is not read."""
        low, high = activation.limits(self.activation, self.output)
        return min(max(taken[0], low), high)

    def call(self) -> KernelCall:
        """The subclass's kernel."""
        source = self.inputs[0]
        layer = params(
            rows=self.rows,
            columns=self.columns,
            input=Pixels.of(source),
            range=Range(*activation.limits(self.activation, self.output)),
        )
        pixels = windows(self.rows, self.columns, source.pixel_stride, source.shape[3], 1)
        return KernelCall(self.kernel, layer, distances=(distance(channelwise(pixels, source.shape[3] - 1)),))
