"""What a Keras model costs: multiply-accumulates of layers that have kernels."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from trecx.learn.keras import keras


def cost(model: Any, tensors: Any) -> tuple[int, int]:
    """MACs and layers from the input to a tensor, or to several together."""
    needed = keras().Model(model.input, tensors).layers
    return sum(macs(layer) for layer in needed), len(needed)


def macs(layer: Any) -> int:
    """Multiply-accumulates of a layer; 0 where it has no kernel."""
    if hasattr(layer, "layers"):
        return sum(macs(inner) for inner in layer.layers)
    kernels = [w for w in layer.weights if "kernel" in w.name]
    pixels = prod(layer.output_shape[1:-1]) if kernels else 0
    return int(sum(pixels * np.prod(kernel.shape) for kernel in kernels))


def leaving(model: Any, exits: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """What leaving at each exit costs, as a share of the plain network: what is left where all early exits are gone.

    `exits` are the names of each exit's outputs, in order. Who leaves at one has computed all before it.
    """
    ends = [[model.get_layer(name).output for name in names] for names in exits]
    plain = cost(model, ends[-1])[0]
    before = [[end for of_exit in ends[: k + 1] for end in of_exit] for k in range(len(ends))]
    return tuple(cost(model, every)[0] / plain for every in before)
