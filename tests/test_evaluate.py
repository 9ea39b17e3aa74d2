"""Accuracies, costs and the curve against direct counting."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_traces import DECISION, synthetic, taken

from trecx.decision import MaxScore
from trecx.errors import TrecxError
from trecx.judge.evaluate import accuracy, evaluate
from trecx.judge.trace import Trace

MACS, BACKBONE, SPLIT = (1_500_000, 2_700_000), 2_656_768, "part B"
LIMIT = DECISION.limit(0.995)


def _evaluate(trace, limit=LIMIT, **more):
    return evaluate(trace, (DECISION,), (limit,), ("early", "final"), MACS, BACKBONE, SPLIT, **more)


def test_figures_equal_direct_counting():
    trace = synthetic(800, threshold=0.995, seed=3)
    found, right, taken = _evaluate(trace), trace.right(), trace.exit_taken
    answered = right[np.arange(800), taken]
    assert (found.with_exits.right, found.with_exits.samples, found.with_exits.split) == (answered.sum(), 800, SPLIT)
    assert [e.accuracy.right for e in found.exits] == right.sum(axis=0).tolist()
    assert [e.taken for e in found.exits] == [(taken == 0).sum(), (taken == 1).sum()]
    assert found.exits[0].accuracy_taken.right == right[taken == 0, 0].sum()
    assert found.exit_rate == pytest.approx((taken == 0).mean()) and 0.2 < found.exit_rate < 0.95
    assert found.macs_mean == pytest.approx(np.where(taken == 0, *MACS).mean()) and found.macs_worst == MACS[1]
    assert found.saving == pytest.approx(1 - found.macs_mean / BACKBONE)
    assert found.overthinking == pytest.approx((right[:, 0] & ~right[:, 1]).mean())
    assert found.oracle == pytest.approx(right.any(axis=1).mean())
    ideal = np.where(right[:, 0], MACS[0], np.where(right[:, 1], MACS[1], MACS[0]))
    assert found.oracle_macs == pytest.approx(ideal.mean())
    rate = found.exit_rate
    assert found.random_exit == pytest.approx(rate * right[:, 0].mean() + (1 - rate) * right[:, 1].mean())


def test_devices_own_exits_are_judged_not_the_hosts_idea_of_them():
    trace = synthetic(100, seed=3)
    everybody_out = replace(trace, exit_taken=np.zeros(100, np.uint8))
    assert _evaluate(everybody_out).exit_rate == 1.0
    assert _evaluate(everybody_out).exits[1].accuracy_taken is None


def test_curve_runs_from_never_to_always_and_passes_through_the_point_in_force():
    trace = synthetic(600, threshold=0.995, seed=6)
    found = _evaluate(trace)
    curve = found.curve
    assert curve.thresholds(0) == (None,) and curve.exit_rate[0] == 0.0 and curve.exit_rate[-1] == 1.0
    assert (curve.macs[0], curve.macs[-1]) == (MACS[1], MACS[0])
    assert curve.accuracy[0] == pytest.approx(found.exits[1].accuracy.value)
    assert curve.accuracy[-1] == pytest.approx(found.exits[0].accuracy.value)
    assert (np.diff(curve.macs) < 0).all() and (np.diff(curve.exit_rate) > 0).all()
    here = np.searchsorted(curve.limits[:, 0], LIMIT, "right") - 1
    assert curve.accuracy[here] == pytest.approx(found.with_exits.value)
    assert curve.macs[here] == pytest.approx(found.macs_mean)
    for point in range(1, len(curve.limits)):
        assert DECISION.limit(*curve.thresholds(point)) == curve.limits[point, 0]


def test_loss_is_against_the_backbone_on_the_same_samples():
    trace = synthetic(200, threshold=0.995, seed=1)
    backbone = np.ones(200, bool)
    found = _evaluate(trace, backbone_right=backbone)
    assert found.backbone.value == 1.0
    assert found.loss == pytest.approx(100 * (1 - found.with_exits.value)) and found.loss > 0
    assert _evaluate(trace).loss is None and _evaluate(trace).backbone is None


def test_score_that_knows_nothing_has_auroc_one_half_and_a_perfect_one_has_one():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 4000).astype(np.int32)
    lead = rng.integers(1, 100, 4000).astype(np.int8)
    for right, expected in ((lead > 40, 1.0), (rng.random(4000) < 0.7, 0.5)):
        logits = np.zeros((4000, 2, 2), np.int8)
        logits[np.arange(4000), :, np.where(right, labels, 1 - labels)] = lead[:, None]
        trace = Trace(logits, logits, np.ones(4000, np.uint8), labels)
        found = evaluate(trace, (MaxScore(0.02),), (0,), ("a", "b"), (1, 2), 2, SPLIT)
        assert found.exits[0].auroc == pytest.approx(expected, abs=0.03)
        assert found.exits[1].auroc is None
    sums, brute = MaxScore(0.02).statistic(logits[:200, 0]).astype(int), trace.right()[:200, 0]
    pairs = np.sign(sums[~brute][:, None] - sums[brute][None, :])
    short = evaluate(trace.first(200), (MaxScore(0.02),), (0,), ("a", "b"), (1, 2), 2, SPLIT)
    assert short.exits[0].auroc == pytest.approx((1 + pairs.mean()) / 2)


def test_all_right_has_no_auroc():
    labels = np.zeros(10, np.int32)
    logits = np.tile(np.array([9, 1], np.int8), (10, 2, 1))
    found = evaluate(
        Trace(logits, logits, np.zeros(10, np.uint8), labels), (MaxScore(0.1),), (0,), ("a", "b"), (1, 2), 2, SPLIT
    )
    assert found.exits[0].auroc is None and found.exits[0].accuracy.value == 1.0


@pytest.mark.parametrize(
    ("right", "samples", "low", "high"), [(5, 10, 0.2366, 0.7634), (0, 20, 0.0, 0.1611), (2641, 2874, 0.9084, 0.9284)]
)
def test_interval_is_wilsons(right, samples, low, high):
    found = accuracy(right, samples, SPLIT)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_share_and_stays_inside_zero_and_one(counts):
    found = accuracy(*counts, SPLIT)
    assert 0.0 <= found.low <= found.value + 1e-12 and found.value <= found.high + 1e-12 <= 1.0 + 1e-12
    assert found.low < found.high


def test_three_exits_are_judged_too():
    trace = synthetic(300, (0.7, 0.8, 0.9), threshold=0.99, seed=2)
    limits = (DECISION.limit(0.99),) * 2
    found = evaluate(trace, (DECISION, DECISION), limits, ("a", "b", "c"), (10, 20, 33), 30, SPLIT)
    assert [e.taken for e in found.exits] == np.bincount(trace.exit_taken, minlength=3).tolist()
    assert found.macs_mean == pytest.approx(np.array([10, 20, 33])[trace.exit_taken].mean())
    assert 0 < found.break_even < 1


def test_where_the_surest_answers_an_inference_ends_behind_the_last_exit_whoever_that_is():
    decisions, limits = (DECISION,) * 3, (*(DECISION.limit(0.9999),) * 2, 0)
    trace = synthetic(300, (0.7, 0.8, 0.9), seed=2)
    trace = replace(trace, exit_taken=taken(trace.logits, decisions, limits))
    found = evaluate(trace, decisions, limits, ("a", "b", "c"), (10, 20, 33), 30, SPLIT)
    sure = np.stack([DECISION.statistic(trace.logits[:, k]) for k in range(2)], axis=1) <= limits[:2]
    ended = np.where(sure.any(axis=1), sure.argmax(axis=1), 2)
    assert found.ended == tuple(np.bincount(ended, minlength=3) / 300)
    assert found.ended[2] > found.exits[2].rate


def test_what_does_not_fit_together_is_refused():
    trace = synthetic(50)
    with pytest.raises(TrecxError, match="2 exits; there are 3 names"):
        evaluate(trace, (DECISION,), (0,), ("a", "b", "c"), MACS, BACKBONE, SPLIT)
    with pytest.raises(TrecxError, match="same split"):
        _evaluate(trace, backbone_right=np.ones(49, bool))
    with pytest.raises(TrecxError, match="no accuracy"):
        accuracy(0, 0, SPLIT)
