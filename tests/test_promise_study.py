"""The study of how often promises are kept, on few splits of the smallest pair."""

import re
from pathlib import Path

import numpy as np

from trecx.judge.losses import losses
from trecx.studies import promise


def test_a_pool_knows_the_loss_of_any_of_its_samples_at_any_choice():
    pool = promise.Pool.of("vww")
    assert len(pool.trace) == 1213 and (pool.reference == pool.trace.right()[:, -1]).all()  # a frozen backbone
    found = promise.RULES["as observed"](pool.trace, pool.decisions, 1.0, reference_right=pool.reference)
    everything = np.arange(len(pool.trace))
    lost, rate = pool.lost(found, everything)
    assert (lost, rate) == (found.loss, found.exit_rate)
    swept = losses(pool.trace.of(everything[:300]), pool.decisions, 0.9)
    at = np.flatnonzero(swept.limits[:, 0] <= found.limits[0])[-1]
    assert pool.lost(found, everything[:300]) == (swept.loss[at], swept.exit_rate[at])


def test_rules_differ_where_they_should_and_splits_repeat():
    pool = promise.Pool.of("vww")
    rates = {rule: promise.splits(pool, rule, 400, 400, 6)[:, 1].mean() for rule in promise.RULES}
    assert rates["90 % confidence"] < rates["90 % confidence, unlabelled"] < rates["in the mean"] < rates["as observed"]
    assert (promise.splits(pool, "in the mean", 400, 400, 2) == promise.splits(pool, "in the mean", 400, 400, 2)).all()
    assert promise.draws(pool, "90 % confidence, unlabelled", 213, 2).shape == (2, 2)


def test_the_documented_table_has_the_studys_rows():
    text = (Path(__file__).parent.parent / "docs" / "calibration.md").read_text()
    rows = [row.strip("| ").split(" | ") for row in re.findall(r"^\|.*%.*\|$", text, re.MULTILINE)]
    rows = [row for row in rows if row[0] in ("kws", "ic", "vww")]
    cases = [[task, f"{labelled:,}", rule] for task, labelled, _ in promise.CASES for rule in promise.RULES]
    assert [row[:3] for row in rows] == cases and {len(row) for row in rows} == {len(promise.HEAD)}
