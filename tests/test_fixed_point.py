"""The fixed-point arithmetic: Python against its definition in exact fractions, and the kernels' C against Python."""

import ctypes
import shutil
import subprocess
from fractions import Fraction
from math import ceil, exp, floor, ldexp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trecx import resources
from trecx.compiler.fixed_point import (
    INT32_MAX,
    Multiplier,
    mean_multiplier,
    multiplier,
    multiply_high,
    requantize,
    round_shift,
    softmax_table,
)

INT32 = st.integers(-INT32_MAX, INT32_MAX)
VALUES = st.integers(2**30, INT32_MAX)

SOURCE = """#include "kernels/requantize.h"
#include "kernels/softmax.h"
int32_t multiply_high(int32_t a, int32_t b) { return trecx_multiply_high(a, b); }
int32_t round_shift(int32_t x, int32_t right) { return trecx_round_shift(x, right); }
int32_t requantize(int32_t x, int32_t m, int32_t s) { return trecx_requantize(x, m, s); }
int32_t requantize_right(int32_t x, int32_t m, int32_t s) { return trecx_requantize_right(x, m, s); }
int32_t reciprocal(int32_t half) { return trecx_reciprocal(half); }
"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """The kernels' arithmetic as a shared library that aborts on undefined behaviour."""
    folder = tmp_path_factory.mktemp("fixed_point")
    (folder / "fixed_point.c").write_text(SOURCE, encoding="utf-8")
    library = folder / "fixed_point.so"
    flags = ["-O1", "-shared", "-fPIC", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    command = [shutil.which("gcc") or "cc", "-std=c11", *flags, f"-I{resources.folder('firmware')}"]
    subprocess.run([*command, str(folder / "fixed_point.c"), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def half_up(x: Fraction) -> int:
    return floor(x + Fraction(1, 2))


def half_away(x: Fraction) -> int:
    return half_up(x) if x >= 0 else -half_up(-x)


@given(INT32, INT32)
def test_multiply_high_rounds_the_exact_product_half_up(kernels, a, b):
    assert multiply_high(a, b) == half_up(Fraction(a * b, 2**31)) == kernels.multiply_high(a, b)


@given(st.integers(1 - INT32_MAX, INT32_MAX - 1), st.integers(1, 31))
def test_round_shift_rounds_half_away_from_zero_without_overflow(kernels, x, right):
    assert round_shift(x, right) == half_away(Fraction(x, 2**right)) == kernels.round_shift(x, right)


@pytest.mark.parametrize("right", range(1, 32))
def test_round_shift_at_ties_and_ends(kernels, right):
    half = 2 ** (right - 1)
    for x in (0, half, -half, half - 1, 1 - half, half + 1, -half - 1, 3 * half, -3 * half, 2**31 - 2, 2 - 2**31):
        if abs(x) < INT32_MAX:
            assert kernels.round_shift(x, right) == half_away(Fraction(x, 2**right))


@given(INT32, VALUES, st.integers(-31, 30))
def test_requantize_in_c_is_requantize_in_python(kernels, x, value, shift):
    factor = Multiplier(value, shift)
    x = x if factor.fits(abs(x)) else x >> max(shift, 0) + 1
    assert factor.fits(abs(x))
    assert kernels.requantize(x, value, shift) == requantize(x, factor)
    if shift < 0:
        assert kernels.requantize_right(x, value, shift) == requantize(x, factor)


@given(INT32, st.floats(1e-9, 0.99))
def test_requantize_is_within_two_roundings_of_the_real_product(x, real):
    error = requantize(x, multiplier(real)) - Fraction(x) * Fraction(real)
    # Half a unit for each rounding and the multiplier's own error of at most 2^-31 of the product.
    assert abs(error) <= 1 + abs(Fraction(x) * Fraction(real)) / 2**31


@given(st.floats(0, 1e30, allow_subnormal=True))
def test_a_multiplier_is_the_nearest_of_31_bits(real):
    factor = multiplier(real)
    if factor.value == 0:
        assert factor.shift == 0 and real < 2.0**-32
        return
    assert 2**30 <= factor.value < 2**31 and factor.shift >= -31
    assert abs(Fraction(factor.value) * Fraction(2) ** (factor.shift - 31) - Fraction(real)) <= Fraction(real) / 2**31


def test_multipliers_at_the_edges():
    assert multiplier(0.0) == Multiplier(0, 0)
    assert multiplier(1.0) == Multiplier(2**30, 1)
    assert multiplier(0.5) == Multiplier(2**30, 0)
    # Rounds up to 2^31, which is renormalised.
    assert multiplier(1 - 2.0**-40) == Multiplier(2**30, 1)
    assert multiplier(ldexp(0.5, -31)) == Multiplier(2**30, -31)
    assert multiplier(ldexp(0.99, -32)) == Multiplier(0, 0)


@given(st.integers(0, INT32_MAX), VALUES, st.integers(-31, 40))
def test_what_fits_stays_within_int32(bound, value, shift):
    if Multiplier(value, shift).fits(bound):
        assert abs(requantize(bound, Multiplier(value, shift))) + 128 <= INT32_MAX
        assert bound << max(shift, 0) <= INT32_MAX


@given(st.floats(1e-4, 100), st.integers(1, 2**20))
def test_the_mean_multiplier_divides_by_the_count(real, count):
    factor = mean_multiplier(real, count)
    assert 0 <= factor.value <= INT32_MAX and factor.shift >= -31
    got = Fraction(factor.value) * Fraction(2) ** (factor.shift - 31)
    assert abs(got - Fraction(real) / count) <= Fraction(real) / count / 2**28


@given(st.floats(1e-5, 20), st.sampled_from([0.5, 1.0, 2.0]))
def test_the_softmax_table_is_the_exponential(scale, beta):
    table = softmax_table(scale, beta)
    assert table is not None and table.dtype == np.int32
    exact = np.array([exp(-beta * scale * d) for d in range(256)])
    assert table[0] == INT32_MAX
    assert np.all(np.diff(table.astype(np.int64)) <= 0) and np.all(table >= 0)
    assert np.max(np.abs(table / 2.0**31 - exact)) < 1e-6


def test_softmax_refuses_a_scale_below_its_fixed_point():
    assert softmax_table(2.0**-26, 1.0) is None
    assert softmax_table(2.0**-25, 1.0) is not None


@settings(max_examples=300)
@given(st.integers(2**30, INT32_MAX))
def test_the_reciprocal_of_softmax_is_close(kernels, half):
    exact = min(Fraction(2**61) / half, Fraction(INT32_MAX))
    assert abs(kernels.reciprocal(half) - exact) <= max(64, ceil(exact / 2**24))
