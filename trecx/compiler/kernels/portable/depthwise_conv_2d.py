"""DEPTHWISE_CONV_2D channel by channel: `firmware/kernels/portable/depthwise_conv_2d.h`."""

from collections.abc import Iterator

import numpy as np

from trecx.compiler.ir import KernelCall, Op, Table
from trecx.compiler.kernels.portable.scaling import rows, scaling
from trecx.compiler.ops import activation
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.ops.window import Window, windowed
from trecx.compiler.overlap import Step, one_channel_after_another
from trecx.compiler.params import params
from trecx.compiler.target import Target

# Bytes of scratch that a band may take; one output row is always in it.
BAND_MOST = 512


def depthwise_conv_2d(op: Op, target: Target) -> KernelCall | None:
    """None with a depth multiplier or where requantization needs the general form."""
    assert isinstance(op, DepthwiseConv2D)
    source = op.inputs[0]
    output = activation.output(op.activation, op.output)
    scale = scaling(op.channels, 3, output)
    if op.depth_multiplier != 1 or scale is None:
        return None
    width = (op.columns.output - 1) * op.columns.stride + op.columns.kernel
    height = _band_height(op.rows, width)
    layer = windowed(op.rows, op.columns, source) + params(
        band_height=height, band_width=width, narrow=int(scale.narrow), output=output
    )
    tables = (
        Table("weights", "int8_t", rows(op.channels, 3).astype(np.int8)),
        Table("bias", "int32_t", scale.bias),
        *scale.tables(),
    )
    scratch = -(-_band_rows(op.rows, height) * width // 4) * 4
    return KernelCall(
        "portable/depthwise_conv_2d",
        layer,
        tables,
        scratch=scratch,
        distances=(one_channel_after_another(_steps(op, height), source.pixel_stride, source.shape[3]),),
    )


def _band_rows(axis: Window, height: int) -> int:
    """Rows of a band with `height` output rows."""
    return (height - 1) * axis.stride + axis.kernel


def _band_height(axis: Window, width: int) -> int:
    """As many output rows as fit, all of them if possible."""
    fitting = [height for height in range(1, axis.output + 1) if _band_rows(axis, height) * width <= BAND_MOST]
    return max(fitting, default=1)


def _steps(op: DepthwiseConv2D, height: int) -> Iterator[Step]:
    """The bands of one channel, in pixels; rows that the next band needs too are kept, so it does not read them."""
    for y in range(0, op.rows.output, height):
        kept = max(op.rows.kernel - op.rows.stride, 0) if y else 0
        first = min(max(y * op.rows.stride - op.rows.before + kept, 0), op.rows.size)
        yield Step(first * op.columns.size, min(y + height, op.rows.output) * op.columns.output)
