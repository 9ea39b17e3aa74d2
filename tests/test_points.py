"""Operating points: a table in the firmware that does by number what was predicted; exits left out cost nothing."""

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
from networks import several_exits
from planted import plant
from test_end_to_end import read, write
from test_state import streaming
from vectors.flatbuffer import network

from trecx import decision
from trecx import exits as door
from trecx.compiler import emit
from trecx.compiler.plan import heads, split
from trecx.compiler.target import CORTEX_M4, HOST, TARGETS
from trecx.console import Console
from trecx.device.build import Options, build
from trecx.device.run import Point, run_host, run_qemu
from trecx.errors import TrecxError
from trecx.judge import search
from trecx.steps import learning, proof
from trecx.steps.answers import answer
from trecx.steps.firmware import compile_for
from trecx.steps.pair import Pair, bind

CRITERIA = ("max_score", "gate", "entropy")
SAMPLES = 60


def pointed(folder, criteria=CRITERIA, points=None) -> Pair:
    """A network of three early exits with a table of operating points; the second does without the first exit."""
    found = read(folder, 4, lambda seed: several_exits(seed, criteria))
    at = {"max_score": 0.3, "gate": 0.5, "entropy": 1.5, "margin": 1.0}
    names = {f"exit{k}": at[one] for k, one in enumerate(criteria)}
    some = [
        names,
        {k: v for k, v in names.items() if k != "exit0"},
        {},
        {k: v for k, v in names.items() if k == "exit2"},
    ]
    chosen = tuple(door.OperatingPoint(f"point {k}", one) for k, one in enumerate(some))
    return bind(found.path, replace(found.exits, operating_points=chosen if points is None else points))


def samples(pair: Pair, count: int = SAMPLES) -> np.ndarray:
    return proof.synthetic(pair.graph, count, seed=3).samples


def limits(pair: Pair, point: int) -> search.Limits:
    chosen = pair.exits.operating_points[point].thresholds
    return tuple(
        one.limit(chosen[e.name]) if e.name in chosen else None
        for e, one in zip(pair.exits.exits, pair.decisions, strict=False)
    )


def expected(pair: Pair, point: int, statistics: np.ndarray) -> np.ndarray:
    at = [limit or decision.NEVER for limit in limits(pair, point)]
    return decision.exit_taken(statistics, at, len(pair.exits.exits))


@pytest.mark.parametrize("target", [HOST, *(t for t in TARGETS if t.emulator)], ids=lambda t: t.name)
def test_every_point_answers_as_its_limits_say_and_with_the_oracles_bytes(target, tmp_path):
    if not shutil.which(target.compiler) or (target.emulator and not shutil.which(target.emulator[0])):
        pytest.skip(f"needs {target.compiler}")
    pair = pointed(tmp_path)
    program = build(compile_for(pair, pair.optimised, target, tmp_path / "c", "time"), target, tmp_path / "out")
    inputs = samples(pair, SAMPLES if target is HOST else 25)
    with Console(quiet=True).step("oracle") as step:
        trace = proof.oracle(pair, proof.Inputs("synthetic", inputs), step)
    seen = set()
    for number in range(4):
        run = run_qemu if target.emulator else run_host
        found = run(program, inputs, Point(number))
        taken = expected(pair, number, trace.statistics)
        assert np.array_equal(found.exit_taken, taken)
        assert np.array_equal(found.logits, trace.logits[np.arange(len(taken)), taken])
        assert np.array_equal(found.scores, trace.scores[np.arange(len(taken)), taken])
        seen.add(tuple(np.bincount(taken, minlength=4)))
    assert len(seen) == 4
    assert set(expected(pair, 2, trace.statistics)) == {3}


def test_an_exit_that_is_left_out_is_not_computed(tmp_path):
    if not shutil.which("qemu-system-arm"):
        pytest.skip("needs qemu-system-arm")
    pair = pointed(tmp_path)
    program = build(compile_for(pair, pair.optimised, CORTEX_M4, tmp_path / "c", "time"), CORTEX_M4, tmp_path / "out")
    inputs = samples(pair, 6)
    without = run_qemu(program, inputs, Point(2)).instructions.mean()
    never = run_qemu(program, inputs, (decision.NEVER,) * 3).instructions.mean()
    own = sum(pair.costs.heads)
    assert own > 0 and never - without > own  # more than an instruction for each multiplication of the heads


