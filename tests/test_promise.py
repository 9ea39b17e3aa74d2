"""What is promised of new samples: with samples without labels, or in the mean only."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from synthetic_traces import DECISION, synthetic

from trecx.errors import TrecxError
from trecx.judge import losses
from trecx.judge.calibrate import MEAN, calibrate, promised, unlike
from trecx.judge.sweep import places, places_at, rights

POPULATION = synthetic(30_000, (0.8, 0.9), seed=8)
SEVERAL = synthetic(30_000, (0.7, 0.8, 0.9), seed=8)
DRAWS = 200


def true_losses(population, limits, decisions=(DECISION,)):
    """What a population loses against its own final exit at every point of a path of limits, in points."""
    lost = population.right()[:, -1:].astype(np.int64) - rights(population, decisions)
    return 100 * places_at(population, decisions, limits).count(lost).sum(axis=1) / len(population)


def drawn(population, rng, labelled, unlabelled):
    """Samples of a population, so many with labels and so many without."""
    first, more = (population.of(rng.integers(0, len(population), n)) for n in (labelled, unlabelled))
    return first, replace(more, labels=None)


def predicted(trace, unlabelled, decisions=(DECISION,)):
    """The predictions at every point, made as `losses` makes them."""
    lost = trace.right()[:, -1:].astype(np.int64) - rights(trace, decisions)
    known, found = losses.Predictions.of(trace, decisions, unlabelled), places(trace, decisions)
    return losses.Predicted.of(known, found, known.places(decisions, found.limits), lost)


@pytest.mark.parametrize(
    ("population", "deciding"),
    [(POPULATION, 1), (SEVERAL, 2), (SEVERAL, 3)],
    ids=["one exit", "two", "surest"],
)
def test_the_bound_with_unlabelled_samples_covers_the_true_loss_as_often_as_claimed_and_is_narrower(
    population, deciding
):
    rng, decisions = np.random.default_rng(1), (DECISION,) * deciding
    covered, narrower = [], []
    for _ in range(DRAWS):
        trace, unlabelled = drawn(population, rng, 400, 4000)
        plain = losses.losses(trace, decisions, 0.9)
        found = losses.losses(trace, decisions, 0.9, predictions=losses.Predictions.of(trace, decisions, unlabelled))
        at = [int(share * (len(found.limits) - 1)) for share in (0.3, 0.6, 0.9)]
        covered.append(found.bound[at] >= true_losses(population, found.limits[at], decisions))
        narrower.append(plain.bound[at] - found.bound[at])
    # 200 draws at 90 % scatter by 2.1 %; a bound of the right width falls three times that below once in a thousand.
    assert (np.mean(covered, axis=0) > 0.9 - 0.064).all()
    assert (np.mean(narrower, axis=0)[1:] > 0).all()


def test_thresholds_chosen_with_unlabelled_samples_keep_the_promise_and_let_more_leave():
    rng, kept, rates = np.random.default_rng(2), [], []
    for _ in range(DRAWS):
        trace, unlabelled = drawn(POPULATION, rng, 500, 5000)
        plain, found = (calibrate(trace, (DECISION,), confidence=0.9, unlabelled=u) for u in (None, unlabelled))
        kept.append(true_losses(POPULATION, np.array([found.limits]))[0] <= 1.0)
        rates.append(found.exit_rate - plain.exit_rate)
        assert found.unlabelled == 5000 and plain.unlabelled == 0
    assert np.mean(kept) > 0.9 - 0.064  # three standard errors of 200 draws
    assert np.mean(rates) > 0


def test_without_weight_the_predictions_change_nothing():
    trace, unlabelled = drawn(POPULATION, np.random.default_rng(3), 300, 2000)
    found = predicted(trace, unlabelled)
    plain = losses.losses(trace, (DECISION,), 0.9).bound / 100
    assert found.bound(0.9, 0.0) == pytest.approx(plain, abs=1e-12)  # the same sums of whole numbers, in floats
    assert ((found.weight >= 0) & (found.weight <= 1)).all() and found.weight.max() > 0.1


def test_the_bound_with_unlabelled_samples_is_the_formula():
    trace, unlabelled = drawn(POPULATION, np.random.default_rng(4), 300, 2000)
    known, decisions = losses.Predictions.of(trace, (DECISION,), unlabelled), (DECISION,)
    found, point = places(trace, decisions), 100
    leaves, more = (one.decided(decisions)[:, 0] <= found.limits[point, 0] for one in (trace, unlabelled))
    d = np.where(leaves, trace.right()[:, 1].astype(int) - trace.right()[:, 0], 0)
    c, m = np.where(leaves, known.labelled[:, 0], 0), np.where(more, known.more[:, 0], 0)
    n, big = len(trace), len(unlabelled)
    weight = np.cov(d, c, ddof=0)[0, 1] / (c.var() + n / big * m.var())
    assert 0 < weight < 1
    error = d - weight * (c - m.mean())
    mean = error.sum() / (n + 2)
    variance = ((error**2).sum() + 1) / (n + 2) - mean**2
    z = 1.2815515655446004
    expected = mean + z * np.sqrt(variance / (n + 2) + weight**2 * m.var() / big)
    assert predicted(trace, unlabelled).bound(0.9)[point] == pytest.approx(expected, abs=1e-12)


def test_few_differing_pairs_do_not_make_the_bound_vanish():
    trace, unlabelled = drawn(POPULATION, np.random.default_rng(5), 60, 50_000)
    assert predicted(trace, unlabelled).bound(0.9)[0] > 0.015  # nobody leaves: nothing differs, as in 62 samples


def test_the_temperature_is_that_of_the_highest_likelihood():
    trace = synthetic(2000, (0.8, 0.9), seed=6)
    best = losses.inverse_temperature(trace.logits[:, -1], trace.labels)

    def likelihood(inverse):
        return np.log(losses.softmax(trace.logits[:, -1], inverse)[np.arange(2000), trace.labels]).mean()

    assert likelihood(best) > max(likelihood(best * factor) for factor in (0.5, 0.97, 1.03, 2.0))
    # Right throughout: the surer the better, and still a number.
    sure = np.array([[100, 0], [0, 100]], np.int8)
    assert np.isfinite(losses.inverse_temperature(sure, np.array([0, 1])))


def test_unlabelled_samples_of_another_kind_are_told():
    trace, unlabelled = drawn(POPULATION, np.random.default_rng(7), 500, 5000)
    assert list(unlike(calibrate(trace, (DECISION,), unlabelled=unlabelled))) == []
    harder = replace(unlabelled, logits=(unlabelled.logits // 3).astype(np.int8))
    (told,) = unlike(calibrate(trace, (DECISION,), unlabelled=harder))
    assert "5,000 samples without labels are not like the 500 validation samples" in told


def test_a_promise_of_the_mean_is_kept_in_the_mean_and_costs_less_than_confidence():
    rng, lost, rates = np.random.default_rng(9), [], []
    for _ in range(DRAWS):
        trace, _ = drawn(POPULATION, rng, 400, 1)
        found, sure = calibrate(trace, (DECISION,), promise=MEAN), calibrate(trace, (DECISION,), confidence=0.9)
        lost.append(true_losses(POPULATION, np.array([found.limits]))[0])
        rates.append(found.exit_rate - sure.exit_rate)
    assert np.mean(lost) <= 1.0 + 3 * np.std(lost) / np.sqrt(DRAWS)  # three standard errors of these draws
    assert np.mean(lost) > 0.6 and np.mean(rates) > 0.02


def test_a_promise_of_the_mean_is_conformal_risk_control_of_the_running_maximum():
    trace = synthetic(300, seed=2)
    found = calibrate(trace, (DECISION,), promise=MEAN, points=2.0)
    swept = losses.losses(trace, (DECISION,), None)
    assert swept.bound == pytest.approx(300 / 301 * swept.loss + 100 / 301)
    at = int(np.flatnonzero(swept.limits[:, 0] == found.limits[0])[0])
    assert swept.bound[: at + 1].max() <= 2.0 < swept.bound[: at + 2].max()
    assert (found.promise, found.confidence, found.bound) == ("mean", None, swept.bound[at])
    assert promised(found) == "at most 2 points lost against its own final exit in the mean"


def test_too_few_samples_promise_nothing_in_the_mean_either():
    found = calibrate(synthetic(60, seed=1), (DECISION,), promise=MEAN)  # 100 / 61 points for a sample not seen
    assert found.exit_rate == 0 and promised(found) == "nothing"
    assert "in the mean; nothing leaves early" in found.warnings[0]


def test_samples_without_labels_change_nothing_where_there_is_no_early_exit():
    trace = synthetic(200, (0.9,))
    found = calibrate(trace, (), unlabelled=replace(synthetic(300, (0.9,), seed=1), labels=None))
    assert (found.limits, found.exit_rate, list(unlike(found)), promised(found)) == ((), 0.0, [], "nothing")


def test_what_nobody_can_promise_is_refused():
    with pytest.raises(TrecxError, match="confidence and mean"):
        calibrate(synthetic(50), (DECISION,), promise="median")


def test_a_calibration_says_what_it_promises_where_it_is_kept():
    kept = asdict(calibrate(synthetic(500, seed=3), (DECISION,), promise=MEAN))
    assert (kept["promise"], kept["confidence"], kept["unlabelled"]) == ("mean", None, 0)
