"""The integer exit decision against the float softmax that it stands for."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trecx import criteria

SCALES = st.floats(0.005, 2.0)
THRESHOLDS = st.floats(0.01, 1.0)
VECTORS = st.integers(2, 20).flatmap(lambda k: hnp.arrays(np.int8, (7, k)))


def _highest_score(logits, scale):
    distance = (logits.astype(float).max(axis=-1, keepdims=True) - logits) * scale
    return 1.0 / np.exp(-distance).sum(axis=-1)


@given(VECTORS, SCALES)
def test_sums_are_softmax_within_half_a_step_per_class(logits, scale):
    exact = 65536.0 / _highest_score(logits, scale)
    assert np.abs(criteria.sums(logits, scale) - exact).max() <= 0.5 * (logits.shape[-1] - 1) + 1e-6


@given(VECTORS, SCALES, THRESHOLDS)
def test_decision_is_the_float_softmax_decision_outside_the_rounding_band(logits, scale, threshold):
    score = _highest_score(logits, scale)
    leaves = criteria.sums(logits, scale) <= criteria.limit(threshold)
    band = (0.5 * logits.shape[-1] + 1) / 65536
    clear = np.abs(1.0 / score - 1.0 / threshold) > band
    assert np.array_equal(leaves[clear], (score >= threshold)[clear])


@pytest.mark.parametrize(("classes", "scale"), [(12, 0.12), (10, 0.08), (2, 0.05)])
@pytest.mark.parametrize("threshold", [0.8, 0.95, 0.99, 0.998])
def test_at_most_one_decision_in_two_thousand_differs_from_float(classes, scale, threshold):
    rng = np.random.default_rng(classes)
    logits = np.clip(rng.normal(0, 40, (20_000, classes)), -128, 127).astype(np.int8)
    leaves = criteria.sums(logits, scale) <= criteria.limit(threshold)
    assert 0.001 < leaves.mean() < 0.99
    assert (leaves != (_highest_score(logits, scale) >= threshold)).mean() < 1 / 2000


def test_thresholds_above_what_int8_scores_can_express_still_leave():
    logits = np.array([[127, -128, -128]], np.int8)
    assert criteria.sums(logits, 0.1)[0] <= criteria.limit(0.999)
    assert criteria.sums(logits, 0.1)[0] <= criteria.limit(1.0)


@given(VECTORS, SCALES, THRESHOLDS, THRESHOLDS)
def test_raising_the_threshold_never_makes_a_sample_leave(logits, scale, one, other):
    low, high = sorted((one, other))
    sums = criteria.sums(logits, scale)
    assert criteria.limit(high) <= criteria.limit(low)
    assert not ((sums <= criteria.limit(high)) & ~(sums <= criteria.limit(low))).any()


@given(hnp.arrays(np.int8, (9, 3, 5)), SCALES, SCALES)
def test_never_goes_to_the_end_and_always_leaves_at_once(logits, first, second):
    assert (criteria.exit_taken(logits, (first, second), (criteria.NEVER, criteria.NEVER)) == 2).all()
    assert (criteria.exit_taken(logits, (first, second), (criteria.ALWAYS, criteria.ALWAYS)) == 0).all()
    assert (criteria.exit_taken(logits, (first, second), (criteria.NEVER, criteria.ALWAYS)) == 1).all()


@given(hnp.arrays(np.int8, (9, 3, 5)), SCALES, st.tuples(THRESHOLDS, THRESHOLDS))
def test_exit_taken_is_the_first_exit_that_may_answer(logits, scale, thresholds):
    limits = tuple(criteria.limit(t) for t in thresholds)
    taken = criteria.exit_taken(logits, (scale, scale), limits)
    for sample, exit_index in zip(logits, taken, strict=True):
        leaves = [bool(criteria.sums(sample[k], scale) <= limits[k]) for k in range(2)] + [True]
        assert exit_index == leaves.index(True)
    assert taken.dtype == np.uint8


@given(hnp.arrays(np.int8, (6, 8)), SCALES, st.integers(-255, 255))
def test_decision_depends_on_distances_only(logits, scale, shift):
    moved = logits.astype(int) + shift
    inside = ((moved >= -128) & (moved <= 127)).all(axis=1)
    assert np.array_equal(criteria.sums(moved[inside].astype(np.int8), scale), criteria.sums(logits[inside], scale))


@given(SCALES)
def test_table_starts_at_one_and_falls(scale):
    table = criteria.table(scale)
    assert table[0] == 65536 and table.shape == (256,) and table.dtype == np.uint32
    assert (np.diff(table.astype(np.int64)) <= 0).all()


def test_sums_of_the_most_classes_fit_32_bits():
    assert int(criteria.sums(np.zeros((1, 256), np.int8), 0.1)[0]) == 256 * 65536 < 2**32


@settings(max_examples=300)
@given(st.floats(1e-4, 1.0))
def test_limit_is_the_floor_of_the_exact_quotient_within_float_rounding(threshold):
    exact = 65536 / Fraction(threshold)
    assert abs(criteria.limit(threshold) - exact) < 1
    assert criteria.limit(threshold) <= exact * (1 + Fraction(1, 2**52))


def test_limits_stay_in_32_bits_for_any_threshold():
    assert criteria.limit(None) == criteria.NEVER == 0
    assert criteria.limit(1.0) == 65536
    assert criteria.limit(0.5) == 131072
    assert criteria.limit(1e-300) == criteria.limit(5e-324) == criteria.ALWAYS
