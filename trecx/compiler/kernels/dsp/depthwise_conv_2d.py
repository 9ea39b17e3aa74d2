"""DEPTHWISE_CONV_2D for the DSP extension: `firmware/kernels/dsp/depthwise_conv_2d.h`."""

import numpy as np

from trecx.compiler.fixed_point import INT8_MAX, INT8_MIN
from trecx.compiler.ir import KernelCall, Op, Table
from trecx.compiler.ops import activation
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.overlap import Exactly
from trecx.compiler.target import Target

# The kernel sums 256 times the accumulator.
_BITS = 8
# The widest right shift whose rounding and zero point fit a word beside the product.
_MOST_RIGHT = 16


def depthwise_conv_2d(op: Op, target: Target) -> KernelCall | None:
    """3x3 with one stride of 1 or 2 and depth multiplier 1."""
    assert isinstance(op, DepthwiseConv2D)
    rows, columns, source = op.rows, op.columns, op.inputs[0]
    squared = (rows.kernel, columns.kernel) == (3, 3) and rows.stride == columns.stride in (1, 2)
    if not squared or op.depth_multiplier != 1 or _bound(op) >= 2 ** (31 - _BITS):
        return None
    low, high = activation.limits(op.activation, op.output)
    narrow = all(-_MOST_RIGHT <= factor.shift < 0 for factor in op.channels.factors)
    rectified = op.output.zero_point == low == INT8_MIN and high == INT8_MAX and narrow
    inputs = source.pixel_stride * columns.size, source.pixel_stride
    outputs = op.output.shape[3] * columns.output, op.output.shape[3]
    weights = op.channels.weights
    # Column by column, pixels of input and output must have the same places, or one would cover others to be read.
    same = (rows.size, columns.size) == (rows.output, columns.output)
    if rows.stride == 1 and same and _waste(columns.output, rows.output) < _waste(rows.output, columns.output):
        rows, columns, inputs, outputs = columns, rows, inputs[::-1], outputs[::-1]
        weights = weights.swapaxes(1, 2)
    params = (
        ("channels", source.shape[3]),
        ("input_rows", rows.size),
        ("input_columns", columns.size),
        ("input_row_stride", inputs[0]),
        ("input_column_stride", inputs[1]),
        ("output_rows", rows.output),
        ("output_columns", columns.output),
        ("output_row_stride", outputs[0]),
        ("output_column_stride", outputs[1]),
        ("stride", rows.stride),
        ("pad_top", rows.before),
        ("pad_left", columns.before),
        ("input_zero_point", source.zero_point),
        ("rectified", int(rectified)),
        ("shifts_right", int(op.channels.shifts_right)),
        ("output_zero_point", op.output.zero_point),
        ("output_min", low),
        ("output_max", high),
    )
    _, _, multipliers, shifts = op.channels.tables()
    bias = Table("bias", "int32_t", op.channels.bias << _BITS)
    dense = source.pixel_stride == source.shape[3]
    return KernelCall(
        "dsp/depthwise_conv_2d",
        params,
        (Table("weights", "uint32_t", _words(weights)), bias, multipliers, shifts),
        scratch=8 * ((columns.output - 1) * columns.stride + 4),
        distances=(Exactly(0) if dense else None,),
    )


def _waste(rows: int, columns: int) -> float:
    """The share of work in vain, by instructions: starting a pair of rows, a last row alone, and a last column."""
    pairs, alone = divmod(rows, 2)
    return (pairs * (columns + columns % 2 + 3) * 36 + alone * (columns + 2) * 26) / (rows * columns)


def _bound(op: DepthwiseConv2D) -> int:
    """What no accumulator exceeds."""
    taps = np.abs(op.channels.weights.astype(np.int64)).sum(axis=(0, 1, 2))
    return int((np.abs(op.channels.bias.astype(np.int64)) - INT8_MIN * taps).max())


def _words(weights: np.ndarray) -> np.ndarray:
    """Per channel and column of the kernel one word: rows 1, 0, 2, 1 from the lowest byte."""
    kernel = weights[0].transpose(2, 1, 0)
    return np.ascontiguousarray(kernel[:, :, [1, 0, 2, 1]]).view("<u4")[:, :, 0]
