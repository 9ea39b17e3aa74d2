"""DEPTHWISE_CONV_2D for the DSP extension: `firmware/kernels/dsp/depthwise_conv_2d.h`."""

import numpy as np

from trecx.compiler.fixed_point import INT8_MAX, INT8_MIN
from trecx.compiler.ir import KernelCall, Op, Table
from trecx.compiler.ops import activation
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.ops.window import Window
from trecx.compiler.overlap import one_channel_after_another, pairs_of_rows
from trecx.compiler.params import params
from trecx.compiler.target import Target

# The kernel sums 256 times the accumulator.
_BITS = 8
# Right shifts whose rounding and zero point fit a word beside the product. Other channels take twice as long.
_NARROW = range(-16, 0)


def depthwise_conv_2d(op: Op, target: Target) -> KernelCall | None:
    """3x3 with one stride of 1 or 2 and depth multiplier 1, where rounding once is right, of more than a few pixels."""
    assert isinstance(op, DepthwiseConv2D)
    rows, columns, source = op.rows, op.columns, op.inputs[0]
    squared = (rows.kernel, columns.kernel) == (3, 3) and rows.stride == columns.stride in (1, 2)
    if not squared or op.depth_multiplier != 1 or not _rounds_once(op) or _bound(op) >= 2 ** (31 - _BITS):
        return None
    inputs = source.pixel_stride * columns.size, source.pixel_stride
    outputs = op.output.shape[3] * columns.output, op.output.shape[3]
    weights = op.channels.weights
    # Column by column, pixels of input and output must have the same places, or one would cover others to be read.
    same = (rows.size, columns.size, inputs) == (rows.output, columns.output, outputs)
    if rows.stride == 1 and same and _waste(columns.output, rows.output) < _waste(rows.output, columns.output):
        rows, columns, inputs, outputs = columns, rows, inputs[::-1], outputs[::-1]
        weights = weights.swapaxes(1, 2)
    if not _pays(rows, columns):
        return None
    layer = params(
        channels=source.shape[3],
        input_rows=rows.size,
        input_columns=columns.size,
        input_row_stride=inputs[0],
        input_column_stride=inputs[1],
        output_rows=rows.output,
        output_columns=columns.output,
        output_row_stride=outputs[0],
        output_column_stride=outputs[1],
        stride=rows.stride,
        pad_top=rows.before,
        pad_left=columns.before,
        input_zero_point=source.zero_point,
    )
    _, _, multipliers, shifts = op.channels.tables()
    bias = Table("bias", "int32_t", op.channels.bias << _BITS)
    return KernelCall(
        "dsp/depthwise_conv_2d",
        layer,
        (Table("weights", "uint32_t", _words(weights)), bias, multipliers, shifts),
        scratch=8 * ((columns.output - 1) * columns.stride + 4),
        distances=(one_channel_after_another(pairs_of_rows(rows, columns), source.pixel_stride, source.shape[3]),),
    )


def _waste(rows: int, columns: int) -> float:
    """The share of work in vain, by instructions: starting a pair of rows, a last row alone, and a last column."""
    pairs, alone = divmod(rows, 2)
    return (pairs * (columns + columns % 2 + 3) * 36 + alone * (columns + 2) * 26) / (rows * columns)


def _rounds_once(op: DepthwiseConv2D) -> bool:
    """Whether the activation clamps at the zero point, -128, and nowhere else, and most shifts are narrow."""
    limits = activation.limits(op.activation, op.output)
    wide = sum(factor.shift not in _NARROW for factor in op.channels.factors)
    rectified = op.output.zero_point == INT8_MIN and limits == (INT8_MIN, INT8_MAX)
    return rectified and 4 * wide <= len(op.channels.factors)


def _pays(rows: Window, columns: Window) -> bool:
    """Whether copying rows pays, by measurement: the portable kernel needs less instructions for smaller images."""
    if rows.stride == 2:
        return rows.output >= 4 and columns.output >= 6
    return rows.output * columns.output >= 16 and columns.output >= 3


def _bound(op: DepthwiseConv2D) -> int:
    """What no accumulator exceeds."""
    taps = np.abs(op.channels.weights.astype(np.int64)).sum(axis=(0, 1, 2))
    return int((np.abs(op.channels.bias.astype(np.int64)) - INT8_MIN * taps).max())


def _words(weights: np.ndarray) -> np.ndarray:
    """Per channel and column of the kernel one word: rows 1, 0, 2, 1 from the lowest byte."""
    kernel = weights[0].transpose(2, 1, 0)
    return np.ascontiguousarray(kernel[:, :, [1, 0, 2, 1]]).view("<u4")[:, :, 0]
