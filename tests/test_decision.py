"""Every criterion against the real numbers that it stands for, against its C, and as what it promises."""

import re
import subprocess
from fractions import Fraction
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from synthetic_traces import taken

from trecx import decision
from trecx.decision import ALWAYS, CRITERIA, NEVER, Entropy, Gate, Margin, MaxScore
from trecx.resources import folder

SCALES = st.floats(0.005, 2.0)
THRESHOLDS = st.floats(0.01, 1.0)
VECTORS = st.integers(2, 20).flatmap(lambda k: hnp.arrays(np.int8, (7, k)))


def _softmax(real):
    powers = np.exp(real - real.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _entropy(real):
    scores = _softmax(real)
    return -(scores * np.log(np.maximum(scores, 1e-300))).sum(axis=-1)


def _highest_score(logits, scale):
    return _softmax(scale * logits.astype(float)).max(axis=-1)


@given(VECTORS, SCALES)
def test_sums_are_softmax_within_half_a_step_per_class(logits, scale):
    exact = 65536.0 / _highest_score(logits, scale)
    assert np.abs(MaxScore(scale).statistic(logits) - exact).max() <= 0.5 * (logits.shape[-1] - 1) + 1e-6


@given(VECTORS, SCALES, THRESHOLDS)
def test_decision_is_the_float_softmax_decision_outside_the_rounding_band(logits, scale, threshold):
    score = _highest_score(logits, scale)
    leaves = MaxScore(scale).statistic(logits) <= MaxScore(0.1).limit(threshold)
    band = (0.5 * logits.shape[-1] + 1) / 65536
    clear = np.abs(1.0 / score - 1.0 / threshold) > band
    assert np.array_equal(leaves[clear], (score >= threshold)[clear])


@pytest.mark.parametrize(("classes", "scale"), [(12, 0.12), (10, 0.08), (2, 0.05)])
@pytest.mark.parametrize("threshold", [0.8, 0.95, 0.99, 0.998])
def test_at_most_one_decision_in_two_thousand_differs_from_float(classes, scale, threshold):
    rng = np.random.default_rng(classes)
    logits = np.clip(rng.normal(0, 40, (20_000, classes)), -128, 127).astype(np.int8)
    leaves = MaxScore(scale).statistic(logits) <= MaxScore(0.1).limit(threshold)
    assert 0.001 < leaves.mean() < 0.99
    assert (leaves != (_highest_score(logits, scale) >= threshold)).mean() < 1 / 2000


def test_thresholds_above_what_int8_scores_can_express_still_leave():
    logits = np.array([[127, -128, -128]], np.int8)
    assert MaxScore(0.1).statistic(logits)[0] <= MaxScore(0.1).limit(0.999)
    assert MaxScore(0.1).statistic(logits)[0] <= MaxScore(0.1).limit(1.0)


@given(VECTORS, SCALES, THRESHOLDS, THRESHOLDS)
def test_raising_the_threshold_never_makes_a_sample_leave(logits, scale, one, other):
    low, high = sorted((one, other))
    sums = MaxScore(scale).statistic(logits)
    assert MaxScore(0.1).limit(high) <= MaxScore(0.1).limit(low)
    assert not ((sums <= MaxScore(0.1).limit(high)) & ~(sums <= MaxScore(0.1).limit(low))).any()


@given(hnp.arrays(np.int8, (9, 3, 5)), st.sampled_from([MaxScore, Margin, Entropy]), SCALES)
def test_never_goes_to_the_end_and_always_leaves_at_once(logits, kind, scale):
    assert (taken(logits, (kind(scale),) * 2, (NEVER, NEVER)) == 2).all()
    assert (taken(logits, (kind(scale),) * 2, (ALWAYS, ALWAYS)) == 0).all()
    assert (taken(logits, (kind(scale),) * 2, (NEVER, ALWAYS)) == 1).all()


@given(hnp.arrays(np.int8, (9, 3, 5)), SCALES, st.tuples(THRESHOLDS, THRESHOLDS))
def test_exit_taken_is_the_first_exit_that_may_answer(logits, scale, thresholds):
    made = (MaxScore(scale), Entropy(scale))
    limits = decision.limits(made, thresholds)
    found = taken(logits, made, limits)
    for sample, exit_index in zip(logits, found, strict=True):
        leaves = [bool(made[k].statistic(sample[k]) <= limits[k]) for k in range(2)] + [True]
        assert exit_index == leaves.index(True)
    assert found.dtype == np.uint8


def test_where_the_last_exit_decides_too_the_surest_answers_and_the_later_of_equals():
    statistics = np.array([[5, 9, 7], [9, 5, 5], [9, 9, 3], [4, 4, 4], [1, 9, 9]], np.uint32)
    assert decision.exit_taken(statistics, (NEVER, NEVER, NEVER), 3).tolist() == [0, 2, 2, 2, 0]
    assert decision.exit_taken(statistics, (NEVER, 9, NEVER), 3).tolist() == [1, 1, 1, 1, 1]
    assert decision.exit_taken(statistics, (NEVER, NEVER, ALWAYS), 3).tolist() == [2] * 5


@given(hnp.arrays(np.int8, (6, 8)), SCALES, st.integers(-255, 255))
def test_decision_depends_on_distances_only(logits, scale, shift):
    moved = logits.astype(int) + shift
    inside = ((moved >= -128) & (moved <= 127)).all(axis=1)
    assert np.array_equal(
        MaxScore(scale).statistic(moved[inside].astype(np.int8)), MaxScore(scale).statistic(logits[inside])
    )


@given(SCALES)
def test_table_starts_at_one_and_falls(scale):
    table = dict(MaxScore(scale).tables())["e"]
    assert table[0] == 65536 and table.shape == (256,) and table.dtype == np.uint32
    assert (np.diff(table.astype(np.int64)) <= 0).all()


def test_sums_of_the_most_classes_fit_32_bits():
    assert int(MaxScore(0.1).statistic(np.zeros((1, 256), np.int8))[0]) == 256 * 65536 < 2**32


@settings(max_examples=300)
@given(st.floats(1e-4, 1.0))
def test_limit_is_the_floor_of_the_exact_quotient_within_float_rounding(threshold):
    exact = 65536 / Fraction(threshold)
    assert abs(MaxScore(0.1).limit(threshold) - exact) < 1
    assert MaxScore(0.1).limit(threshold) <= exact * (1 + Fraction(1, 2**52))


def test_limits_stay_in_32_bits_for_any_threshold():
    assert MaxScore(0.1).limit(None) == NEVER == 0
    assert MaxScore(0.1).limit(1.0) == 65536
    assert MaxScore(0.1).limit(0.5) == 131072
    assert MaxScore(0.1).limit(1e-300) == MaxScore(0.1).limit(5e-324) == ALWAYS


@given(VECTORS, SCALES)
def test_entropy_is_that_of_the_softmax_within_a_few_units(logits, scale):
    exact = _entropy(scale * logits.astype(float))
    assert np.abs((Entropy(scale).statistic(logits) - 1.0) / 65536 - exact).max() < 3e-4


@given(VECTORS, st.floats(0.0, 3.0))
def test_margin_is_the_difference_of_the_two_highest(logits, threshold):
    first, second = np.sort(logits.astype(int), axis=-1)[:, :-3:-1].T
    leaves = Margin(0.1).statistic(logits) <= Margin(0.1).limit(threshold)
    clear = np.abs(0.1 * (first - second) - threshold) > 1e-9
    assert np.array_equal(leaves[clear], (0.1 * (first - second) >= threshold)[clear])


@given(hnp.arrays(np.int8, (9, 1)), SCALES, st.integers(-128, 127), st.floats(0.001, 0.999))
def test_gate_is_open_where_its_sigmoid_is_above_the_threshold(values, scale, zero_point, threshold):
    gate = Gate(scale, zero_point)
    real = scale * (values[:, 0].astype(float) - zero_point)
    wanted = np.log(threshold / (1 - threshold))
    leaves = gate.statistic(values) <= gate.limit(threshold)
    clear = np.abs(real - wanted) > 1e-5 * scale
    assert np.array_equal(leaves[clear], (real > wanted)[clear])


def test_a_gate_of_a_half_is_not_open_at_a_half():
    gate = Gate(0.1, -3)
    assert (gate.statistic(np.array([[-4], [-3], [-2]], np.int8)) <= gate.limit(0.5)).tolist() == [False, False, True]


def test_at_entropy_0_nothing_leaves_and_above_that_of_no_idea_everything():
    logits = np.array([[127, -128, -128], [5, 5, 5], [127, 127, 127]], np.int8)
    assert not (Entropy(1.0).statistic(logits) <= Entropy(1.0).limit(0.0)).any()
    assert (Entropy(1.0).statistic(logits) <= Entropy(1.0).limit(np.log(3) + 1e-3)).all()


@pytest.mark.parametrize("kind", CRITERIA)
@settings(max_examples=300)
@given(data=st.data())
def test_every_limit_that_a_statistic_can_have_is_that_of_a_threshold(kind, data):
    # Sigmoids of a gate further from 0 are 0 or 1 in floating point, which are no thresholds.
    made = kind(data.draw(st.floats(0.005, 0.25) if kind.gate else SCALES), -7)
    least = 65536 if kind is MaxScore else 1
    limit = data.draw(st.integers(least, min(made.most, 2**25)))
    assert made.check(made.threshold(limit)) is None
    assert made.limit(made.threshold(limit)) == limit


@pytest.mark.parametrize("kind", CRITERIA)
def test_no_threshold_means_never(kind):
    assert kind(0.1).limit(None) == NEVER and kind(0.1).threshold(NEVER) is None


def test_thresholds_are_as_short_as_they_can_be():
    made = MaxScore(0.1)
    assert [made.threshold(made.limit(t)) for t in (0.9, 0.78, 1.0)] == [0.9, 0.78, 1.0]
    assert made.threshold(65535) is None


@pytest.mark.parametrize("kind", CRITERIA)
@settings(max_examples=30)
@given(data=st.data())
def test_a_statistic_is_never_0_and_never_above_the_most(kind, data):
    count = 1 if kind.gate else data.draw(st.integers(2, 256))
    values = data.draw(hnp.arrays(np.int8, (5, count)))
    found = kind(data.draw(SCALES), 3).statistic(values)
    assert found.dtype == np.uint32 and found.min() >= 1 and found.max() <= kind.most


# What thresholds are on, of real values, its sign where high is sure, and thresholds to try.
MEANING = {
    "max_score": (lambda real: _softmax(real).max(axis=-1), 1, st.floats(0.05, 1.0)),
    "margin": (lambda real: np.sort(real, axis=-1)[..., -1] - np.sort(real, axis=-1)[..., -2], 1, st.floats(0.0, 9.0)),
    "entropy": (_entropy, -1, st.floats(0.0, 3.0)),
    "gate": (lambda real: 1.0 / (1.0 + np.exp(-real[..., 0])), 1, st.floats(0.01, 0.99)),
}


@pytest.mark.parametrize("kind", CRITERIA)
@settings(max_examples=200)
@given(data=st.data())
def test_an_exit_answers_where_the_real_values_are_sure_enough(kind, data):
    real_of, sign, thresholds = MEANING[kind.name]
    made = kind(data.draw(SCALES), data.draw(st.integers(-128, 127)))
    values = data.draw(hnp.arrays(np.int8, (7, 1)) if kind.gate else VECTORS)
    threshold = data.draw(thresholds)
    real = real_of(made.scale * (values.astype(float) - made.zero_point))
    answers = made.statistic(values) <= made.limit(threshold)
    clear = np.abs(real - threshold) > 1e-3
    assert np.array_equal(answers[clear], (sign * (real - threshold) > 0)[clear])


@pytest.mark.parametrize("kind", CRITERIA)
def test_c_turns_thresholds_into_the_same_limits(kind, tmp_path):
    """By the macros of the header; of a gate from before its sigmoid, which C cannot undo."""
    golden = (Path(__file__).parent / "golden" / "net.h").read_text()
    macro = re.search(r"#define NET_LIMIT.*\n.*", golden)[0]
    rng = np.random.default_rng(3)
    made = [kind(float(rng.uniform(0.005, 2.0)), int(rng.integers(-128, 128))) for _ in range(40)]
    chosen = [float(t) for t in rng.uniform(0.01, 0.99, 40)]
    asked = [log(t / (1.0 - t)) if kind.gate else t for t in chosen]
    lines = [f'printf("%u\\n", NET_LIMIT({one.c_limit(f"({t!r})")}));' for one, t in zip(made, asked, strict=True)]
    program = "\n".join(["#include <stdint.h>", "#include <stdio.h>", macro, "int main(void) {", *lines, "}"])
    (tmp_path / "main.c").write_text(program)
    subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "main.c", "-o", "main"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, check=True, text=True)
    assert list(map(int, done.stdout.split())) == [one.limit(t) for one, t in zip(made, chosen, strict=True)]


