"""`trecx estimate`: predictions against counted instructions, and what it says to what cannot be estimated."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from networks import several_exits
from planted import plant
from test_end_to_end import read
from test_points import pointed

from trecx import exits as door
from trecx import pipeline, request
from trecx.cli import main
from trecx.compiler.target import CORTEX_M4
from trecx.console import Console
from trecx.decision import exit_taken
from trecx.device.build import build
from trecx.device.run import Point, run_qemu
from trecx.judge import execution
from trecx.judge.energy import Table
from trecx.judge.record import forced
from trecx.steps import counting, proof
from trecx.steps import pair as pairs
from trecx.steps.firmware import compile_for
from trecx.studies.estimate import picture, predict, results

EMULATED = shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")
needs_emulator = pytest.mark.skipif(not EMULATED, reason="needs arm-none-eabi-gcc and qemu-system-arm")
CLOSE = 0.05  # what the cost model promises


def invoke(*arguments):
    return CliRunner().invoke(main, ["estimate", *map(str, arguments)])


def estimated(*arguments) -> dict:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def begun(path: Path, task: str, **settings) -> Path:
    """A run directory with its pair and nothing else."""
    run = request.start(task, path, settings, Console(quiet=True))
    with run.working():
        pipeline.do(run, "model", pipeline.settings_of(run), Console(quiet=True))
    return path


def own(folder: Path, content: bytes, exits: door.Exits | None = None) -> Path:
    """A run directory about a model of one's own, compiled for this machine alone."""
    (folder / "mine.tflite").write_bytes(content)
    if exits is not None:
        exits.write(folder / "exits.json")
    arguments = ["compile", folder / "mine.tflite", "--out", folder / "run", "--target", "host"]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return folder / "run"


@pytest.fixture(scope="module")
def kws(tmp_path_factory):
    return begun(tmp_path_factory.mktemp("kws") / "run", "kws")


@pytest.fixture(scope="module")
def found(kws):
    """The shipped pair's estimate on a Cortex-M4, as the command makes it."""
    return predict.predict(request.resume(kws, {}, "estimate"), predict.Options(), Console(quiet=True))


@needs_emulator
def test_the_shipped_pair_takes_what_is_predicted_to_each_exit_and_in_the_mean(found, tmp_path):
    """Over the exits forced, and over a mix in which as many leave as of the test samples."""
    pair = found.pair
    program = build(compile_for(pair, pair.optimised, CORTEX_M4, tmp_path / "c", "time"), CORTEX_M4, tmp_path / "out")
    inputs = proof.synthetic(pair.graph, 60, seed=3).samples
    for k, path in enumerate(found.serial):
        counted = run_qemu(program, inputs, forced(1, k)).instructions.mean()
        assert path.time == pytest.approx(counted, rel=CLOSE)
    with Console(quiet=True).step("oracle") as step:
        trace = proof.oracle(pair, proof.Inputs("synthetic", inputs), step)
    leave = found.judged[0].mix.rates[0]
    limit = int(np.quantile(trace.decided(pair.decisions)[:, 0], leave, method="lower"))
    answered = run_qemu(program, inputs, (limit,))
    share = float((answered.exit_taken == 0).mean())
    assert 0.5 < share < 0.9
    mean = execution.mean(found.serial, (share, 1 - share))
    assert mean.time == pytest.approx(answered.instructions.mean(), rel=CLOSE)


