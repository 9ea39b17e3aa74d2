"""CONV_2D: columns of four pixels, two output channels at a time."""

import numpy as np

from trecx.compiler.ir import KernelCall, Op, Table
from trecx.compiler.kernels.mve import requantization
from trecx.compiler.ops import activation
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.ops.window import Window, windowed
from trecx.compiler.overlap import consecutive, distance
from trecx.compiler.params import params
from trecx.compiler.target import Target

PIXELS, BLOCK = 4, 16


def conv_2d(op: Op, _: Target) -> KernelCall | None:
    """`mve/conv_2d`, for factors below 1/2. A 1x1 kernel with stride 1 takes the image as one row of pixels."""
    assert isinstance(op, Conv2D)
    if not requantization.shifts_right(op.channels):
        return None
    source, rows, columns = op.inputs[0], op.rows, op.columns
    depth, taps = source.shape[3], source.shape[3] * rows.kernel * columns.kernel
    if op.pointwise:
        pixels = rows.output * columns.output
        rows, columns = Window(1, 1, 1, 0, 1), Window(pixels, 1, 1, 0, pixels)
    # All four pixels of a tile are copied before any is written, whichever rows they lie in.
    tiles = consecutive(rows, columns, source.pixel_stride, op.output.shape[3], PIXELS)
    blocks = -(-taps // BLOCK)
    apart = rows.kernel * columns.kernel > 1 and depth % BLOCK > 0
    layer = windowed(rows, columns, source) + params(
        padded=int(rows.padded or columns.padded),
        output_channels=op.output.shape[3],
        aligned=int(requantization.aligned(op.output)),
        output=activation.output(op.activation, op.output),
    )
    return KernelCall(
        "mve/conv_2d",
        layer,
        (Table("weights", "int8_t", pack(op.channels.weights)), requantization.table(op.channels)),
        scratch=PIXELS * BLOCK * blocks + (BLOCK * (blocks + 1) if apart else 0),
        distances=(distance(tiles),),
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