def test_setting_a_threshold_takes_an_exit_in_again(tmp_path):
    pair = pointed(tmp_path)
    program = build(compile_for(pair, pair.optimised, HOST, tmp_path / "c", "time"), HOST, tmp_path / "out")
    always = run_host(program, samples(pair), (decision.ALWAYS,) * 3)
    assert (always.exit_taken == 0).all()


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_c_is_clean_and_in_bounds(compiler, tmp_path):
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    pair = pointed(tmp_path)
    target = replace(HOST, compiler=compiler)
    sources = write(pair, tmp_path / "c", target)
    program = build(sources, target, tmp_path / "out", options=Options(strict=True, sanitize=compiler == "gcc"))
    assert program.model.points == 4
    assert len(run_host(program, samples(pair, 5), Point(1)).exit_taken) == 5
    with pytest.raises(TrecxError, match="no operating point 4; it has 4"):
        run_host(program, samples(pair, 5), Point(4))
    text = (sources / "net.h").read_text()
    assert "#define NET_POINTS 4u" in text and "int net_set_point(uint8_t point);" in text
    plain = compile_for(pair, pair.optimised, CORTEX_M4, tmp_path / "plain", "time")  # without hooks
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion", "-Wshadow", "-fsyntax-only"]
    assert subprocess.run([compiler, *flags, "net.c"], cwd=plain).returncode == 0
    for folder in (sources, plain):
        assert max(map(len, (folder / "net.c").read_text().splitlines())) <= 100


def test_the_surest_exit_needs_them_all(tmp_path):
    found = read(tmp_path, 4, lambda seed: several_exits(seed, ("max_score",) * 2, door.MOST_CONFIDENT))
    points = (door.OperatingPoint("a", {"exit0": 0.9}), door.OperatingPoint("b", {}))
    pair = bind(found.path, replace(found.exits, operating_points=points))
    program = build(compile_for(pair, pair.optimised, HOST, tmp_path / "c", "time"), HOST, tmp_path / "out")
    inputs = samples(pair)
    with Console(quiet=True).step("oracle") as step:
        trace = proof.oracle(pair, proof.Inputs("synthetic", inputs), step)
    for number, at in enumerate(points):
        chosen = decision.limits(pair.decisions, [at.thresholds.get(name) for name in ("exit0", "exit1")])
        taken = decision.exit_taken(trace.statistics, chosen, 3)
        assert np.array_equal(run_host(program, inputs, Point(number)).exit_taken, taken)


def test_costs_part_what_all_compute_from_what_heads_add(tmp_path):
    pair = pointed(tmp_path)
    own = heads(pair.optimised)
    assert all(own) and not set.intersection(*map(set, own))
    totals = list(accumulate(stage.macs for stage in split(pair.optimised)))
    before = np.cumsum([*pair.costs.heads, 0])
    assert np.allclose(np.add(pair.costs.shared, before), totals)
    assert pair.taps == ((0,), (1,), (2,))


@pytest.mark.parametrize("target", [HOST, CORTEX_M4], ids=lambda t: t.name)
@pytest.mark.parametrize("wrong", ["limits", "skips", "one more"])
def test_a_proof_finds_an_operating_point_that_is_not_what_it_says(wrong, target, tmp_path):
    if not shutil.which(target.compiler) or (target.emulator and not shutil.which(target.emulator[0])):
        pytest.skip(f"needs {target.compiler}")
    pair = pointed(tmp_path)
    sources = compile_for(pair, pair.optimised, target, tmp_path / "c", "time")
    text = (sources / "net.c").read_text()
    line = next(row for row in text.splitlines() if row.endswith("/* point 1 */"))
    gate = pair.limits_at(1)[1]
    bad = {
        "limits": line.replace("{ 1, 0, 0 }", "{ 0, 0, 0 }").replace("{ { 0u,", "{ { UINT32_MAX,"),
        "skips": line.replace("{ 1, 0, 0 }", "{ 1, 1, 0 }"),
        "one more": line.replace(f" {gate}u,", f" {gate + 1}u,"),  # which may change no answer
    }[wrong]
    assert line != bad
    chosen = proof.Inputs("synthetic", samples(pair))
    with Console(quiet=True).step("proof") as step:
        trace = proof.oracle(pair, chosen, step)
        program = build(sources, target, tmp_path / "right")
        assert proof.astray(pair, program, chosen, trace, step) == []
        (sources / "net.c").write_text(text.replace(line, bad))
        program = build(sources, target, tmp_path / "wrong")
        told, *_ = proof.astray(pair, program, chosen, trace, step)
    assert told.startswith(f"{target.name}, operating point 1 has the limits ")


