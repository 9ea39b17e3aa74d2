"""FULLY_CONNECTED: four outputs at a time."""

import numpy as np

from trecx.compiler.ir import KernelCall, Op, Table
from trecx.compiler.kernels.mve import requantization
from trecx.compiler.ops import activation
from trecx.compiler.ops.fully_connected import FullyConnected
from trecx.compiler.ops.runs import Runs
from trecx.compiler.overlap import Step, distance
from trecx.compiler.params import params
from trecx.compiler.target import Target

UNITS, BLOCK = requantization.GROUP, 16


def fully_connected(op: Op, _: Target) -> KernelCall | None:
    """`mve/fully_connected`, for factors below 1/2."""
    assert isinstance(op, FullyConnected)
    if not requantization.shifts_right(op.channels):
        return None
    runs, outputs = Runs.of(op.inputs[0]), op.output.size
    layer = params(input=runs, outputs=outputs, output=activation.output(op.activation, op.output))
    tables = Table("weights", "int8_t", pack(op.channels.weights, runs)), requantization.vectors(op.channels)
    groups = (Step(0, min(o + UNITS, outputs)) for o in range(0, outputs, UNITS))
    return KernelCall("mve/fully_connected", layer, tables, distances=(distance(groups),))


def pack(weights: np.ndarray, runs: Runs) -> np.ndarray:
    """(outputs, inputs) to (groups of outputs, runs, blocks, UNITS, BLOCK), filled up with zeros."""
    units, blocks = -(-len(weights) // UNITS) * UNITS, -(-runs.length // BLOCK)
    filled = np.zeros((units, runs.count, blocks * BLOCK), np.int8)
    filled[: len(weights), :, : runs.length] = weights.reshape(len(weights), runs.count, runs.length)
    return filled.reshape(units // UNITS, UNITS, runs.count, blocks, BLOCK).transpose(0, 2, 3, 1, 4)