@needs_emulator
@pytest.mark.parametrize("otherwise", [door.FINAL, door.MOST_CONFIDENT])
def test_several_exits_take_what_is_predicted(otherwise, tmp_path):
    criteria = ("max_score",) * 3
    if otherwise == door.FINAL:
        pair = pointed(tmp_path)
    else:
        pair = read(tmp_path, 4, lambda seed: several_exits(seed, criteria, otherwise, (0.3, 0.3, 0.3)))
    program = build(compile_for(pair, pair.optimised, CORTEX_M4, tmp_path / "c", "time"), CORTEX_M4, tmp_path / "out")
    inputs = proof.synthetic(pair.graph, 40, seed=3).samples
    costs = counting.instructions(pair, CORTEX_M4)
    paths = execution.serial(costs)
    for k, path in enumerate(paths):
        counted = run_qemu(program, inputs, forced(len(pair.limits), k)).instructions.mean()
        assert path.time == pytest.approx(counted, rel=CLOSE)
    with Console(quiet=True).step("oracle") as step:
        trace = proof.oracle(pair, proof.Inputs("synthetic", inputs), step)
    # A quarter is within each early limit, so that some leave everywhere.
    at = np.quantile(trace.statistics[:, :3], 0.25, axis=0, method="lower").astype(int).tolist()
    limits = (*at, *pair.limits[3:])
    shares = predict.rates(trace, pair.decisions, limits)
    assert sum(share > 0 for share in shares) == 4
    counted = run_qemu(program, inputs, limits).instructions.mean()
    assert execution.mean(paths, shares).time == pytest.approx(counted, rel=CLOSE)


@needs_emulator
def test_the_backbone_alone_is_counted_where_its_file_is(tmp_path):
    pair = pointed(tmp_path)
    without = counting.backbone(pair, CORTEX_M4)
    assert without == counting.instructions(pair, CORTEX_M4).shared[-1]
    content, _ = several_exits(5, ())
    (tmp_path / pairs.BACKBONE).write_bytes(content)
    alone = pairs.plain(tmp_path / pairs.BACKBONE)
    program = build(compile_for(alone, alone.optimised, CORTEX_M4, tmp_path / "c", "time"), CORTEX_M4, tmp_path / "out")
    counted = run_qemu(program, counting.one_input(alone)[np.newaxis], ()).instructions[0]
    assert counting.backbone(pair, CORTEX_M4) == pytest.approx(float(counted), rel=CLOSE)
    assert abs(without - counted) > 2 * CLOSE * counted  # another network


@needs_emulator
def test_an_operating_point_takes_what_is_predicted_without_the_exits_that_it_leaves_out(tmp_path):
    pair = pointed(tmp_path)
    program = build(compile_for(pair, pair.optimised, CORTEX_M4, tmp_path / "c", "time"), CORTEX_M4, tmp_path / "out")
    inputs = proof.synthetic(pair.graph, 40, seed=3).samples
    with Console(quiet=True).step("oracle") as step:
        trace = proof.oracle(pair, proof.Inputs("synthetic", inputs), step)
    points, early = [], [e.name for e in pair.exits.exits[:-1]]
    for number, point in enumerate(pair.exits.operating_points):
        taken = exit_taken(trace.statistics, pair.limits_at(number), 4)
        shares = tuple((np.bincount(taken, minlength=4) / len(taken)).tolist())
        points.append(replace(point, predicted=door.Predicted(len(taken), 0.5, shares, 1.0)))
    run = own(tmp_path, pair.content, replace(pair.exits, model_file="mine.tflite", operating_points=tuple(points)))
    found = estimated(run, "--target", "cortex-m4")
    assert [one["used"] for one in found["mixes"][1:]] == [[n in p.thresholds for n in early] for p in points[1:]]
    for number, one in enumerate(found["mixes"]):
        counted = run_qemu(program, inputs, Point(number)).instructions.mean()
        assert one["serial"]["instructions"] == pytest.approx(counted, rel=CLOSE)


@needs_emulator
def test_time_and_energy_are_those_of_the_table(kws, found, tmp_path):
    board = {"name": "mine", "clock_hz": 64e6, "cycles_per_instruction": 1.5, "watts": 0.02, "second": {"speed": 2.0}}
    (tmp_path / "board.json").write_text(json.dumps(board))
    told = estimated(kws, "--energy", tmp_path / "board.json", "--exit-rate", 0.5)
    for one in (told["backbone"], *(e["serial"] for e in told["exits"]), told["mixes"][0]["serial"]):
        assert one["seconds"] == pytest.approx(one["instructions"] * 1.5 / 64e6)
        assert one["joules"] == pytest.approx(0.02 * one["seconds"])
    (mix,) = told["mixes"]
    assert mix["exit_rates"] == [0.5, 0.5] and told["why_no_cycles"] == ""
    assert mix["parallel"]["instructions"] < mix["serial"]["instructions"]
    bare, path = replace(found, table=Table("bare")), found.serial[0]
    assert bare.seconds(path) is None and bare.joules(path) is None
    assert 1.0 < found.cycles < 2.0 and found.seconds(path) == pytest.approx(path.time * found.cycles / 80e6)


