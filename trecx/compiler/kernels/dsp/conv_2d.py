"""CONV_2D by tiles of two channels and three pixels whose input is widened once: `dsp/conv_1x1` where pixels map to
pixels, else `dsp/conv_2d`."""

import numpy as np

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.kernels.dsp.gemm import SLOTS, Gemm, scratch
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.ops.runs import Runs
from trecx.compiler.ops.window import windowed
from trecx.compiler.overlap import Step, consecutive, distance
from trecx.compiler.params import params
from trecx.compiler.target import Target

# Without a full tile, widening fewer taps than this costs more than it saves.
_LEAST_TAPS = 2


def conv_1x1(op: Op, target: Target) -> KernelCall | None:
    """Every output pixel from the input pixel at its place."""
    assert isinstance(op, Conv2D)
    source, depth = op.inputs[0], op.inputs[0].shape[3]
    if not op.pointwise or _tiny(op):
        return None
    gemm = Gemm.of(op.channels, op.output, op.activation, np.arange(depth))
    if gemm is None:
        return None
    pixels = Runs(op.rows.output * op.columns.output, depth, source.pixel_stride)
    return KernelCall(
        "dsp/conv_1x1",
        params(input=pixels, output_channels=op.output.shape[3], rounding=gemm.rounding, output=gemm.output),
        (gemm.weights,),
        scratch=scratch(depth),
        distances=(distance(_tiles(op)),),
    )


def conv_2d(op: Op, target: Target) -> KernelCall | None:
    """Any kernel, stride and padding."""
    assert isinstance(op, Conv2D)
    source, depth = op.inputs[0], op.inputs[0].shape[3]
    terms = op.rows.kernel * op.columns.kernel * depth
    if op.pointwise or _tiny(op):
        return None
    gemm = Gemm.of(op.channels, op.output, op.activation, _order(op))
    if gemm is None:
        return None
    layer = windowed(op.rows, op.columns, source) + params(
        output_channels=op.output.shape[3], rounding=gemm.rounding, output=gemm.output
    )
    # A padded window whose taps do not start on words is first laid out beside the columns.
    beside = 0 if depth % 4 == 0 else -(-terms // 4) * 4
    return KernelCall(
        "dsp/conv_2d",
        layer,
        (gemm.weights,),
        scratch=scratch(terms) + beside,
        distances=(distance(_tiles(op)),),
    )


def _tiny(op: Conv2D) -> bool:
    """Whether other kernels are faster: too few pixels for a tile, and hardly a tap of theirs inside the image."""
    taps = min(op.rows.kernel, op.rows.size) * min(op.columns.kernel, op.columns.size) * op.inputs[0].shape[3]
    return op.rows.output * op.columns.output < SLOTS and taps < _LEAST_TAPS


def _tiles(op: Conv2D) -> tuple[Step, ...]:
    """Every tile of consecutive pixels, rows running on, is read into scratch before it is written.

    Fewer pixels than a tile are computed one by one.
    """
    size = SLOTS if op.rows.output * op.columns.output >= SLOTS else 1
    return consecutive(op.rows, op.columns, op.inputs[0].pixel_stride, op.output.shape[3], size)


def _order(op: Conv2D) -> np.ndarray:
    """The taps in the order of a column: whole words of each kernel row, then what is left of the rows, packed."""
    rows, columns, depth = op.rows.kernel, op.columns.kernel, op.inputs[0].shape[3]
    taps = np.arange(rows * columns * depth).reshape(rows, -1)
    whole = taps.shape[1] // 4 * 4
    return np.concatenate([taps[:, :whole].ravel(), taps[:, whole:].ravel()])
