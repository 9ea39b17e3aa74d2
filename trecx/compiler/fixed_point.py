"""The fixed-point arithmetic of int8 inference in exact integers, as TFLM's kernels compute it ("double rounding").

A real factor becomes multiplier * 2^(shift - 31). The generated C repeats `requantize` with the constants made here;
everything that it only needs in tables (softmax) is evaluated here.
"""

from dataclasses import dataclass
from math import floor, frexp

import numpy as np

INT8_MIN, INT8_MAX = -128, 127
INT32_MAX = 2**31 - 1

# What an accumulator may reach once shifted left: the kernels add a zero point of at most 8 bits to the result.
ACCUMULATOR_MAX = INT32_MAX - 256

# Softmax works on differences with 5 integer and 26 fraction bits.
_DIFFERENCE_FRACTION_BITS = 26
_DIFFERENCE_MAX = 31

# e^(-2^k) for k = -2..4 as fractions of 2^31, and e^(-1/8).
_EXP_OF_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
_EXP_OF_MINUS_EIGHTH = 1895147668
_ONE_THIRD = 715827883


@dataclass(frozen=True)
class Multiplier:
    """A real factor as `value * 2^(shift - 31)`, `value` in [2^30, 2^31) or 0, `shift` at least -31."""

    value: int
    shift: int

    def fits(self, bound: int) -> bool:
        """Whether `requantize` of every |x| <= `bound`, plus a zero point, stays within int32."""
        return self.shift <= 30 and bound << max(self.shift, 0) <= ACCUMULATOR_MAX


def multiplier(real: float) -> Multiplier:
    """The nearest multiplier of a finite, non-negative factor; factors below 2^-32 become 0."""
    fraction, shift = frexp(real)
    value = floor(fraction * 2**31 + 0.5)
    if value == 2**31:
        value, shift = value // 2, shift + 1
    return Multiplier(0, 0) if value == 0 or shift < -31 else Multiplier(value, shift)


def multiply_high(a: int, b: int) -> int:
    """`a * b / 2^31`, rounded half up."""
    return (a * b + 2**30) >> 31


def round_shift(x: int, right: int) -> int:
    """`x / 2^right`, rounded half away from zero."""
    return x if right == 0 else (x + (-1 if x < 0 else 0) + 2 ** (right - 1)) >> right


def requantize(x: int, factor: Multiplier) -> int:
    """`x` times the real factor, rounded twice: to 32 bits, then by the right shift."""
    return round_shift(multiply_high(x << max(factor.shift, 0), factor.value), max(-factor.shift, 0))


def scaled(x: int, factor: Multiplier, zero_point: int, low: int = INT8_MIN, high: int = INT8_MAX) -> int:
    """The int8 output of a kernel for the accumulator `x`."""
    return min(max(zero_point + requantize(x, factor), low), high)


def mean_multiplier(real: float, count: int) -> Multiplier:
    """The factor `real / count` of MEAN, which divides the multiplier, kept as wide as 32 bits allow, by `count`."""
    factor = multiplier(real)
    widen = min(count.bit_length() - 1, 32, 31 + factor.shift)
    return Multiplier((factor.value << widen) // count, factor.shift - widen)


def softmax_table(scale: float, beta: float) -> np.ndarray | None:
    """`exp(-beta * scale * d)` for d = 0..255 in int32 fractions of 2^31, 0 where softmax ignores the difference.

    None where `beta * scale` is too small for TFLM's fixed point (2^-26 and below).
    """
    real = min(beta * scale * 2**_DIFFERENCE_FRACTION_BITS, float(INT32_MAX))
    if not real > 1.0:
        return None
    factor = multiplier(real)
    widest = (_DIFFERENCE_MAX << _DIFFERENCE_FRACTION_BITS) >> factor.shift
    values = [_exp(multiply_high(-d << factor.shift, factor.value)) if d <= widest else 0 for d in range(256)]
    return np.array(values, np.int32)


def _exp(x: int) -> int:
    """`e^x` as a fraction of 2^31 for x <= 0 with 26 fraction bits: a Taylor series on (-1/4, 0], then products."""
    if x == 0:
        return INT32_MAX
    quarter = 1 << 24
    near = (x & (quarter - 1)) - quarter
    rest = near - x
    t = (near << 5) + (1 << 28)
    t2 = multiply_high(t, t)
    t3 = multiply_high(t2, t)
    t4 = multiply_high(t2, t2)
    series = round_shift(multiply_high(round_shift(t4, 2) + t3, _ONE_THIRD) + t2, 1)
    result = _EXP_OF_MINUS_EIGHTH + multiply_high(_EXP_OF_MINUS_EIGHTH, t + series)
    for bit, power in enumerate(_EXP_OF_POWERS):
        if rest & (quarter << bit):
            result = multiply_high(result, power)
    return result
