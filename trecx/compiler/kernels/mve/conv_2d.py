"""CONV_2D: columns of four pixels, two output channels at a time."""

from collections.abc import Iterator

import numpy as np

from trecx.compiler.ir import KernelCall, Op, Table
from trecx.compiler.kernels.mve import requantization
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.overlap import Step, distance
from trecx.compiler.target import Target

PIXELS, BLOCK = 4, 16


def conv_2d(op: Op, _: Target) -> KernelCall | None:
    """`mve/conv_2d`, for factors below 1/2. A 1x1 kernel with stride 1 takes the image as one row of pixels."""
    assert isinstance(op, Conv2D)
    if not requantization.shifts_right(op.channels):
        return None
    source, rows, columns = op.inputs[0], op.rows, op.columns
    depth, taps = source.shape[3], source.shape[3] * rows.kernel * columns.kernel
    pixels = rows.output * columns.output
    heights = (1, pixels, 1, pixels) if op.pointwise else (rows.size, columns.size, rows.output, columns.output)
    blocks = -(-taps // BLOCK)
    apart = rows.kernel * columns.kernel > 1 and depth % BLOCK > 0
    params = (
        ("input_height", heights[0]),
        ("input_width", heights[1]),
        ("input_channels", depth),
        ("input_stride", source.pixel_stride),
        ("kernel_height", rows.kernel),
        ("kernel_width", columns.kernel),
        ("stride_height", rows.stride),
        ("stride_width", columns.stride),
        ("pad_top", rows.before),
        ("pad_left", columns.before),
        ("output_height", heights[2]),
        ("output_width", heights[3]),
        ("output_channels", op.output.shape[3]),
        ("padded", int(rows.padded or columns.padded)),
        ("aligned", int(requantization.aligned(op.output))),
        ("input_zero_point", source.zero_point),
        *requantization.limits(op.activation, op.output),
    )
    return KernelCall(
        "mve/conv_2d",
        params,
        (Table("weights", "int8_t", pack(op.channels.weights)), requantization.table(op.channels)),
        scratch=PIXELS * BLOCK * blocks + (BLOCK * (blocks + 1) if apart else 0),
        distances=(distance(tiles(op)),),
    )


def pack(weights: np.ndarray) -> np.ndarray:
    """(channels, ...) to (pairs of channels, blocks, 2, BLOCK), channels filled up to groups of four with zeros."""
    flat = weights.reshape(len(weights), -1)
    units, taps = (
        -(-size // unit) * unit for size, unit in zip(flat.shape, (requantization.GROUP, BLOCK), strict=True)
    )
    filled = np.zeros((units, taps), np.int8)
    filled[: len(flat), : flat.shape[1]] = flat
    return filled.reshape(units // 2, 2, taps // BLOCK, BLOCK).transpose(0, 2, 1, 3)


def tiles(op: Conv2D) -> Iterator[Step]:
    """Each step copies the windows of four pixels, whichever rows they lie in, before it writes them."""
    stride, pixels = op.inputs[0].pixel_stride, op.rows.output * op.columns.output
    for pixel in range(0, pixels, PIXELS):
        end = min(pixel + PIXELS, pixels)
        first = min(_first(op, k) for k in range(pixel, end))
        yield Step(first * stride, end * op.output.shape[3])


def _first(op: Conv2D, pixel: int) -> int:
    """The first input pixel that an output pixel reads."""
    y, x = divmod(pixel, op.columns.output)
    top, left = y * op.rows.stride - op.rows.before, x * op.columns.stride - op.columns.before
    return max(top, 0) * op.columns.size + max(left, 0)
