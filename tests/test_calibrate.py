"""Calibration against brute force, and the promise of its bound on new samples."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_traces import DECISION, synthetic, taken

from trecx.decision import ALWAYS, NEVER, Entropy, Gate, Margin, MaxScore
from trecx.errors import TrecxError
from trecx.judge import calibrate as c
from trecx.judge import losses
from trecx.judge.sweep import sweep
from trecx.judge.trace import Trace


def _brute_force(trace, decisions, *limits):
    at = limits if len(limits) == len(decisions) else limits * len(decisions)
    found = taken(trace.logits, decisions, at)
    return found, trace.right()[np.arange(len(trace)), found]


@pytest.mark.parametrize("accuracies", [(0.8, 0.9), (0.7, 0.8, 0.9), (0.75, 0.6, 0.85, 0.9)])
def test_sweep_equals_brute_force_at_and_between_all_limits(accuracies):
    trace, scales = synthetic(150, accuracies, seed=4), (0.12, 0.05, 0.3)[: len(accuracies) - 1]
    decisions = tuple(MaxScore(scale) for scale in scales)
    swept = sweep(trace, decisions)
    for point, (limit, *_) in enumerate(swept.limits):
        for inside in {
            int(limit),
            int(swept.limits[point + 1, 0]) - 1 if point + 1 < len(swept.limits) else ALWAYS,
        }:
            found, right = _brute_force(trace, decisions, inside)
            assert swept.taken[point].tolist() == np.bincount(found, minlength=trace.exits).tolist()
            assert swept.right[point].sum() == right.sum()


@pytest.mark.parametrize("kinds", [(Entropy, Entropy), (Margin, Margin), (Margin, Entropy)])
def test_sweep_of_any_criteria_equals_brute_force_on_its_path(kinds):
    trace = synthetic(120, (0.7, 0.8, 0.9), seed=4)
    decisions = tuple(kind(scale) for kind, scale in zip(kinds, (0.12, 0.05), strict=True))
    swept = sweep(trace, decisions)
    assert swept.limits[0].tolist() == [0, 0] and (np.diff(swept.limits, axis=0) >= 0).all()
    for point, limits in enumerate(swept.limits.tolist()):
        found, right = _brute_force(trace, decisions, *limits)
        assert swept.taken[point].tolist() == np.bincount(found, minlength=trace.exits).tolist()
        assert swept.right[point].sum() == right.sum()
    found = c.calibrate(trace, decisions, points=3.0, confidence=0.5)
    assert tuple(one.limit(t) for one, t in zip(decisions, found.thresholds, strict=True)) == found.limits
    assert found.exit_rate > 0 and found.loss <= 3.0


def test_where_nothing_is_sure_the_surest_of_all_exits_answers():
    trace = synthetic(300, (0.7, 0.8, 0.9), seed=4)
    decisions = (DECISION,) * 3
    swept = sweep(trace, decisions)
    for point, limits in enumerate(swept.limits.tolist()):
        found, right = _brute_force(trace, decisions, *limits, NEVER)
        statistic = np.stack([DECISION.statistic(trace.logits[:, k]) for k in range(3)], axis=1)
        went = ~(statistic[:, :2] <= limits).any(axis=1)
        surest = np.array([max(k for k in range(3) if row[k] == row.min()) for row in statistic])
        assert np.array_equal(found[went], surest[went])
        assert swept.taken[point, -1] == went.sum() and swept.right[point].sum() == right.sum()
    assert (surest != 2).sum() > 10


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 4))
def test_sweep_is_monotone_in_the_limit_and_ends_with_everybody_out(seed, samples, exits):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-20, 20, (samples, exits, 3), np.int8)
    trace = Trace(logits, logits, np.zeros(samples, np.uint8), rng.integers(0, 3, samples).astype(np.int32))
    swept = sweep(trace, (MaxScore(0.1),) * (exits - 1))
    assert (np.diff(swept.taken[:, -1]) <= 0).all()
    assert swept.taken[0, -1] == samples and swept.taken[-1, -1] == 0
    assert (swept.taken.sum(axis=1) == samples).all() and (swept.right <= swept.taken).all()


def test_observed_loss_alone_gives_the_brute_force_optimum():
    trace = synthetic(400, seed=2)
    found = c.calibrate(trace, (DECISION,), points=1.0, confidence=0.5)
    final = trace.right()[:, -1].sum()
    allowed = []
    for (limit,) in sweep(trace, (DECISION,)).limits:
        loss = 100 * (final - _brute_force(trace, (DECISION,), int(limit))[1].sum()) / len(trace)
        if loss > 1.0:
            break
        allowed.append(int(limit))
    assert found.limits == found_limits(found) == (max(allowed),)
    assert 0.3 < found.exit_rate < 1.0 and found.loss <= 1.0


def found_limits(calibration):
    return tuple(DECISION.limit(threshold) for threshold in calibration.thresholds)


def test_chosen_limit_stays_within_the_bound_and_reports_itself_truly():
    trace = synthetic(2000, seed=5)
    found = c.calibrate(trace, (DECISION,))
    answered, right = _brute_force(trace, (DECISION,), *found.limits)
    assert found.bound <= 1.0 and found.loss < found.bound
    assert found.exit_rate == pytest.approx((answered == 0).mean())
    assert found.loss == pytest.approx(100 * (trace.right()[:, 1].mean() - right.mean()))
    assert found.limits == found_limits(found) and found.samples == 2000 and found.reference == c.FINAL_EXIT
    assert found.exit_rate > 0.5 and found.unbounded_exit_rate > found.exit_rate


def test_more_confidence_more_samples_and_more_points_move_the_exit_rate_the_right_way():
    trace = synthetic(2000, seed=6)
    by_confidence = [c.calibrate(trace, (DECISION,), confidence=level).exit_rate for level in (0.5, 0.8, 0.95, 0.999)]
    by_points = [c.calibrate(trace, (DECISION,), points=p).exit_rate for p in (0.2, 1.0, 3.0, 100.0)]
    assert by_confidence == sorted(by_confidence, reverse=True) and by_confidence[0] > by_confidence[-1]
    assert by_points == sorted(by_points) and by_points[-1] == 1.0
    small, large = (c.calibrate(synthetic(n, seed=7), (DECISION,)) for n in (300, 6000))
    assert large.unbounded_exit_rate - large.exit_rate < small.unbounded_exit_rate - small.exit_rate


def test_realised_loss_keeps_the_promise_as_often_as_claimed():
    population = synthetic(40_000, seed=8)
    rng = np.random.default_rng(9)
    kept = {0.5: 0, 0.8: 0, 0.95: 0}
    draws = 60
    for _ in range(draws):
        part = rng.choice(len(population), 1500, replace=False)
        seen = Trace(*(getattr(population, name)[part] for name in ("logits", "scores", "exit_taken", "labels")))
        for confidence in kept:
            limits = c.calibrate(seen, (DECISION,), confidence=confidence).limits
            right = _brute_force(population, (DECISION,), *limits)[1]
            kept[confidence] += 100 * (population.right()[:, 1].mean() - right.mean()) <= 1.0
    assert kept[0.8] / draws > 0.8 and kept[0.95] / draws > 0.93
    assert kept[0.5] < kept[0.8] <= kept[0.95]


def test_loss_is_paired_with_the_backbone_where_it_is_given():
    trace = synthetic(2000, seed=5)
    rng = np.random.default_rng(1)
    better = trace.right()[:, 1] | (rng.random(2000) < 0.3)
    against_final, against_better = (
        c.calibrate(trace, (DECISION,)),
        c.calibrate(trace, (DECISION,), reference_right=better),
    )
    assert against_better.reference == c.BACKBONE
    assert against_better.exit_rate < against_final.exit_rate
    with pytest.raises(TrecxError, match="same split"):
        c.calibrate(trace, (DECISION,), reference_right=better[:10])


def test_a_hopeless_final_exit_means_never_and_says_so():
    trace = synthetic(500, (0.5, 0.6), seed=3)
    found = c.calibrate(trace, (DECISION,), reference_right=np.ones(500, bool))
    assert found.thresholds == (None,) and found.limits == (NEVER,) and found.exit_rate == 0.0
    assert "nothing leaves early" in found.warnings[0] and "lower --confidence" in found.warnings[0]
    behind = 100 * (1 - trace.right()[:, 1].mean())
    assert f"The final exit alone loses {behind:.2f} points against the backbone alone" in found.warnings[0]
    assert "choose --against final" in found.warnings[0]


def test_an_exit_that_is_wrong_where_it_is_surest_never_answers_and_says_what_can_be_done():
    trace = synthetic(200, (0.0, 0.9), seed=3)
    for right in (None, trace.right()[:, 1]):
        found = c.calibrate(trace, (DECISION,), confidence=0.5, points=0.0, reference_right=right)
        assert found.thresholds == (None,) and found.bound == 0
        (told,) = found.warnings
        assert told.endswith("nothing leaves early. To let samples leave, allow more with --points.")


def test_a_threshold_that_lets_samples_leave_is_not_warned_about():
    assert c.calibrate(synthetic(2000, seed=5), (DECISION,), confidence=0.5).warnings == ()


def test_too_few_samples_are_named_with_what_more_would_give():
    found = c.calibrate(synthetic(60, seed=1), (DECISION,), points=2.0, confidence=0.99)
    assert found.exit_rate < 0.5 * found.unbounded_exit_rate
    assert any("60 samples do not show more" in w for w in found.warnings)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(100, 5000))
def test_bound_rises_with_confidence_and_never_lies_below_the_observed_loss(only_reference, only_exits, samples):
    args = np.array([only_reference]), np.array([only_exits]), samples
    low, mid, high = (float(losses.paired_bound(*args, level)[0]) for level in (0.5, 0.8, 0.95))
    assert (only_reference - only_exits) / samples <= low <= mid <= high
    assert high > (only_reference - only_exits) / samples


def test_bound_covers_the_true_loss_as_often_as_claimed():
    rng = np.random.default_rng(0)
    for p_reference, p_exits, n in [(0.02, 0.01, 400), (0.03, 0.03, 1500), (0.005, 0.0, 300)]:
        cells = rng.multinomial(n, [p_reference, p_exits, 1 - p_reference - p_exits], 4000)
        for level in (0.8, 0.95):
            covered = (losses.paired_bound(cells[:, 0], cells[:, 1], n, level) >= p_reference - p_exits).mean()
            assert covered > level - 0.03


def test_break_even_is_the_formula_of_the_cost_model():
    ta, te, tb, extra = 100.0, 12.0, 80.0, 5.0
    rate = c.break_even((ta + te, ta + te + tb + extra), ta + tb)
    assert rate == pytest.approx((te + extra) / (tb + extra))
    mean = rate * (ta + te) + (1 - rate) * (ta + te + tb + extra)
    assert mean == pytest.approx(ta + tb)


def test_break_even_of_several_exits_weighs_them_by_use():
    costs, plain = (40.0, 70.0, 110.0), 100.0
    assert c.break_even(costs, plain, (1.0, 0.0)) == pytest.approx(10 / 70)
    assert c.break_even(costs, plain, (0.3, 0.3)) == c.break_even(costs, plain) == pytest.approx(10 / 55)
    assert c.break_even((110.0, 110.0), plain) == float("inf")


def test_exit_rate_below_break_even_is_warned_about():
    assert c.break_even_warning(0.3, 0.1) is None
    assert "5.0%" in c.break_even_warning(0.05, 0.1) and "10.0%" in c.break_even_warning(0.05, 0.1)


@pytest.mark.parametrize(
    ("points", "confidence"), [(-1, 0.8), (1, 0.4), (1, 1.0), (float("nan"), 0.8), (101, float("nan"))]
)
def test_settings_out_of_range_are_refused(points, confidence):
    with pytest.raises(TrecxError):
        c.calibrate(synthetic(50), (DECISION,), points=points, confidence=confidence)


def test_empty_unlabelled_and_misfit_traces_are_refused():
    trace = synthetic(50)
    with pytest.raises(TrecxError, match="no samples"):
        c.calibrate(trace.first(0), (DECISION,))
    with pytest.raises(TrecxError, match="labels"):
        c.calibrate(Trace(trace.logits, trace.scores, trace.exit_taken), (DECISION,))
    with pytest.raises(TrecxError, match="decisions"):
        c.calibrate(trace, (DECISION,) * 3)


def test_the_paired_interval_of_the_shipped_pair():
    """67 and 46 discordant clips of 2,874, worked out by hand from the formula."""
    low, high = losses.paired_interval(67, 46, 2874)
    assert 100 * low == pytest.approx(0.00304, abs=5e-5)  # the figures are rounded
    assert 100 * high == pytest.approx(1.45732, abs=5e-5)
    assert losses.paired_interval(5, 5, 100)[0] == -losses.paired_interval(5, 5, 100)[1]


@pytest.mark.parametrize(("spread", "told"), [(0, True), (3, True), (40, False)])
def test_a_gate_that_says_the_same_to_every_sample_is_told(spread, told):
    trace = synthetic(200, (0.7, 0.9), seed=4)
    gate = Gate(0.05)
    values = np.random.default_rng(1).normal(0, spread, (200, 1)).round().clip(-128, 127).astype(np.int8)
    found = list(c.stuck(replace(trace, statistics=gate.statistic(values)[:, None]), (gate,)))
    assert any("hardly varies" in warning for warning in found) is told
