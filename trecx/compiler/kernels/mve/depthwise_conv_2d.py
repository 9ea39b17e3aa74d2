"""DEPTHWISE_CONV_2D: windows as vectors, from rows kept channel by channel; else four channels as a vector."""

from collections.abc import Iterator

import numpy as np

from trecx.compiler.ir import KernelCall, Op, Table
from trecx.compiler.kernels.mve import requantization
from trecx.compiler.kernels.mve.groups import in_groups
from trecx.compiler.ops import activation
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.ops.window import windowed
from trecx.compiler.overlap import Step, distance, pairs_of_rows, windows
from trecx.compiler.params import params
from trecx.compiler.target import Target

SLOTS = 4  # rows in scratch, and columns in a vector
BLOCK = 16


def depthwise_conv_2d(op: Op, _: Target) -> KernelCall | None:
    """`mve/depthwise_conv_2d`, for factors below 1/2."""
    assert isinstance(op, DepthwiseConv2D)
    source, rows, columns = op.inputs[0], op.rows, op.columns
    stride = rows.stride
    line = 4 * ((columns.output - 1) * stride + columns.kernel)
    groups = -(-source.shape[3] // requantization.GROUP)
    fits = (
        op.depth_multiplier == 1,
        stride == columns.stride,
        stride in (1, 2),
        columns.output >= 2,
        columns.kernel <= SLOTS,
        rows.kernel <= SLOTS - 2 + stride,  # at stride 1, a second output row needs one more
        7 * line < 2**16,
        requantization.shifts_right(op.channels),
    )
    if not all(fits):
        return None
    # The last vector of the last channel may read columns beyond its line.
    scratch = groups * requantization.GROUP * line + 4 * (SLOTS - columns.kernel)
    scratch = -(-scratch // BLOCK) * BLOCK
    layer = windowed(rows, columns, source) + params(
        line=line,
        scratch=scratch,
        aligned=int(requantization.aligned(op.output)),
        output=activation.output(op.activation, op.output),
    )
    tables = Table("weights", "int8_t", pack(op.channels.weights)), requantization.table(op.channels)
    return KernelCall("mve/depthwise_conv_2d", layer, tables, scratch=scratch, distances=(distance(_steps(op)),))


def depthwise_conv_2d_any(op: Op, _: Target) -> KernelCall | None:
    """`mve/depthwise_conv_2d_any`, for factors below 1/2."""
    assert isinstance(op, DepthwiseConv2D)
    if op.depth_multiplier != 1 or not requantization.shifts_right(op.channels):
        return None
    source, rows, columns, lanes = op.inputs[0], op.rows, op.columns, requantization.GROUP
    layer = windowed(rows, columns, source) + params(output=activation.output(op.activation, op.output))
    filled = np.pad(op.channels.weights, ((0, 0),) * 3 + ((0, -source.shape[3] % lanes),))
    tables = Table("weights", "int8_t", filled), requantization.vectors(op.channels)
    pixels = windows(rows, columns, source.pixel_stride, source.shape[3], 1)
    lag = distance(in_groups(pixels, source.shape[3], lanes))
    return KernelCall("mve/depthwise_conv_2d_any", layer, tables, distances=(lag,))


def pack(weights: np.ndarray) -> np.ndarray:
    """(1, height, width, channels) to (channels, columns, rows), each of the latter filled up to SLOTS with zeros."""
    _, height, width, channels = weights.shape
    filled = np.zeros((-(-channels // requantization.GROUP) * requantization.GROUP, SLOTS, SLOTS), np.int8)
    filled[:channels, :width, :height] = weights[0].transpose(2, 1, 0)
    return filled


def _steps(op: DepthwiseConv2D) -> Iterator[Step]:
    """All channels of a pixel at once."""
    for step in pairs_of_rows(op.rows, op.columns):
        yield Step(step.reads_from * op.inputs[0].pixel_stride, step.writes_to * op.output.shape[3])
