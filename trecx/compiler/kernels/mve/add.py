"""ADD: 16 elements at a time."""

from dataclasses import replace

from trecx.compiler.fixed_point import Multiplier
from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.ops.add import Add
from trecx.compiler.target import Target

HALF = Multiplier(2**30, 0)


def add(op: Op, _: Target) -> KernelCall | None:
    """`mve/add`, where the sum's factor is below 1/2; those of the inputs are at most that."""
    assert isinstance(op, Add)
    first, second, total = (_right(factor) for factor in op.factors)
    if total.shift >= 0:
        return None
    assert all(factor.shift < 0 or factor == HALF for factor in (first, second))
    scaled = replace(op, factors=(first, second, total))
    return replace(scaled.call(), kernel="mve/add")


def _right(factor: Multiplier) -> Multiplier:
    """A factor of 0 may shift right as well."""
    return factor if factor.value else Multiplier(0, -1)
