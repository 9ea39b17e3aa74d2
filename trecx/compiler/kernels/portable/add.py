"""ADD in 32-bit arithmetic: `firmware/kernels/portable/add.h`."""

from dataclasses import replace

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.ops import activation
from trecx.compiler.ops.add import LEFT_SHIFT, Add
from trecx.compiler.target import Target

# What each scaled input stays below.
_TERM = 2**27


def add(op: Op, target: Target) -> KernelCall | None:
    """None where the output's scale is too fine or too coarse for the short rounding."""
    assert isinstance(op, Add) and LEFT_SHIFT == 20
    first, second, output = op.factors
    low, _ = activation.limits(op.activation, op.output)
    rounding = (2 * (op.output.zero_point - low) + 1) << max(-output.shift - 1, 0)
    if first.shift > 0 or second.shift > 0 or output.shift >= 0 or 2 * _TERM + rounding >= 2**31:
        return None
    return replace(op.call(), kernel="portable/add")
