"""What more labelled samples would buy."""

import numpy as np
import pytest
from synthetic_traces import DECISION, synthetic
from test_promise import POPULATION, drawn

from trecx.judge import growth
from trecx.judge.calibrate import MEAN, calibrate


def test_what_can_be_promised_grows_with_the_samples_and_passes_through_what_is():
    trace = synthetic(1000, seed=3)
    asked = calibrate(trace, (DECISION,), confidence=0.9)
    points = growth.promisable(trace, (DECISION,), asked)
    assert [p.samples for p in points if not p.extrapolated][-1] == 1000 and points[-1].samples == 4000
    (now,) = [p for p in points if p.samples == 1000]
    assert now.exit_rate == now.low == now.high == asked.exit_rate
    assert points[0].exit_rate < now.exit_rate < points[-1].exit_rate
    assert all(p.low <= p.exit_rate <= p.high for p in points)
    assert points == growth.promisable(trace, (DECISION,), asked)


def test_growth_keeps_to_the_promise_that_was_asked_for():
    trace, unlabelled = drawn(POPULATION, np.random.default_rng(11), 500, 3000)
    right = trace.right()[:, -1] | (np.arange(500) % 150 == 0)
    for options in ({"promise": MEAN}, {"unlabelled": unlabelled}, {"reference_right": right}):
        asked = calibrate(trace, (DECISION,), **options)
        rest = {k: v for k, v in options.items() if k != "promise"}
        (now,) = [p for p in growth.promisable(trace, (DECISION,), asked, **rest) if p.samples == 500]
        assert now.exit_rate == asked.exit_rate


def test_growth_of_a_network_without_early_exits_is_nothing():
    trace = synthetic(200, (0.9,))
    assert growth.promisable(trace, (), calibrate(trace, ())) == ()


def test_the_picture_of_samples_is_drawn_the_same_each_time(tmp_path):
    pytest.importorskip("matplotlib")
    trace = synthetic(400, seed=3)
    asked = calibrate(trace, (DECISION,), points=2.0)
    points = growth.promisable(trace, (DECISION,), asked)
    for name in ("one", "two"):
        growth.draw(points, asked, "A task", tmp_path, name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    growth.draw(points[:1], asked, "A task", tmp_path, "none")
    assert not (tmp_path / "none.png").exists()
