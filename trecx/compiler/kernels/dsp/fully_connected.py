"""FULLY_CONNECTED by pairs of outputs, with the weights of the convolutions."""

import numpy as np

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.kernels.dsp.gemm import Gemm
from trecx.compiler.ops.fully_connected import FullyConnected
from trecx.compiler.ops.runs import Runs
from trecx.compiler.params import params
from trecx.compiler.target import Target


def fully_connected(op: Op, target: Target) -> KernelCall | None:
    """Inputs without gaps."""
    assert isinstance(op, FullyConnected)
    runs = Runs.of(op.inputs[0])
    gemm = Gemm.of(op.channels, op.output, op.activation, np.arange(op.inputs[0].size), any_rounding=True)
    if runs.count > 1 or gemm is None:
        return None
    layer = params(inputs=runs.length, outputs=op.output.size, output=gemm.output)
    return KernelCall("dsp/fully_connected", layer, (gemm.weights,))
