"""CONV_2D by vectorised sums of 16-bit products: `firmware/kernels/portable/conv_2d_dot.h`."""

import numpy as np

from trecx.compiler.ir import KernelCall, Op, Table
from trecx.compiler.kernels.portable.scaling import rows, scaling
from trecx.compiler.ops import activation, window
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.overlap import distance, windows
from trecx.compiler.target import HOST, Target

_VECTOR = 16


def conv_2d_dot(op: Op, target: Target) -> KernelCall | None:
    """For the host only; None where requantization needs the general form."""
    assert isinstance(op, Conv2D)
    source = op.inputs[0]
    low, high = activation.limits(op.activation, op.output)
    scale = scaling(op.channels, 0, op.output.zero_point, low, high)
    if scale is None or target.name != HOST.name:
        return None
    weights = rows(op.channels, 0)
    wide = np.pad(weights, ((0, 0), (0, -weights.shape[1] % _VECTOR))).astype(np.int16)
    params = (
        *window.geometry(op.rows, op.columns),
        ("input_channels", source.shape[3]),
        ("input_stride", source.pixel_stride),
        ("output_channels", op.output.shape[3]),
        ("input_zero_point", source.zero_point),
        ("length", wide.shape[1]),
        ("output_zero_point", op.output.zero_point),
        ("output_min", low),
        ("output_max", high),
    )
    tables = (Table("weights", "int16_t", wide), Table("bias", "int32_t", scale.bias), *scale.tables())
    steps = windows(op.rows, op.columns, source.pixel_stride, op.output.shape[3], 1)
    return KernelCall("portable/conv_2d_dot", params, tables, scratch=2 * wide.shape[1], distances=(distance(steps),))