@needs_emulator
def test_a_folder_gets_the_figures_and_a_picture_of_the_same_bytes_each_time(kws, found, tmp_path):
    printed = estimated(kws, "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "estimate.json").read_text()) == printed
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".png", ".svg"}
    (tmp_path / "again").mkdir()
    for path in picture.draw(found, tmp_path / "again"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


@needs_emulator
def test_where_no_clock_is_known_only_instructions_are_told(kws, found):
    told = invoke(kws, "--target", "cortex-m3")
    assert told.exit_code == 0 and "uJ" not in told.stdout and "no clock and no power are known" in told.stdout
    known = results.text(found)
    assert "STM32L432KC" in known and "stimated" in known and " ms " in known and "measured" not in known


@needs_emulator
def test_a_model_without_early_exit_is_told_so(tmp_path):
    content, exits = several_exits(4, ())
    run = own(tmp_path, content, replace(exits, model_file="mine.tflite"))
    told = invoke(run, "--target", "cortex-m4", "--out", tmp_path / "out")
    assert told.exit_code == 0 and "no early exit" in told.stdout and "parallel" not in told.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["estimate.json"]
    refused = invoke(run, "--target", "cortex-m4", "--exit-rate", 0.5)
    assert refused.exit_code == 2 and "it has none" in refused.output
    nothing = invoke(run)
    assert nothing.exit_code == 2 and "Name one: --target cortex-m0, " in nothing.output


@needs_emulator
def test_exit_rates_that_nobody_knows_are_asked_for(tmp_path):
    content, exits = several_exits(4, ("max_score",) * 2)
    run = own(tmp_path, content, replace(exits, model_file="mine.tflite"))
    told = invoke(run, "--target", "cortex-m4")
    assert told.exit_code == 0 and "say it with --exit-rate, once for each early exit" in told.stdout
    few = estimated(run, "--target", "cortex-m4", "--exit-rate", 0.1, "--exit-rate", 0.2)["mixes"]
    assert few[0]["exit_rates"] == pytest.approx([0.1, 0.2, 0.7])


def test_all_that_is_wrong_with_exit_rates_is_said_at_once(kws):
    refused = invoke(kws, "--exit-rate", "nan", "--exit-rate", "1.5")
    assert refused.exit_code == 2 and refused.output.count("Error: ") == 3
    assert "one for each early exit of kws.tflite; it has 1: early" in refused.output


def test_what_counts_no_instructions_is_refused(kws):
    refused = invoke(kws, "--target", "host")
    assert refused.exit_code == 2 and "Nothing counts instructions on the target 'host'." in refused.output


def test_what_cannot_be_written_is_said_before_anything_is_counted(kws, tmp_path):
    (tmp_path / "file").write_text("")
    refused = invoke(kws, "--out", tmp_path / "file")
    assert refused.exit_code == 2 and "cannot be made" in refused.output


def test_missing_tools_are_named(kws, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    refused = invoke(kws, "--json")
    assert refused.exit_code == 2
    assert json.loads(refused.stdout)["error"]["problems"] == ["arm-none-eabi-gcc is not installed."]


def test_a_folder_without_a_pair_is_refused(tmp_path):
    assert "is not a run directory" in invoke(tmp_path).output
    run = request.start("kws", tmp_path / "run", {}, Console(quiet=True))
    refused = invoke(run.path)
    assert refused.exit_code == 2 and "model comes before estimate" in refused.output


@needs_emulator
def test_a_planted_bug_is_found(kws, tmp_path, monkeypatch):
    plant(
        counting.priced,
        "cost + decision for cost in found.heads",
        "decision for cost in found.heads",
        monkeypatch,
    )
    with pytest.raises(AssertionError):
        test_several_exits_take_what_is_predicted(door.FINAL, tmp_path)
