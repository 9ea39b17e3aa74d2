"""Channels that hold one value in every pixel of every inference: where they arise, and what becomes of them.

An output channel whose weights are all zero is the constant clamp(zo + requantize(bias)). A constant stays one through
every operator that treats channels apart, and in a sum of products it is part of the bias. A window that reaches into
the padding sees two values, the constant and the input's zero point: only where they are equal is its output constant.
Values are computed as the kernels compute them.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from trecx.compiler.fixed_point import INT8_MAX, INT8_MIN, Multiplier, requantize
from trecx.compiler.ir import Graph, Op
from trecx.compiler.ops import activation
from trecx.compiler.ops.add import LEFT_SHIFT, Add
from trecx.compiler.ops.average_pool_2d import AveragePool2D
from trecx.compiler.ops.concatenation import Concatenation
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.ops.fully_connected import FullyConnected
from trecx.compiler.ops.max_pool_2d import MaxPool2D
from trecx.compiler.ops.mean import Mean
from trecx.compiler.ops.pad import Pad
from trecx.compiler.ops.quantize import Quantize
from trecx.compiler.ops.reshape import Reshape
from trecx.compiler.ops.strided_slice import StridedSlice

# The value of a channel that is not constant; no int8.
VARIES = 2**15
# The origin of an output channel that comes from no channel of this input.
ELSEWHERE = -1

Dense = Conv2D | FullyConnected
Product = Dense | DepthwiseConv2D


def constants(graph: Graph) -> dict[int, np.ndarray]:
    """Per tensor index, the value of each channel (last axis) as int64, VARIES where it is not constant."""
    values = {graph.input.index: np.full(graph.input.shape[-1], VARIES, np.int64)}
    for op in graph.ops:
        inputs = [values[tensor.index] for tensor in op.inputs]
        rule = _RULES.get(type(op))
        nothing = np.full(op.output.shape[-1], VARIES, np.int64)
        values[op.output.index] = nothing if rule is None else rule(op, inputs)
    return values


def absorbed(op: Product, values: np.ndarray) -> np.ndarray:
    """Which input channels are part of the bias, given the input's `values`: constant, and the same in the padding."""
    padded = not isinstance(op, FullyConnected) and (op.rows.padded or op.columns.padded)
    return (values != VARIES) & ((values == op.inputs[0].zero_point) | (not padded))


def origins(op: Op, position: int) -> np.ndarray | None:
    """The channel of input `position` from which each output channel comes, or ELSEWHERE.

    None for an operator that mixes channels, and for a reshape that does.
    """
    source, channels = op.inputs[position].shape[-1], np.arange(op.output.shape[-1])
    if isinstance(op, DepthwiseConv2D):
        return channels // op.depth_multiplier
    if isinstance(op, Reshape):
        return channels % source if len(channels) % source == 0 else None
    if isinstance(op, Concatenation) and op.axis == len(op.output.shape) - 1:
        shifted = channels - sum(part.shape[-1] for part in op.inputs[:position])
    elif isinstance(op, Pad):
        shifted = channels - op.paddings[2][0]
    else:
        same = isinstance(op, Add | AveragePool2D | Concatenation | MaxPool2D | Mean | Quantize | StridedSlice)
        return channels if same else None
    return np.where((shifted >= 0) & (shifted < source), shifted, ELSEWHERE)


def _dense(op: Dense, inputs: Sequence[np.ndarray]) -> np.ndarray:
    constant = absorbed(op, inputs[0])
    channels = op.channels
    weights = channels.weights.reshape(len(channels.bias), -1, len(constant)).astype(np.int64)
    fixed = np.count_nonzero(weights[:, :, ~constant], axis=(1, 2)) == 0
    sums = channels.bias + weights[:, :, constant].sum(axis=1) @ inputs[0][constant]
    return _activated(op, fixed, sums)


