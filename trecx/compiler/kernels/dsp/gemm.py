"""What the DSP convolutions and FULLY_CONNECTED share: weights as `firmware/kernels/dsp/gemm.h` reads them, and which
of its roundings computes a layer. The arithmetic is explained there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trecx.compiler.fixed_point import INT8_MAX, INT8_MIN, Multiplier, requantize
from trecx.compiler.ir import Table, Tensor
from trecx.compiler.ops import activation
from trecx.compiler.ops.channels import Channels
from trecx.compiler.params import Output, Range

# The enumeration of gemm.h.
POSITIVE, SIGNED, ANY = range(3)

SLOTS = 3
# A right shift of r has r + 6 in its byte.
_SHIFT_EXTRA = 6
_MAX_SHIFT = 16

_QUARTER = Multiplier(2**30, -1)
_BEYOND = 2**8  # with any zero point outside int8


@dataclass(frozen=True, eq=False)
class Gemm:
    """A layer as gemm.h computes it."""

    rounding: int
    output: Output
    weights: Table

    @classmethod
    def of(
        cls, channels: Channels, output: Tensor, function: int, order: np.ndarray, *, any_rounding: bool = False
    ) -> "Gemm | None":
        """The layer whose taps lie in the order `order` in a column; None where its numbers do not fit.

        `any_rounding` keeps to the rounding that C computes.
        """
        units = len(channels.factors)
        rows = channels.weights.reshape(units, -1)[:, order].astype(np.int64)
        rows = np.pad(rows, ((0, units % 2), (0, -rows.shape[1] % 4)))
        bias, factors = _constant_channels(channels, rows)
        if not _fits(rows, bias):
            return None
        last = activation.output(function, output)
        rounding = ANY if any_rounding else _rounding(factors, units, last)
        words = 256 * rows[:, 0::2] + rows[:, 1::2]
        sums = 256 * bias - INT8_MAX * rows[:, 1::2].sum(axis=1)
        pairs = [
            np.concatenate(
                [
                    sums[k : k + 2],
                    _interleaved(words[k : k + 2]),
                    _constants(factors[k : k + 2], rounding, output.zero_point),
                ]
            )
            for k in range(0, len(rows), 2)
        ]
        return cls(rounding, last, Table("weights", "uint32_t", np.concatenate(pairs).astype(np.uint32)))


def scratch(terms: int) -> int:
    """Bytes of the columns of a tile: two int16 for every two of `terms`, in steps of four."""
    return SLOTS * 2 * (-(-terms // 4) * 4)


def _fits(rows: np.ndarray, bias: np.ndarray) -> bool:
    """Whether weights pack and no sum on the way to 256 times the accumulator leaves int32."""
    halves = 256 * rows[:, 0::2] + rows[:, 1::2]
    way = 256 * (np.abs(bias) - INT8_MIN * np.abs(rows).sum(axis=1)) + 2 * INT8_MAX * np.abs(rows).sum(axis=1)
    return bool((np.abs(halves) < 2**15).all() and (way < 2**31 - 2**17).all())


def _constant_channels(channels: Channels, rows: np.ndarray) -> tuple[np.ndarray, tuple[Multiplier, ...]]:
    """Bias and factor of every row, small for those without weights: files give them any, the largest even.

    Such a channel is 4q * 1/4 for the number q that its bias becomes, or one that is clamped as well as q.
    """
    bias = np.zeros(len(rows), np.int64)
    bias[: len(channels.factors)] = channels.bias
    factors = list(channels.factors) + [_QUARTER] * (len(rows) - len(channels.factors))
    for k in np.flatnonzero(~rows.any(axis=1)).tolist():
        bias[k] = 4 * max(-_BEYOND, min(_BEYOND, requantize(int(bias[k]), factors[k])))
        factors[k] = _QUARTER
    return bias, tuple(factors)


def _rounding(factors: Sequence[Multiplier], units: int, output: Output) -> int:
    """The cheapest rounding that is exact."""
    usual = units % 2 == 0 and all(-_MAX_SHIFT <= factor.shift < 0 for factor in factors)
    if not usual or output.range != Range(INT8_MIN, INT8_MAX):
        return ANY
    return POSITIVE if output.zero_point == INT8_MIN else SIGNED


def _interleaved(words: np.ndarray) -> np.ndarray:
    """Halves of two channels, (2, n), as words that alternate between the channels."""
    halves = words.reshape(2, -1, 2) & 0xFFFF
    packed: np.ndarray = (halves[..., 0] | halves[..., 1] << 16).T.ravel()
    return packed


def _constants(factors: Sequence[Multiplier], rounding: int, zero_point: int) -> np.ndarray:
    values = [factor.value for factor in factors]
    if rounding == ANY:
        return np.array([*values, *(factor.shift for factor in factors), 0], np.int64)
    shifts = [_SHIFT_EXTRA - factor.shift for factor in factors]
    offsets = [((2 * zero_point + 1) << shift) + 2**_SHIFT_EXTRA for shift in shifts]
    return np.array([*values, *offsets, shifts[0] | shifts[1] << 8], np.int64)
