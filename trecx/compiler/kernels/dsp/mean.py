"""MEAN for the DSP extension: `firmware/kernels/dsp/mean.h`."""

from dataclasses import replace

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.kernels.dsp.average_pool_2d import MOST_TAPS
from trecx.compiler.ops.mean import Mean
from trecx.compiler.target import Target


def mean(op: Op, target: Target) -> KernelCall | None:
    """Images whose sums fit int16."""
    assert isinstance(op, Mean)
    source = op.inputs[0]
    if source.shape[1] * source.shape[2] > MOST_TAPS:
        return None
    # Channels are written behind those still to be read.
    return replace(op.call(), kernel="dsp/mean", distances=(0,))
