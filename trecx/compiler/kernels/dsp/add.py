"""ADD for the DSP extension: `firmware/kernels/dsp/add.h`."""

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.ops.add import Add
from trecx.compiler.target import Target


def add(op: Op, target: Target) -> KernelCall | None:
    """All but outputs whose scale is so fine that the sum shifts left."""
    assert isinstance(op, Add)
    if any(factor.shift > 0 for factor in op.factors):
        return None
    plain = dict(op.call().params)
    same = ("runs", "run_length", "input0_stride", "input1_stride")
    params = [(name, plain[name]) for name in same]
    for name in ("input0", "input1", "output"):
        params += [
            (f"{name}_zero_point", plain[f"{name}_zero_point"]),
            (f"{name}_multiplier", plain[f"{name}_multiplier"]),
            (f"{name}_right", -plain[f"{name}_shift"]),
        ]
    params += [(name, plain[name]) for name in ("output_min", "output_max")]
    # A word is read before it is written, and pixels of a view lie further apart than those of the output.
    return KernelCall("dsp/add", tuple(params), distances=(0, 0))