def test_every_point_of_the_largest_table_is_run_on_an_emulator(tmp_path):
    if not shutil.which("qemu-system-arm"):
        pytest.skip("needs qemu-system-arm")
    first = pointed(tmp_path).exits.operating_points
    points = tuple(replace(first[k % 4], name=f"p{k}") for k in range(64))
    pair = pointed(tmp_path, points=points)
    program = build(compile_for(pair, pair.optimised, CORTEX_M4, tmp_path / "c", "time"), CORTEX_M4, tmp_path / "out")
    chosen = proof.Inputs("synthetic", samples(pair))
    with Console(quiet=True).step("proof") as step:
        trace = proof.oracle(pair, chosen, step)
        assert proof.astray(pair, program, chosen, trace, step) == []
        changed = replace(trace, scores=trace.scores ^ 1)
        assert len(proof.astray(pair, program, chosen, changed, step)) == 64


def test_heads_of_one_tap_are_one_tap_and_another_map_of_equal_cost_is_not(tmp_path):
    from networks import Network, _pair

    def near(seed):
        net = Network(seed)
        source = net.activation(8, 8, 2)
        tap = net.conv(source, 8, 3, 1)
        pooled = net.pool(tap, 2, 2, "MAX_POOL_2D")
        near.outputs = [net.classifier(net.flat(net.pool(tap, 4, 4))), net.classifier(net.flat(net.pool(tap, 8, 8)))]
        near.outputs.append(net.classifier(net.flat(net.pool(pooled, 2, 2))))
        final = net.classifier(net.flat(net.conv(pooled, 4, 3, 1)))
        _, exits = _pair(net, source, final, final)
        named = {f"out{k}": t for k, t in enumerate(near.outputs)} | {"final": final}
        content = network(net.nodes, [source], named)
        early = tuple(door.ExitSpec(f"exit{k}", f"out{k}", "max_score") for k in range(3))
        digest = hashlib.sha256(content).hexdigest()
        specs = (*early, door.ExitSpec("final", "final"))
        return content, replace(exits, model_sha256=digest, exits=specs, operating_points=())

    pair = read(tmp_path, 2, near)
    assert pair.taps == ((0, 1), (2,))


def test_a_table_for_a_model_without_early_exits_is_none(tmp_path):
    found = read(tmp_path, 4, lambda seed: several_exits(seed, ()))
    points = (door.OperatingPoint("a", {}), door.OperatingPoint("b", {}))
    pair = bind(found.path, replace(found.exits, operating_points=points))
    program = build(compile_for(pair, pair.optimised, HOST, tmp_path / "c", "time"), HOST, tmp_path / "out")
    assert program.model.points == 0


def test_a_limit_that_no_threshold_says_is_left_out_before_it_is_predicted():
    gate = decision.Gate(0.5)
    assert gate.threshold(10) is None and gate.threshold(120) is not None
    assert learning.sayable((gate, gate), (10, 120)) == (None, 120)


def test_what_keeps_a_state_is_computed_at_every_point(tmp_path):
    found = read(tmp_path, 0, streaming)
    assert found.optimised.states
    kept = {op.index for op in found.optimised.ops if op.stateful}
    assert not any(kept & head for head in heads(found.optimised))
    first = replace(found.optimised, exits=(found.optimised.exits[0], found.optimised.exits[0]))
    assert all(kept.isdisjoint(head) for head in heads(first))


def test_an_exit_that_computes_nothing_of_its_own_is_still_asked():
    assert emit.runs([], ()) == [(False, [])]


PREDICTED = {
    "samples": 400,
    "accuracy": 0.9,
    "exit_rates": [0.2, 0.1, 0.1, 0.6],
    "macs": 1000.0,
    "instructions": {"cortex-m4": 1500.0},
}


def test_what_was_predicted_is_kept_and_told_in_the_header(tmp_path):
    pair = pointed(tmp_path)
    first, *rest = pair.exits.operating_points
    known = door.Predicted(400, 0.9, (0.2, 0.1, 0.1, 0.6), 1000.0, {"cortex-m4": 1500.0})
    exits = replace(pair.exits, operating_points=(replace(first, predicted=known), *rest))
    exits.write(tmp_path / "exits.json")
    assert json.loads((tmp_path / "exits.json").read_text())["operating_points"][0]["predicted"] == PREDICTED
    assert door.read(tmp_path / "exits.json") == exits
    pair = bind(pair.path, exits)
    text = (compile_for(pair, pair.optimised, HOST, tmp_path / "c", "time") / "net.h").read_text()
    told = " ".join(text.replace("\n *", "").split())
    assert (
        "0 point 0: 90.00 % of 400 right; 20.0 + 10.0 + 10.0 % leave early; 1,000 MACs, 1,500 instructions on cortex-m4"
        in told
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"accuracy": 1.5},
        {"exit_rates": [0.5, 0.5]},
        {"macs": float("nan")},
        {"macs": -1.0},
        {"macs": "many"},
        {"more": 1},
        {"exit_rates": [1.0, 1.0, 1.0, 1.0]},
        {"samples": 10**40},
        {"instructions": {"cortex-m4": -1.0}},
        {"instructions": 5.0},
    ],
    ids=str,
)
def test_predictions_that_cannot_be_are_refused(wrong, tmp_path):
    pair = pointed(tmp_path)
    pair.exits.write(tmp_path / "exits.json")
    document = json.loads((tmp_path / "exits.json").read_text())
    document["operating_points"][0]["predicted"] = {**PREDICTED, **wrong}
    (tmp_path / "exits.json").write_text(json.dumps(document))
    with pytest.raises(TrecxError, match="'predicted'"):
        door.read(tmp_path / "exits.json")


