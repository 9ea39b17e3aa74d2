"""Quality of scores against their definitions, written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trecx.decision import Gate
from trecx.judge.quality import auroc, quality


def made(seed: int, samples: int = 60, classes: int = 4):
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (samples, classes)).astype(np.int8), rng.integers(0, classes, samples)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.001, 0.5))
@settings(max_examples=40, deadline=None)
def test_likelihood_brier_score_and_calibration_error_are_their_definitions(seed, scale):
    logits, labels = made(seed)
    found = quality(logits, scale, labels, {})
    nll, brier, bins = 0.0, 0.0, {}
    for row, label in zip(logits.astype(float), labels, strict=True):
        scores = np.exp(scale * (row - row.max()))
        scores /= scores.sum()
        nll -= np.log(max(scores[label], 1e-12))
        brier += sum((p - (k == label)) ** 2 for k, p in enumerate(scores))
        bins.setdefault(min(int(scores.max() * 15), 14), []).append((scores.max(), row.argmax() == label))
    gaps = (abs(np.mean([p for p, _ in one]) - np.mean([r for _, r in one])) * len(one) for one in bins.values())
    assert found.nll == pytest.approx(nll / 60)
    assert found.brier == pytest.approx(brier / 60)
    assert found.ece == pytest.approx(sum(gaps) / 60)
    assert [name for name, _ in found.told] == ["max_score", "margin", "entropy"]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_auroc_is_the_share_of_pairs_in_order(seed):
    rng = np.random.default_rng(seed)
    statistics, right = rng.integers(1, 9, 40), rng.random(40) < 0.6
    pairs = [(r < w) + 0.5 * (r == w) for r in statistics[right] for w in statistics[~right]]
    assert auroc(statistics, right) == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_a_perfect_exit_and_one_that_guesses():
    labels = np.arange(40) % 4
    sure = np.where(np.eye(4, dtype=bool)[labels], 127, -128).astype(np.int8)
    perfect = quality(sure, 0.5, labels, {})
    assert (perfect.nll, perfect.brier, perfect.ece) == pytest.approx((0, 0, 0), abs=1e-9)
    assert all(value is None for _, value in perfect.told)
    guess = quality(np.zeros((40, 4), np.int8), 0.5, labels, {})
    assert (guess.nll, guess.brier, guess.ece) == pytest.approx((np.log(4), 0.75, 0))
    assert all(value == 0.5 for _, value in guess.told)


def test_the_statistic_of_a_gate_is_judged_beside_the_scores():
    logits, labels = made(3)
    right = logits.argmax(axis=1) == labels
    gate = Gate(0.1).statistic(np.where(right, 100, -100).astype(np.int8)[:, None])
    assert dict(quality(logits, 0.05, labels, {"gate": gate}).told)["gate"] == 1.0