def _depthwise(op: DepthwiseConv2D, inputs: Sequence[np.ndarray]) -> np.ndarray:
    taken = inputs[0][origins(op, 0)]
    weights = op.channels.weights.reshape(-1, len(taken)).astype(np.int64)
    fixed: np.ndarray = absorbed(op, inputs[0])[origins(op, 0)] | ~weights.any(axis=0)
    return _activated(op, fixed, op.channels.bias + weights.sum(axis=0) * taken)


def _activated(op: Product, fixed: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The outputs of the channels `fixed`, whose accumulators are `sums`."""
    low, high = activation.limits(op.activation, op.output)
    values = np.full(len(fixed), VARIES, np.int64)
    for k in np.flatnonzero(fixed):
        values[k] = _scaled(int(sums[k]), op.channels.factors[k], op.output.zero_point, low, high)
    return values


def _each(rule: Callable[[Any, tuple[int, ...]], int]) -> Callable[[Op, Sequence[np.ndarray]], np.ndarray]:
    """A rule on whole tensors from a rule on the constants of one channel."""

    def values(op: Op, inputs: Sequence[np.ndarray]) -> np.ndarray:
        taken = np.stack([channels[origins(op, k)] for k, channels in enumerate(inputs)], axis=1).tolist()
        return np.array([VARIES if VARIES in row else rule(op, tuple(row)) for row in taken], np.int64)

    return values


def _pool(op: AveragePool2D | MaxPool2D, taken: tuple[int, ...]) -> int:
    """The mean of n equal values is that value: (n * c +- n // 2) / n, truncated, is c. Padding is not read."""
    low, high = activation.limits(op.activation, op.output)
    return min(max(taken[0], low), high)


def _mean(op: Mean, taken: tuple[int, ...]) -> int:
    source = op.inputs[0]
    pixels = prod(source.shape[1:3])
    return _scaled(pixels * (taken[0] - source.zero_point), op.factor, op.output.zero_point)


def _quantize(op: Quantize, taken: tuple[int, ...]) -> int:
    return _scaled(taken[0] - op.inputs[0].zero_point, op.factor, op.output.zero_point)


def _add(op: Add, taken: tuple[int, ...]) -> int:
    low, high = activation.limits(op.activation, op.output)
    parts = zip(taken, op.inputs, op.factors[:2], strict=True)
    total = sum(requantize((value - tensor.zero_point) << LEFT_SHIFT, factor) for value, tensor, factor in parts)
    return _scaled(total, op.factors[2], op.output.zero_point, low, high)


def _pad(op: Pad, inputs: Sequence[np.ndarray]) -> np.ndarray:
    zero, origin = op.output.zero_point, origins(op, 0)
    inside = np.where((inputs[0] == zero) | (not any(map(any, op.paddings[:2]))), inputs[0], VARIES)
    return np.where(origin == ELSEWHERE, zero, inside[origin])


def _concatenation(op: Concatenation, inputs: Sequence[np.ndarray]) -> np.ndarray:
    if op.axis == len(op.output.shape) - 1:
        return np.concatenate(inputs)
    return np.where(np.all(np.equal(inputs, inputs[0]), axis=0), inputs[0], VARIES)


def _moved(op: Op, inputs: Sequence[np.ndarray]) -> np.ndarray:
    origin = origins(op, 0)
    return np.full(op.output.shape[-1], VARIES, np.int64) if origin is None else inputs[0][origin]


def _scaled(x: int, factor: Multiplier, zero_point: int, low: int = INT8_MIN, high: int = INT8_MAX) -> int:
    return min(max(zero_point + requantize(x, factor), low), high)


# By operator; one that is not here makes nothing constant.
_RULES: dict[type[Op], Callable[..., np.ndarray]] = {
    Add: _each(_add),
    AveragePool2D: _each(_pool),
    Concatenation: _concatenation,
    Conv2D: _dense,
    DepthwiseConv2D: _depthwise,
    FullyConnected: _dense,
    MaxPool2D: _each(_pool),
    Mean: _each(_mean),
    Pad: _pad,
    Quantize: _each(_quantize),
    Reshape: _moved,
    StridedSlice: _moved,
}
