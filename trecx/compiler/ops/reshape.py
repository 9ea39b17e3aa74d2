"""RESHAPE: the same bytes under another shape; batch 1 stays batch 1."""

from dataclasses import dataclass
from math import prod
from typing import Self

from ai_edge_litert.schema_py_generated import ReshapeOptionsT

from trecx.compiler.ir import KernelCall, Node, Op
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.runs import Runs


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
        return cls(node.index, node.name, (source,), output)

    def call(self) -> KernelCall:
        """`copy`."""
        runs = Runs.of(self.inputs[0])
        params = (("runs", runs.count), ("run_length", runs.length), ("input_stride", runs.stride))
        # memcpy wants each run apart from its copy; then it is apart from those before it, too.
        return KernelCall("copy", params, distances=(runs.length,))
