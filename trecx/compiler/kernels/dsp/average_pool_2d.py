"""AVERAGE_POOL_2D for the DSP extension: `firmware/kernels/dsp/average_pool_2d.h`."""

from dataclasses import replace

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.ops.average_pool_2d import AveragePool2D
from trecx.compiler.overlap import distance, windows
from trecx.compiler.target import Target

# int16 holds the sum of so many int8; below the fewest, dividing takes longer than summing four channels at once saves.
MOST_TAPS = 256
FEWEST_TAPS = 8


def average_pool_2d(op: Op, target: Target) -> KernelCall | None:
    """Windows whose sums fit int16, and that are worth it."""
    assert isinstance(op, AveragePool2D)
    taps = min(op.rows.kernel, op.rows.size) * min(op.columns.kernel, op.columns.size)
    if not FEWEST_TAPS <= taps <= MOST_TAPS:
        return None
    # Within a pixel, channels are written behind those still to be read.
    steps = windows(op.rows, op.columns, op.inputs[0].pixel_stride, op.output.shape[3], 1)
    return replace(op.call(), kernel="dsp/average_pool_2d", distances=(distance(steps),))
