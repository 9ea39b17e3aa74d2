"""ADD: 16 elements at a time."""

from trecx.compiler.fixed_point import Multiplier
from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.kernels.mve import requantization
from trecx.compiler.ops.add import Add
from trecx.compiler.ops.runs import Runs
from trecx.compiler.target import Target

HALF = Multiplier(2**30, 0)


def add(op: Op, _: Target) -> KernelCall | None:
    """`mve/add`, where the sum's factor is below 1/2; those of the inputs are at most that."""
    assert isinstance(op, Add)
    first, second, total = (_right(factor) for factor in op.factors)
    if total.shift >= 0:
        return None
    assert all(factor.shift < 0 or factor == HALF for factor in (first, second))
    runs = [Runs.of(tensor) for tensor in op.inputs]
    if runs[0] != runs[1]:
        channels = op.output.shape[-1]
        runs = [Runs(op.output.size // channels, channels, tensor.pixel_stride) for tensor in op.inputs]
    params = (
        ("runs", runs[0].count),
        ("run_length", runs[0].length),
        ("input0_stride", runs[0].stride),
        ("input1_stride", runs[1].stride),
        ("input0_zero_point", op.inputs[0].zero_point),
        ("input0_multiplier", first.value),
        ("input0_shift", first.shift),
        ("input1_zero_point", op.inputs[1].zero_point),
        ("input1_multiplier", second.value),
        ("input1_shift", second.shift),
        ("output_multiplier", total.value),
        ("output_shift", total.shift),
        *requantization.limits(op.activation, op.output),
    )
    return KernelCall("mve/add", params, distances=(0, 0))


def _right(factor: Multiplier) -> Multiplier:
    """A factor of 0 may shift right as well."""
    return factor if factor.value else Multiplier(0, -1)
