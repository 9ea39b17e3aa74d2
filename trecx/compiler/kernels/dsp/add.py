"""ADD for the DSP extension: `firmware/kernels/dsp/add.h`."""

from dataclasses import replace

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.ops.add import Add
from trecx.compiler.target import Target


def add(op: Op, target: Target) -> KernelCall | None:
    """All but outputs whose scale is so fine that the sum shifts left."""
    assert isinstance(op, Add)
    if any(factor.shift > 0 for factor in op.factors):
        return None
    # A word is read before it is written, and pixels of a view lie further apart than those of the output.
    return replace(op.call(), kernel="dsp/add", distances=(0, 0))
