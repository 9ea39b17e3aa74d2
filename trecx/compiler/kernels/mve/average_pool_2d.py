"""AVERAGE_POOL_2D: 8 channels at a time in 16 bits."""

from dataclasses import replace

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.kernels.mve.groups import in_groups
from trecx.compiler.ops.average_pool_2d import AveragePool2D
from trecx.compiler.overlap import distance, windows
from trecx.compiler.target import Target

LANES, TAPS_MAX = 8, 256


def average_pool_2d(op: Op, _: Target) -> KernelCall | None:
    """`mve/average_pool_2d`, where 16 bits hold the sum of a window."""
    assert isinstance(op, AveragePool2D)
    if op.rows.kernel * op.columns.kernel > TAPS_MAX:
        return None
    channels = op.output.shape[3]
    pixels = windows(op.rows, op.columns, op.inputs[0].pixel_stride, channels, 1)
    lag = distance(in_groups(pixels, channels, LANES))
    return replace(op.call(), kernel="mve/average_pool_2d", distances=(lag,))