PROGRAM = """
#include <stdio.h>
{includes}
{tables}
int main(void) {{
  int8_t values[{count}];
  while (fread(values, 1, sizeof values, stdin) == sizeof values) {{
    printf("%u\\n", trecx_exit_{name}(values, {count}u{names}));
  }}
  return 0;
}}
"""


@pytest.mark.parametrize("kind", CRITERIA)
@pytest.mark.parametrize(("count", "scale"), [(2, 0.05), (12, 0.12), (256, 0.3), (10, 2.0)])
def test_c_computes_the_same_statistic(kind, count, scale, tmp_path):
    """Any int8 vector, among them equal ones and those at the ends of the range."""
    count = 1 if kind.gate else count
    rng = np.random.default_rng(count)
    values = np.clip(rng.normal(0, 1, (3000, count)) * rng.choice([0, 3, 40, 400], (3000, 1)), -128, 127).astype(
        np.int8
    )
    made = kind(scale, 5)
    tables = "".join(
        f"static const {table.dtype}_t {name}[] = {{ {', '.join(map(str, table.tolist()))} }};"
        for name, table in made.tables()
    )
    names = "".join(f", {name}" for name, _ in made.tables())
    source = PROGRAM.format(
        includes=f'#include "kernels/exit/{kind.name}.h"', tables=tables, name=kind.name, count=count, names=names
    )
    (tmp_path / "main.c").write_text(source)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-fsanitize=address,undefined", "-O1"]
    subprocess.run(["cc", *flags, f"-I{folder('firmware')}", "main.c", "-o", "main"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], input=values.tobytes(), capture_output=True, check=True)
    assert np.array_equal(np.array(done.stdout.split(), np.uint32), made.statistic(values))
