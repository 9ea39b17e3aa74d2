"""Tables of `firmware/kernels/portable/scale.h`, and whether its arithmetic holds for a layer."""

from dataclasses import dataclass

import numpy as np

from trecx.compiler.fixed_point import INT8_MAX, requantize
from trecx.compiler.ir import Table
from trecx.compiler.ops.channels import Channels
from trecx.compiler.params import Output

_WIDE = 2**30
_NARROW = 2**20
# A channel without weights as bias = 4 * (output - zero point), times 1/4.
_CONSTANT = 4
_QUARTER = (2**30, 1)


@dataclass(frozen=True, eq=False)
class Scaling:
    """bias, multipliers, rights of every channel; `narrow` where no accumulator reaches 2^20."""

    bias: np.ndarray
    multipliers: np.ndarray
    rights: np.ndarray
    narrow: bool

    def tables(self) -> tuple[Table, ...]:
        """multipliers, rights."""
        return (
            Table("multipliers", "int32_t", self.multipliers),
            Table("rights", "uint8_t", self.rights),
        )


def rows(channels: Channels, axis: int) -> np.ndarray:
    """The weights as int64 `(channels, taps)`."""
    return np.moveaxis(channels.weights, axis, 0).reshape(len(channels.factors), -1).astype(np.int64)


def scaling(channels: Channels, axis: int, output: Output) -> Scaling | None:
    """The tables of weights with the output channels on `axis`; None where the short form is not exact."""
    zero_point, low, high = output.zero_point, output.range.min, output.range.max
    magnitudes = np.abs(rows(channels, axis)).sum(axis=1)
    bias, multipliers, rights, bounds = [], [], [], []
    for b, factor, magnitude in zip(channels.bias.tolist(), channels.factors, magnitudes.tolist(), strict=True):
        if magnitude == 0:
            constant = min(max(requantize(b, factor) + zero_point, low), high)
            b, value, right = _CONSTANT * (constant - zero_point), *_QUARTER
        else:
            value, right = factor.value, -factor.shift
        bias.append(b)
        multipliers.append(value)
        rights.append(right)
        bounds.append(abs(b) + (INT8_MAX + 1) * magnitude)
    rounding = [abs(2 * (zero_point - low) + 1) << max(right - 1, 0) for right in rights]
    short = all(right >= 1 for right in rights) and max(bounds) < _WIDE
    if not short or any(bound + extra >= 2**31 for bound, extra in zip(bounds, rounding, strict=True)):
        return None
    return Scaling(
        np.array(bias, np.int32),
        np.array(multipliers, np.int32),
        np.array(rights, np.uint8),
        max(bounds) < _NARROW,
    )
