"""Kinds of layers, for counting instructions per multiply-accumulate kind by kind."""

from trecx.compiler.graph import Graph
from trecx.compiler.ir import Op
from trecx.compiler.ops.add import Add
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.ops.fully_connected import FullyConnected
from trecx.compiler.ops.mean import Mean
from trecx.compiler.ops.pooling import Pool2D
from trecx.compiler.ops.softmax import Softmax

# In the order in which they are listed.
CLASSES = (
    *("first conv", "conv 1x1", "conv 1x1, strided", "conv KxK", "depthwise", "fully connected"),
    *("add", "pool", "softmax", "other"),
)
OTHERS: tuple[tuple[type[Op], str], ...] = (
    (DepthwiseConv2D, "depthwise"),
    (FullyConnected, "fully connected"),
    (Add, "add"),
    (Pool2D, "pool"),
    (Mean, "pool"),
    (Softmax, "softmax"),
)


def classes(graph: Graph) -> dict[int, str]:
    """The class of every op of a graph as it stands in the file, by index."""
    return {op.index: _class(graph, op) for op in graph.ops}


def _class(graph: Graph, op: Op) -> str:
    if isinstance(op, Conv2D):
        if graph.is_input(graph.storage(op.inputs[0])[0]):
            return "first conv"
        if op.rows.kernel == op.columns.kernel == 1:
            return "conv 1x1" if op.pointwise else "conv 1x1, strided"
        return "conv KxK"
    return next((name for kind, name in OTHERS if isinstance(op, kind)), "other")
