"""Channels that hold one value in every pixel of every inference, as the operators say (`Op.constants`).

An output channel whose weights are all zero is the constant clamp(zo + requantize(bias)). A constant stays one through
every operator that treats channels apart, and in a sum of products it is part of the bias.
"""

import numpy as np

from trecx.compiler.graph import Graph
from trecx.compiler.ir import VARIES


def constants(graph: Graph) -> dict[int, np.ndarray]:
    """Per tensor index, the value of each channel (last axis) as int64, VARIES where it is not constant."""
    values = {one.tensor.index: np.broadcast_to(np.int64(VARIES), one.tensor.shape[-1:]) for one in graph.inputs}
    for op in graph.ops:
        found = op.constants([values[tensor.index] for tensor in op.inputs])
        values.update(zip((tensor.index for tensor in op.outputs), found, strict=True))
    return values
