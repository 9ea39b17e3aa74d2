"""CONV_2D by vectorised sums of 16-bit products: `firmware/kernels/portable/conv_2d_dot.h`."""

import numpy as np

from trecx.compiler.ir import KernelCall, Op, Table
from trecx.compiler.kernels.portable.scaling import rows, scaling
from trecx.compiler.ops import activation
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.ops.window import windowed
from trecx.compiler.overlap import distance, windows
from trecx.compiler.params import params
from trecx.compiler.target import HOST, Target

_VECTOR = 16


def conv_2d_dot(op: Op, target: Target) -> KernelCall | None:
    """For the host only; None where requantization needs the general form."""
    assert isinstance(op, Conv2D)
    source = op.inputs[0]
    output = activation.output(op.activation, op.output)
    scale = scaling(op.channels, 0, output)
    if scale is None or target.name != HOST.name:
        return None
    weights = rows(op.channels, 0)
    wide = np.pad(weights, ((0, 0), (0, -weights.shape[1] % _VECTOR))).astype(np.int16)
    layer = windowed(op.rows, op.columns, source) + params(
        output_channels=op.output.shape[3], length=wide.shape[1], output=output
    )
    tables = (Table("weights", "int16_t", wide), Table("bias", "int32_t", scale.bias), *scale.tables())
    steps = windows(op.rows, op.columns, source.pixel_stride, op.output.shape[3], 1)
    return KernelCall("portable/conv_2d_dot", layer, tables, scratch=2 * wide.shape[1], distances=(distance(steps),))
