"""How many samples a proof compares of fast and of slow models."""

import numpy as np
import pytest

from trecx.device.run import Answers, joined
from trecx.judge import rounds as r
from trecx.judge.trace import Trace


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(r.time, "monotonic", lambda: now[0])
    return now


def taken(clock, wanted, seconds, cost):
    slices = []
    for one in r.rounds(wanted, seconds):
        slices.append(one)
        clock[0] += cost * (one.stop - one.start)
    assert [s.start for s in slices] == [0, *(s.stop for s in slices[:-1])]
    return slices[-1].stop


@pytest.mark.parametrize(
    ("cost", "expected"), [(0.0, 1000), (0.01, 1000), (0.1, 200), (1.0, 20), (30.0, r.FEW), (1e4, r.FEW)]
)
def test_fast_models_are_compared_on_all_samples_and_slow_ones_for_as_long_as_allowed(clock, cost, expected):
    assert taken(clock, 1000, 20.0, cost) == pytest.approx(expected, abs=1)
    assert clock[0] <= max(20.0 + cost, r.FEW * cost)


def test_without_a_limit_all_samples_are_one_round(clock):
    assert list(r.rounds(1000, None)) == [slice(0, 1000)]
    assert list(r.rounds(2, 0.0)) == [slice(0, 2)]


def test_parts_are_joined_field_by_field():
    def answers(n, stack):
        plain = np.full(n, n, np.uint8)
        return Answers(plain, plain, np.ones((n, 3), np.int8), np.ones((n, 3), np.int8), None, stack)

    whole = joined([answers(2, 40), answers(3, 60)])
    assert whole.labels.tolist() == [2, 2, 3, 3, 3] and whole.stack == 60 and whole.instructions is None
    one = Trace(np.zeros((2, 1, 3), np.int8), np.zeros((2, 1, 3), np.int8), np.zeros(2, np.uint8))
    assert len(Trace.joined([one, one])) == 4 and Trace.joined([one]).labels is None
