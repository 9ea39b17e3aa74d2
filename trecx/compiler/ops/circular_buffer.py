"""CIRCULAR_BUFFER, TFLM's custom operator of streaming models: the last frames, the newest of them this run's."""

from dataclasses import dataclass
from typing import ClassVar, Self

from trecx.compiler.ir import KernelCall, Node, Op
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.runs import Runs
from trecx.compiler.params import params

# The flexbuffer {"cycles_max": 1}: later operators run with every frame. TFLM ends a run early for any other number.
EVERY_FRAME = bytes.fromhex("6379636c65735f6d617800010c0101010104022401")


@dataclass(frozen=True, eq=False)
class CircularBuffer(Op):
    """out = the frames of the last run without the oldest, then the input; at first all values are the zero point.

    The output is the state: nothing but this operator ever writes to it.
    """

    stateful: ClassVar[bool] = True

    @classmethod
    def read(cls, node: Node) -> Self:
        """(1, 1, width, channels) to (1, frames, width, channels), which the file marks as a variable."""
        inspection = Inspection(node)
        inspection.operands(1)
        source, output = inspection.activation(0, (4,)), inspection.output((4,))
        inspection.same_quantization(source, output)
        every = node.options == EVERY_FRAME
        inspection.require(every, "its custom options are not cycles_max = 1; supported: to run with every frame")
        inspection.require(output.variable, "its output is no variable tensor: frames would not outlive a run")
        inspection.finish()
        inspection.require(source.shape[1] == 1, f"input has shape {source.shape}; supported: one frame")
        inspection.shape(output, (1, output.shape[1], *source.shape[2:]))
        inspection.finish()
        return cls(node.index, node.name, (source,), (output,))

    def call(self) -> KernelCall:
        """`circular_buffer`."""
        frame, kept = self.inputs[0].size, self.output.size - self.inputs[0].size
        return KernelCall("circular_buffer", params(kept=kept, frame=frame, input=Runs.of(self.inputs[0])))
