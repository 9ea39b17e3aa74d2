"""ADD in 32-bit arithmetic: `firmware/kernels/portable/add.h`."""

from dataclasses import replace

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.ops.add import LEFT_SHIFT, Add
from trecx.compiler.target import Target

# What each scaled input stays below.
_TERM = 2**27


def add(op: Op, target: Target) -> KernelCall | None:
    """None where the output's scale is too fine or too coarse for the short rounding."""
    assert isinstance(op, Add) and LEFT_SHIFT == 20
    first, second, output = op.factors
    plain = op.call()
    given = dict(plain.params)
    rounding = (2 * (op.output.zero_point - given["output_min"]) + 1) << max(-output.shift - 1, 0)
    if first.shift > 0 or second.shift > 0 or output.shift >= 0 or 2 * _TERM + rounding >= 2**31:
        return None
    given |= {
        "input0_right": -first.shift,
        "input1_right": -second.shift,
        "output_right": -output.shift,
    }
    for name in ("left_shift", "input0_shift", "input1_shift", "output_shift"):
        del given[name]
    return replace(plain, kernel="portable/add", params=tuple(given.items()))
