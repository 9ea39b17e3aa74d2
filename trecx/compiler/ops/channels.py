"""Weights, bias and requantization of the operators that multiply and accumulate."""

from dataclasses import dataclass

import numpy as np

from trecx.compiler.fixed_point import ACCUMULATOR_MAX, INT8_MAX, Multiplier, multiplier
from trecx.compiler.ir import Table, Tensor
from trecx.compiler.ops.inspection import Inspection


@dataclass(frozen=True, eq=False)
class Channels:
    """What each output channel needs. `bias` has the input's zero point folded in: b - zx * sum(w).

    `weights` is int8 in the file's layout, `bias` int32 `(channels,)`, `factors` has one entry per channel.
    """

    weights: np.ndarray
    bias: np.ndarray
    factors: tuple[Multiplier, ...]

    @property
    def shifts_right(self) -> bool:
        """Whether every channel shifts right by at least one bit, which spares the kernel a case."""
        return all(factor.shift < 0 for factor in self.factors)

    def dense(self, outputs: np.ndarray, inputs: np.ndarray, constants: np.ndarray) -> "Channels":
        """Only the channels `outputs`, reading only the input channels `inputs` (the weights' last axis, repeated).

        `constants` are the values of the input's channels; what those not in `inputs` add goes into the bias.
        """
        weights = self.weights.reshape(len(self.bias), -1, len(constants))[outputs]
        gone = np.delete(np.arange(len(constants)), inputs)
        bias = self.bias[outputs] + weights[:, :, gone].sum(axis=1, dtype=np.int64) @ constants[gone]
        shape = (len(outputs), *self.weights.shape[1:-1], self.weights.shape[-1] // len(constants) * len(inputs))
        return self._only(outputs, weights[:, :, inputs].reshape(shape), bias)

    def depthwise(self, outputs: np.ndarray) -> "Channels":
        """Only the channels `outputs`, where they are the weights' last axis."""
        return self._only(outputs, self.weights[..., outputs], self.bias[outputs])

    def _only(self, outputs: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> "Channels":
        return Channels(weights, bias.astype(np.int32), tuple(self.factors[k] for k in outputs))

    def tables(self) -> tuple[Table, ...]:
        """weights, bias, multipliers, shifts: the order in which kernels take them."""
        return (
            Table("weights", "int8_t", self.weights),
            Table("bias", "int32_t", self.bias),
            Table("multipliers", "int32_t", np.array([f.value for f in self.factors], np.int32)),
            Table("shifts", "int8_t", np.array([f.shift for f in self.factors], np.int8)),
        )


def check_weights(inspection: Inspection, rank: int, axis: int) -> np.ndarray:
    """The int8 weights at input 1, symmetric, per tensor or per channel along `axis`; Refused at once if unusable."""
    weights = inspection.constant(1, "weights", ("int8",), None)
    tensor = inspection.node.inputs[1]
    quant = tensor.quant if tensor is not None else None
    if inspection.require(weights.ndim == rank, f"weights have shape {weights.shape}; supported: rank {rank}"):
        count = len(quant.scale) if quant is not None else 1
        channels = weights.shape[axis]
        inspection.require(count in (1, channels), f"weights have {count} scales for {channels} channels")
        inspection.require(weights.size > 0, f"weights have shape {weights.shape}")
        if quant is not None and count > 1:
            inspection.require(quant.axis == axis, f"weights are quantized along axis {quant.axis}; supported: {axis}")
        inspection.scales(quant, "weights", count)
        symmetric = quant is not None and not any(quant.zero_point)
        inspection.require(symmetric, "weights have a zero point; supported: symmetric weights (zero point 0)")
    inspection.finish()
    return weights


def read_channels(inspection: Inspection, weights: np.ndarray, axis: int, source: Tensor, output: Tensor) -> Channels:
    """Bias and factors to `weights`; refuses what could leave int32.

    Scales are multiplied in double as the pinned TFLM does, for a per-tensor FULLY_CONNECTED too; the vectors hold
    cases that a float32 product would round differently.
    """
    count = weights.shape[axis]
    tensor = inspection.node.inputs[1]
    assert tensor is not None and tensor.quant is not None
    scales = tensor.quant.scale if len(tensor.quant.scale) == count else tensor.quant.scale * count
    factors = tuple(multiplier(source.scale * scale / output.scale) for scale in scales)
    bias = _bias(inspection, count)
    rows = np.moveaxis(weights, axis, 0).reshape(count, -1).astype(np.int64)
    folded = bias - source.zero_point * rows.sum(axis=1)
    # A folded accumulator meets taps of -128..127 in any order; every partial sum stays below this.
    bounds = np.abs(folded) + (INT8_MAX + 1) * np.abs(rows).sum(axis=1)
    wide = sum(bound > ACCUMULATOR_MAX for bound in bounds.tolist())
    inspection.require(not wide, f"the accumulators of {wide} of {count} channels could leave int32")
    inspection.finish()
    steep = sum(not factor.fits(bound) for factor, bound in zip(factors, bounds.tolist(), strict=True))
    inspection.require(not steep, f"the scales of {steep} of {count} channels amplify beyond int32")
    inspection.finish()
    return Channels(weights, folded.astype(np.int32), factors)


def _bias(inspection: Inspection, count: int) -> np.ndarray:
    """The int32 bias at input 2 as int64 `(count,)`; zeros where there is none."""
    inputs = inspection.node.inputs
    if len(inputs) < 3 or inputs[2] is None:
        return np.zeros(count, np.int64)
    bias = inspection.constant(2, "bias", ("int32",), (count,))
    quant = inputs[2].quant
    inspection.require(quant is None or not any(quant.zero_point), "bias has a zero point; supported: 0")
    return bias.astype(np.int64)
