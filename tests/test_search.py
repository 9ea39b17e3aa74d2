"""The search for operating points against trying everything, on made-up answers."""

from dataclasses import replace
from itertools import pairwise, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import plant

from trecx.judge import search as s
from trecx.judge.caution import at_least
from trecx.steps.learning import FEW


def made(seed: int, exits: int, taps, samples: int = 300, steps: int = 50) -> s.Recorded:
    """Exits that get better, with statistics in so many steps that tell a little of who is right."""
    rng = np.random.default_rng(seed)
    hard = rng.random(samples)
    skill = np.sort(rng.uniform(0.5, 0.95, exits + 1))
    right = hard[:, None] + rng.normal(0, 0.1, (samples, exits + 1)) < skill
    noise = rng.normal(0, rng.uniform(0.1, 0.4), (samples, exits))
    told = hard[:, None] + noise - 0.2 * right[:, :-1]
    ranks = np.stack([np.searchsorted(np.sort(told[:, k]), told[:, k]) for k in range(exits)], axis=1)
    statistics = (1 + ranks * steps // samples).astype(np.uint32)
    places = np.sort(rng.uniform(0.1, 0.9, len(taps)))
    shared = [place for place, tap in zip(places, taps, strict=True) for _ in tap]
    heads = [float(size) for tap in taps for size in np.sort(rng.uniform(0.001, 0.08, len(tap)))]
    return s.Recorded(statistics, right, s.Costs((*map(float, shared), 1.0), tuple(heads)), taps)


def everything(recorded: s.Recorded):
    """Every configuration with at most one exit at each tap, at every limit that occurs."""
    choices = []
    for tap in recorded.taps:
        at = [(k, int(v)) for k in tap for v in np.unique(recorded.statistics[:, k])]
        choices.append([None, *at])
    for chosen in product(*choices):
        limits = [None] * recorded.statistics.shape[1]
        for one in chosen:
            if one is not None:
                limits[one[0]] = one[1]
        yield s.outcome(recorded, tuple(limits))


def by_hand(recorded: s.Recorded, limits):
    """Sample by sample, as an inference goes."""
    right, cost, taken = 0, 0.0, [0] * recorded.right.shape[1]
    for row in range(len(recorded)):
        spent = 0.0
        for k, limit in enumerate((*limits, 2**32)):
            if k < len(limits) and limit is None:
                continue
            spent += recorded.costs.heads[k] if k < len(limits) else 0.0
            if k == len(limits) or recorded.statistics[row, k] <= limit:
                right += bool(recorded.right[row, k])
                cost += recorded.costs.shared[k] + spent
                taken[k] += 1
                break
    return tuple(taken), right / len(recorded), cost / len(recorded)


@given(seed=st.integers(0, 10_000), data=st.data())
@settings(max_examples=60, deadline=None)
def test_an_outcome_is_what_happens_sample_by_sample(seed, data):
    recorded = made(seed, 3, ((0,), (1, 2)), samples=40, steps=8)
    limits = tuple(data.draw(st.one_of(st.none(), st.integers(0, 9))) for _ in range(3))
    found = s.outcome(recorded, limits)
    taken, accuracy, cost = by_hand(recorded, limits)
    assert found.taken == taken
    assert (found.accuracy, found.cost) == pytest.approx((accuracy, cost), abs=1e-12)


@given(seed=st.integers(0, 10_000), data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_limit_of_one_exit_is_tried_exactly(seed, data):
    recorded = made(seed, 3, ((0,), (1,), (2,)), samples=40, steps=8)
    k = data.draw(st.integers(0, 2))
    without = tuple(None if j == k else data.draw(st.one_of(st.none(), st.integers(0, 9))) for j in range(3))
    at, accuracy, cost = s._every_limit(recorded, without, k)
    for limit, right, mean in zip(at.tolist(), accuracy, cost, strict=True):
        one = s.outcome(recorded, tuple(limit if j == k else v for j, v in enumerate(without)))
        assert (one.accuracy, one.cost) == pytest.approx((right, mean), abs=1e-9)


def quantile(right: int, wrong: int) -> float:
    """Where Beta(1 + right, 1 + wrong) reaches 10 %, by halving: so often right + 1 of n + 1 tries succeed."""
    low, high, n = 0.0, 1.0, right + wrong + 1
    for _ in range(50):
        x = (low + high) / 2
        below = sum(comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(right + 1, n + 1))
        low, high = (x, high) if below < 0.1 else (low, x)
    return low


def test_what_an_exit_is_right_at_least_is_the_quantile_of_beta():
    """As near as its docstring says, which is the error of the approximation by how many there are of each."""
    numbers = (0, 1, 2, 3, 5, 8, 20, 60, 200)
    cases = [(r, w) for r in numbers for w in numbers if r + w < 250]
    found = at_least(*map(np.array, zip(*cases, strict=True)))
    for (right, wrong), one in zip(cases, found.tolist(), strict=True):
        fewest = min(right, wrong)
        near = {0: 1e-12, 1: 0.005, 2: 0.0016, 3: 0.0016}.get(fewest, 0.0004)
        assert one == pytest.approx(quantile(right, wrong), abs=near), (right, wrong)
    # scipy.stats.beta.ppf(0.1, 1 + right, 1 + wrong), to four places
    known = {(0, 0): 0.1, (9, 1): 0.6898, (90, 10): 0.8516, (180, 20): 0.8678, (0, 30): 0.0034}
    for (right, wrong), value in known.items():
        assert quantile(right, wrong) == pytest.approx(value, abs=5e-5)
    assert np.isfinite(at_least(np.array([0, 10**6, 1]), np.array([10**6, 0, 10**6]))).all()


@given(seed=st.integers(0, 10_000), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_cautious_search_believes_of_each_exit_what_it_is_right_at_least(seed, data):
    recorded = replace(made(seed, 3, ((0,), (1,), (2,)), samples=40, steps=8), cautious=True)
    k = data.draw(st.integers(0, 2))
    without = tuple(None if j == k else data.draw(st.one_of(st.none(), st.integers(0, 9))) for j in range(3))
    at, believed, _ = s._every_limit(recorded, without, k)
    for limit, found in zip(at.tolist(), believed, strict=True):
        one = tuple(limit if j == k else v for j, v in enumerate(without))
        taken, _ = s._path(recorded, one)
        right = recorded.right[np.arange(40), taken]
        left = [(int((taken == j).sum()), int(right[taken == j].sum())) for j in range(4)]
        by_hand = sum(n * float(at_least(r, n - r)) for n, r in left) / 40
        assert found == pytest.approx(by_hand, abs=1e-9) and found < right.mean()
        assert s._Seen(recorded).plain(one)[0] == pytest.approx(by_hand, abs=1e-9)


def test_caution_leaves_exits_out_that_few_samples_speak_for_and_predicts_what_was_seen():
    taps, used = tuple((2 * k, 2 * k + 1) for k in range(6)), []
    recorded = made(1, 12, taps, samples=100, steps=100)
    for one in (recorded, replace(recorded, cautious=True)):
        found = s.search(one)
        assert all(s.outcome(recorded, o.limits) == o for o in found)
        used.append(np.mean([sum(limit is not None for limit in o.limits) for o in found]))
    assert used[1] < used[0] - 0.5
    assert len(recorded) < FEW


@pytest.mark.parametrize("seed", range(6))
def test_two_taps_with_two_heads_of_fifty_limits_are_as_good_as_brute_force(seed):
    """For every weight of accuracy the objective is within 0.1 % of the best there is, and so are both ends."""
    recorded = made(seed, 4, ((0, 1), (2, 3)))
    best, found = s.pareto(everything(recorded)), s.search(recorded)
    costs, accuracies = [one.cost for one in found], [one.accuracy for one in found]
    for weight in np.linspace(0, 1, 41):
        reached, least = (
            min(weight * (1 - one.accuracy) + (1 - weight) * one.cost for one in outcomes) for outcomes in (found, best)
        )
        assert reached <= least + 1e-3
    assert accuracies[-1] >= best[-1].accuracy - 1e-3 and costs[0] <= best[0].cost + 1e-3


def test_with_one_exit_the_set_is_exact():
    recorded = made(3, 1, ((0,),))
    assert [(o.accuracy, o.cost) for o in s.search(recorded)] == [
        (o.accuracy, o.cost) for o in s.pareto(everything(recorded))
    ]


def test_the_pareto_set_has_what_nothing_beats():
    recorded = made(5, 2, ((0,), (1,)), samples=60, steps=10)
    every = list(everything(recorded))
    kept = s.pareto(every)
    for one in every:
        assert any(k.accuracy >= one.accuracy and k.cost <= one.cost for k in kept)
    assert all(a.cost < b.cost and a.accuracy < b.accuracy for a, b in pairwise(kept))


def test_thinning_keeps_both_ends():
    found = s.search(made(1, 2, ((0,), (1,))))
    few = s.thinned(found, 4)
    assert 2 <= len(few) <= 4 and few[0] == found[0] and few[-1] == found[-1] and set(few) <= set(found)
    assert s.thinned(few, 9) == few
    assert s.thinned(found, 1) == (found[len(found) // 2],) and s.thinned((), 1) == ()


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        (s._every_limit, "taken > exit_", "taken >= exit_ - 1"),
        (s._every_limit, "+ head - saved", "- saved"),
        (s._path, "np.cumsum([*used, 0.0])", "np.array([*used, 0.0])"),
    ],
)
def test_a_planted_bug_is_found(function, right, wrong, monkeypatch):
    plant(function, right, wrong, monkeypatch)
    with pytest.raises(AssertionError):
        test_an_outcome_is_what_happens_sample_by_sample()
        test_every_limit_of_one_exit_is_tried_exactly()


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        (s._moved, "counts[:, k] -= np.cumsum(gone)[ends]", "counts[:, k] -= 0"),
        (s._moved, "gone & recorded.right[order, k]", "gone & recorded.right[order, exit_]"),
        (s._believed, "right, taken - right", "right, taken"),
    ],
)
def test_a_planted_bug_in_caution_is_found(function, right, wrong, monkeypatch):
    plant(function, right, wrong, monkeypatch)
    with pytest.raises(AssertionError):
        test_a_cautious_search_believes_of_each_exit_what_it_is_right_at_least()