def test_more_points_than_can_be_proven_are_refused(tmp_path):
    pair = pointed(tmp_path, points=tuple(door.OperatingPoint(f"p{k}", {}) for k in range(64)))
    pair.exits.write(tmp_path / "exits.json")
    assert len(door.read(tmp_path / "exits.json").operating_points) == 64
    document = json.loads((tmp_path / "exits.json").read_text())
    document["operating_points"].append({"name": "one more", "thresholds": {}})
    (tmp_path / "exits.json").write_text(json.dumps(document))
    with pytest.raises(TrecxError, match="65 operating points; supported: up to 64"):
        door.read(tmp_path / "exits.json")


def test_the_firmware_reproduces_what_the_search_predicted(tmp_path):
    """On the very samples: every exit count, accuracy and, of the samples, whether they are right."""
    from branching_task import DATA, TASK
    from interruptions import quietly

    from trecx.learn.exits.dyce import DyCE
    from trecx.learn.quantize import quantize
    from trecx.learn.settings import QuantizeSettings, TrainSettings
    from trecx.learn.train import train
    from trecx.steps.data import quantized
    from trecx.steps.learned import described

    method = DyCE(("one", "two", "three"))
    settings = TrainSettings(backbone_epochs=4, epochs=10, batch=20, learning_rate=5e-3, schedule="cosine")
    train(TASK, DATA, method, settings, tmp_path / "train", quietly)
    quantize(TASK, DATA, method, tmp_path / "train", tmp_path, QuantizeSettings(samples=50), quietly)
    pair = bind(tmp_path / "branching.tflite", described(TASK, method, tmp_path / "branching.tflite"))
    assert pair.taps == ((0, 1), (2, 3), (4, 5))
    with Console(quiet=True).step("answers") as step:
        answered = answer(pair, DATA.validation, pair.limits, step, "validation")
    points = learning.operating_points(pair, answered, (decision.NEVER,) * 6, 5)
    assert (points[0].predicted.instructions is not None) == bool(shutil.which("qemu-system-arm"))
    plain = learning.operating_points(pair, answered, (decision.NEVER,) * 6, 5, "macs")
    assert all(point.predicted.instructions is None for point in plain)
    assert [p.name for p in points] == ["calibrated", "point 1", "point 2", "point 3", "point 4"]
    pair = bind(pair.path, replace(pair.exits, operating_points=points))
    inputs = quantized(DATA.validation.x, pair.graph)
    for target, run in ((HOST, run_host), (CORTEX_M4, run_qemu)):
        if target.emulator and not shutil.which(target.emulator[0]):
            continue
        out = tmp_path / target.name
        program = build(compile_for(pair, pair.optimised, target, out / "c", "time"), target, out / "out")
        for number, point in enumerate(points):
            found = run(program, inputs, Point(number))
            rates = np.bincount(found.exit_taken, minlength=7) / len(inputs)
            if target is CORTEX_M4:
                predicted = point.predicted.instructions["cortex-m4"]
                assert found.instructions.mean() == pytest.approx(predicted, rel=0.03)
            assert tuple(rates.tolist()) == point.predicted.exit_rates
            assert (found.labels == DATA.validation.y).mean() == point.predicted.accuracy
    costs = [point.predicted.macs for point in plain[1:]]
    assert costs == sorted(costs) and costs[0] < 0.7 * costs[-1]
    whole = pair.costs.shared[-1] + sum(pair.costs.heads)
    assert points[0].thresholds == {} and points[0].predicted.macs == whole  # the first does without no exit


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        (heads, "mine - rest - kept", "mine"),
        (emit._points, "*off, *rest", "*off[::-1], *rest"),
    ],
)
def test_a_planted_bug_is_found(function, right, wrong, tmp_path, monkeypatch):
    plant(function, right, wrong, monkeypatch)
    with pytest.raises((AssertionError, TrecxError)):
        test_every_point_answers_as_its_limits_say_and_with_the_oracles_bytes(HOST, tmp_path)
