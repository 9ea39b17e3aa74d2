"""What the operators that multiply and accumulate say to rewrites: channels of zero weights are constant, and constant
inputs are part of the bias.

A window that reaches into the padding sees two values, a constant and the input's zero point: only where they are equal
is its output constant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from trecx.compiler.fixed_point import scaled
from trecx.compiler.ir import VARIES, Op
from trecx.compiler.ops import activation
from trecx.compiler.ops.channels import Channels


@dataclass(frozen=True, eq=False)
class Product(Op):
    """out[o] = clamp(zero point + requantize(bias[o] + sum of weights * inputs))."""

    channels: Channels
    activation: int

    computes: ClassVar[bool] = True

    @property
    def padded(self) -> bool:
        """Whether some output reads padding."""
        return False

    def absorbed(self, values: np.ndarray) -> np.ndarray:
        """Which input channels are part of the bias, given their `values`: constant, and the same in the padding."""
        return (values != VARIES) & ((values == self.inputs[0].zero_point) | (not self.padded))

    def activated(self, fixed: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """The outputs of the channels `fixed`, whose accumulators are `sums`."""
        low, high = activation.limits(self.activation, self.output)
        values = np.full(len(fixed), VARIES, np.int64)
        for k in np.flatnonzero(fixed):
            values[k] = scaled(int(sums[k]), self.channels.factors[k], self.output.zero_point, low, high)
        return values


@dataclass(frozen=True, eq=False)
class Dense(Product):
    """Every output channel reads every input channel: any subset can be computed, and read without what is absorbed."""

    def constants(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Constant where all weights that meet anything else are zero."""
        constant = self.absorbed(inputs[0])
        weights = self._weights(len(constant)).astype(np.int64)
        fixed = np.count_nonzero(weights[:, :, ~constant], axis=(1, 2)) == 0
        sums = self.channels.bias + weights[:, :, constant].sum(axis=1) @ inputs[0][constant]
        return (self.activated(fixed, sums),)

    def agree(self, values: Sequence[np.ndarray], inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        """An input channel goes that is absorbed, or whose weights are zero in every output that stays."""
        read = self._weights(len(values[0]))[~outputs[0]].any(axis=(0, 1))
        inputs[0][:] &= self.absorbed(values[0]) | ~read

    def narrowed(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], values: Sequence[np.ndarray]
    ) -> Self:
        """What constant inputs add goes into the bias."""
        folded = np.where(values[0] == VARIES, 0, values[0])
        return replace(self, channels=self.channels.dense(outputs[0], inputs[0], folded))

    def _weights(self, depth: int) -> np.ndarray:
        """(output channels, taps, input channels)."""
        return self.channels.weights.reshape(len(self.channels.bias), -1, depth)
