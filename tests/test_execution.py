"""The cost model of exits: closed forms of one exit, a clock that ticks through several, and what is advised."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import plant

from trecx.errors import TrecxError
from trecx.judge import energy, execution
from trecx.judge.energy import Second, Table
from trecx.judge.execution import EQUAL, NONE, PARALLEL, SERIAL
from trecx.judge.search import Costs

# Sums of floats in another order: nothing else may differ.
SAME = 1e-9
SIZE = st.floats(1.0, 1e7)
SHARE = st.floats(0.0, 1.0)


def same(value: float):
    return pytest.approx(value, rel=SAME, abs=SAME)


@st.composite
def networks(draw, most: int = 4):
    """Costs, and shares of samples that leave at each exit."""
    early = draw(st.integers(1, most))
    bodies = draw(st.lists(SIZE, min_size=early + 1, max_size=early + 1))
    shared = tuple(sum(bodies[: k + 1]) for k in range(early + 1))
    weights = draw(st.lists(st.integers(0, 100), min_size=early + 1, max_size=early + 1))
    total = sum(weights)
    rates = tuple(w / total for w in weights) if total else (*[0.0] * early, 1.0)
    return Costs(shared, tuple(draw(st.lists(SIZE, min_size=early, max_size=early)))), rates


def seconds():
    return st.builds(Second, speed=st.floats(0.1, 10), watts=st.floats(0.1, 10), synchronisation=st.floats(0, 1e5))


@given(SIZE, SIZE, SIZE, SHARE, st.floats(0, 1e5), seconds(), st.floats(0.1, 10), st.floats(0, 1))
def test_one_exit_is_the_closed_form(ta, te, tb, r, td, second, watts, idle):
    second = replace(second, idle_watts=idle)
    costs, rates = Costs((ta, ta + tb), (te,)), (r, 1 - r)
    tb = (ta + tb) - ta  # as the sum has rounded it
    fast, ts = te / second.speed, second.synchronisation
    one = execution.mean(execution.serial(costs, td), rates)
    assert one.time == same(ta + te + (1 - r) * (tb + td)) and one.first == one.time and one.second == 0
    both = execution.mean(execution.parallel(costs, second), rates)
    assert both.time == same(ta + r * fast + (1 - r) * max(fast, tb) + ts)
    ea, ee, eb = watts * ta, second.watts * fast, watts * tb
    spent = ea + ee + (1 - r) * eb + r * eb * min(1, fast / tb) + idle * both.time
    assert execution.energy(both, Table("", watts=watts), second) == pytest.approx(spent, rel=1e-6)
    assert execution.energy(one, Table("", watts=watts), second) == same(watts * one.time)


def clock(costs: Costs, second: Second, leaves: int) -> tuple[float, float, float]:
    """The time of one inference, and of it what each unit computes: stepped through, event by event."""
    first, *rest = execution.bodies(costs)
    now, busy, other = first, first, 0.0
    for k, (head, body) in enumerate(zip(costs.heads, rest, strict=True)):
        decided, at_next = now + head / second.speed, now + body
        other += head / second.speed
        if k == leaves:
            return decided + second.synchronisation, busy + min(at_next, decided) - now, other
        busy += body
        now = max(decided, at_next) + second.synchronisation
    return now, busy, other


@given(networks(), seconds())
def test_several_exits_are_what_a_clock_says(network, second):
    costs, _ = network
    for k, path in enumerate(execution.parallel(costs, second)):
        time, busy, other = clock(costs, second, k)
        assert (path.time, path.second) == (same(time), same(other))
        assert path.first == pytest.approx(busy, rel=1e-6)  # differences of large times


@given(networks())
def test_an_equal_second_unit_without_waiting_is_never_slower_and_never_does_less(network):
    costs, rates = network
    for one, both in zip(execution.serial(costs), execution.parallel(costs), strict=True):
        assert both.time <= one.time * (1 + SAME)
        assert both.first + both.second >= one.first * (1 - SAME)
    one, both = (execution.mean(of(costs), rates) for of in (execution.serial, execution.parallel))
    assert execution.energy(both, None, EQUAL) >= execution.energy(one, None, EQUAL) * (1 - SAME)


@given(networks(most=1), st.floats(0, 1e4))
def test_parallel_gains_what_the_tail_hides_of_the_head(network, synchronisation):
    costs, rates = network
    _, tail = execution.bodies(costs)
    one = execution.mean(execution.serial(costs), rates)
    both = execution.mean(execution.parallel(costs, Second(synchronisation=synchronisation)), rates)
    expected = rates[-1] * min(costs.heads[0], tail) - synchronisation
    assert one.time - both.time == pytest.approx(expected, rel=1e-6, abs=1e-6 * one.time)


@given(networks(), st.floats(0, 1e4))
def test_at_the_exit_rate_of_break_even_exits_cost_what_they_save(network, dispatch):
    costs, rates = network
    plain = costs.shared[-1]
    found = execution.advise(costs, rates, plain, Table("", dispatch=dispatch)).break_even
    early = 1 - rates[-1]
    spread = [rate / early for rate in rates[:-1]] if early > 0 else [1 / len(costs.heads)] * len(costs.heads)
    if 0 < found <= 1:
        at = (*(found * share for share in spread), 1 - found)
        assert execution.mean(execution.serial(costs, dispatch), at).time == pytest.approx(plain, rel=1e-6)


def test_break_even_of_one_exit_is_the_formula():
    ta, te, tb, td = 100.0, 8.0, 60.0, 2.0
    found = execution.advise(Costs((ta, ta + tb), (te,)), (0.5, 0.5), ta + tb, Table("", dispatch=td))
    assert found.break_even == same((te + td) / (tb + td))
    extra = 5.0  # what exits add to the way to the final one
    found = execution.advise(Costs((ta, ta + tb + extra), (te,)), (0.5, 0.5), ta + tb)
    assert found.break_even == same((te + extra) / (tb + extra))


@given(networks())
def test_the_ends_are_the_paths_themselves(network):
    costs, _ = network
    for paths in (execution.serial(costs), execution.parallel(costs)):
        for k, path in enumerate(paths):
            assert execution.mean(paths, [float(j == k) for j in range(len(paths))]) == path
    assert execution.serial(costs)[0].time == same(costs.shared[0] + costs.heads[0])
    assert execution.serial(costs)[-1].time == same(costs.shared[-1] + sum(costs.heads))


@given(networks())
def test_an_exit_that_is_not_used_is_not_there(network):
    costs, _ = network
    none = execution.using(costs, [False] * len(costs.heads))
    assert execution.serial(none) == execution.parallel(none)
    assert [path.time for path in execution.serial(none)] == [same(costs.shared[-1])]
    last = execution.using(costs, [k == len(costs.heads) - 1 for k in range(len(costs.heads))])
    assert execution.serial(last)[0].time == same(costs.shared[-2] + costs.heads[-1])


HEAVY, LIGHT = Costs((400.0, 1000.0), (200.0,)), Costs((400.0, 1000.0), (1.0,))
SECOND = Table("dual", watts=1.0, second=EQUAL)


def test_a_light_head_is_run_serially_at_any_rate_at_which_exits_pay():
    for rate in (0.01, 0.3, 0.6, 0.95):
        assert execution.advise(LIGHT, (rate, 1 - rate), 1000.0, SECOND).execution == SERIAL


def test_a_heavy_head_is_run_in_parallel_where_few_leave_and_there_is_a_second_unit():
    few, many = (0.35, 0.65), (0.9, 0.1)
    found = execution.advise(HEAVY, few, 1000.0, SECOND)
    assert found.execution == PARALLEL and found.gain == same(0.65 * 200 / (400 + 200 + 0.65 * 600))
    assert execution.advise(HEAVY, many, 1000.0, SECOND).execution == SERIAL
    imagined = execution.advise(HEAVY, few, 1000.0)
    assert imagined.execution == SERIAL and "which --energy FILE describes" in imagined.reason


def test_waiting_or_a_hungry_unit_speak_against_parallel():
    few = (0.35, 0.65)
    for second in (Second(synchronisation=100.0), Second(watts=5.0), Second(idle_watts=1.0), Second(speed=0.25)):
        assert execution.advise(HEAVY, few, 1000.0, replace(SECOND, second=second)).execution == SERIAL


def test_below_break_even_the_backbone_alone_is_advised():
    found = execution.advise(HEAVY, (0.1, 0.9), 1000.0)
    assert found.execution == NONE and "pay once 33.3% of the samples leave early" in found.reason
    useless = execution.advise(Costs((900.0, 1000.0), (200.0,)), (0.9, 0.1), 1000.0)
    assert useless.execution == NONE and "never pay" in useless.reason


def test_without_an_early_exit_there_is_nothing_to_choose():
    found = execution.advise(Costs((1000.0,), ()), (1.0,), 1000.0)
    assert (found.execution, found.reason) == (SERIAL, "There is no early exit.")


THREE = (Costs((300.0, 500.0, 1000.0), (30.0, 400.0)), (0.2, 0.3, 0.5)), Second(2.0, 0.5, 0.1, 4.0)
ONE = (400.0, 300.0, 600.0, 0.3, 7.0, Second(1.5, 0.5, 0.0, 4.0), 2.0, 0.1)


@pytest.mark.parametrize(
    ("function", "right", "wrong", "proof", "example"),
    [
        (execution.parallel, "max(one) +", "sum(one) +", test_several_exits_are_what_a_clock_says, THREE),
        (execution.parallel, "min(head, body)", "body", test_one_exit_is_the_closed_form, ONE),
        (execution.bodies, "(0.0, *costs.shared)", "(0.0, *costs.heads)", test_one_exit_is_the_closed_form, ONE),
        (execution.serial, "k * dispatch", "dispatch", test_one_exit_is_the_closed_form, ONE),
    ],
)
def test_a_planted_bug_is_found(function, right, wrong, proof, example, monkeypatch):
    prove = proof.hypothesis.inner_test
    prove(*example)
    plant(function, right, wrong, monkeypatch)
    with pytest.raises(AssertionError):
        prove(*example)


def write(folder, document) -> object:
    path = folder / "board.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_a_table_is_read_as_it_is_written(tmp_path):
    second = {"speed": 2, "watts": 0.01, "idle_watts": 0.001, "synchronisation": 400}
    document = {"name": "mine", "source": "measured", "clock_hz": 64e6, "watts": 0.02, "dispatch": 90, "second": second}
    assert energy.read(write(tmp_path, document)) == Table(
        "mine", "measured", 64e6, None, 0.02, 90.0, Second(2.0, 0.01, 0.001, 400.0)
    )
    assert energy.read(write(tmp_path, {"name": "bare"})) == Table("bare")


def test_everything_that_is_wrong_with_a_table_is_said_at_once(tmp_path):
    second = {"speed": 0, "idle_watts": True, "more": 1}
    wrong = {"clock_hz": "fast", "watts": -1, "dispatch": float("nan"), "volts": 3, "second": second}
    with pytest.raises(TrecxError) as caught:
        energy.read(write(tmp_path, wrong))
    told = " ".join(caught.value.problems)
    names = ("name", "clock_hz", "watts", "dispatch", "volts", "second.speed", "second.idle_watts", "second.more")
    assert all(f"{name}: " in told for name in names) and len(caught.value.problems) == len(names)


@pytest.mark.parametrize(
    "document", ["", "[]", "5", '{"name": "x", "clock_hz": Infinity}', '{"name": 5}', "{"], ids=str
)
def test_what_is_no_table_is_refused(document, tmp_path):
    with pytest.raises(TrecxError, match=r"board\.json"):
        energy.read(write(tmp_path, document))
    with pytest.raises(TrecxError, match=r"none\.json"):
        energy.read(tmp_path / "none.json")


def test_a_second_units_power_needs_that_of_the_first(tmp_path):
    with pytest.raises(TrecxError, match="nothing without those of the first"):
        energy.read(write(tmp_path, {"name": "x", "second": {"watts": 1.0}}))


def test_every_table_that_ships_has_its_source():
    assert all(table.source and table.clock_hz and table.watts for table in energy.TABLES.values())
