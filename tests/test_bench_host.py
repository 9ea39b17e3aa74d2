"""The emitted C timed beside the wheel on this machine: both answer everything, and everything is compared."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from networks import CLASSES, two_exits

import mlperf_tiny
from mlperf_tiny.task import Data, Split, Task
from trecx import exits as door
from trecx.cli import main
from trecx.device.run import run_host
from trecx.judge import reference
from trecx.steps import data as data_step
from trecx.steps import pair as pairs
from trecx.studies.bench import host

DOCS = Path(__file__).parent.parent / "docs" / "bench.md"
TRUE_TRACE = reference.tflm_trace


def invoke(*arguments):
    return CliRunner().invoke(main, ["bench", "--host", *map(str, arguments)])


@pytest.fixture
def own(tmp_path) -> Path:
    """A folder with a pair of two exits and a threshold between its samples' scores."""
    folder = tmp_path / "own"
    folder.mkdir()
    content, exits = two_exits(0)
    (folder / "model.tflite").write_bytes(content)
    point = door.OperatingPoint("some leave", {exits.exits[0].name: 0.5})
    replace(exits, operating_points=(point,)).write(folder / "exits.json")
    return folder


@pytest.fixture
def task(own, monkeypatch) -> Task:
    """A registered task whose seven test samples fit the model."""
    shape = pairs.read(own).graph.input.shape[1:]
    rng = np.random.default_rng(1)

    def split(name: str, count: int) -> Split:
        return Split(name, name, rng.normal(0, 3, (count, *shape)).astype(np.float32), np.zeros(count, np.int32))

    def load(folder, progress=None, training=True) -> Data:
        return Data(split("train", 0), split("validation", 0), split("test", 7))

    made = Task("own", "A task", shape, tuple("abcdefgh"[:CLASSES]), lambda keras: None, load)
    monkeypatch.setattr(mlperf_tiny, "TASKS", (*mlperf_tiny.TASKS, made))
    monkeypatch.setattr(data_step, "_held", {})
    return made


def asked(monkeypatch) -> list[np.ndarray]:
    """The samples that the wheel is given from now on."""
    seen = []

    def trace(model, reading, inputs, *others):
        seen.append(inputs)
        return TRUE_TRACE(model, reading, inputs, *others)

    monkeypatch.setattr(reference, "tflm_trace", trace)
    return seen


def test_both_sides_stand_side_by_side_with_every_answer_compared(own, tmp_path):
    done = invoke(own, "--samples", 9, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    rows = [line.split("  ")[0].strip() for line in done.stdout.splitlines()]
    assert any(row.startswith("TFLM's wheel, tflite-micro") for row in rows)
    assert any(row.startswith("emitted C, cc") for row in rows)
    assert "the same at its thresholds" in done.stdout
    assert "Answers that differ: 0 of 9." in done.stdout
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["host.json"]


def test_json_says_the_same_and_every_key_is_documented(own):
    done = invoke(own / "model.tflite", "--samples", 9, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    model = document["models"][0]
    assert (model["samples"], model["mismatches"], model["problem"]) == (9, 0, "")
    assert len(model["exits"]) == 2
    for side in (model["wheel"], model["emitted"]):
        assert side["samples_per_s"] == pytest.approx(9 / side["seconds"])
        assert side["first_answer_s"] > 0
    assert model["times_as_fast"] == pytest.approx(model["wheel"]["seconds"] / model["emitted"]["seconds"])
    told = DOCS.read_text(encoding="utf-8").split("## This machine")[1].split("\n## ")[0]
    keys = {*document, *model, *model["wheel"]}
    assert [key for key in sorted(keys) if f"`{key}`" not in told] == []


@pytest.mark.parametrize("what", ["logits", "scores", "exit_taken"])
def test_one_answer_that_differs_is_status_1_and_named(own, monkeypatch, what):
    def planted(*arguments):
        trace = TRUE_TRACE(*arguments)
        changed = getattr(trace, what).copy()
        changed[-1] ^= 1
        return replace(trace, **{what: changed})

    monkeypatch.setattr(reference, "tflm_trace", planted)
    done = invoke(own, "--samples", 9)
    assert done.exit_code == 1
    assert "Answers that differ: 1 of 9." in done.stdout
    assert "1 of 9 samples differ from the oracle; the first is sample 8" in done.output
    document = json.loads(invoke(own, "--samples", 9, "--json").stdout)
    assert document["models"][0]["mismatches"] == 1 and "sample 8" in document["models"][0]["problem"]


def test_every_exit_answers_every_sample_and_no_pass_is_counted_twice(own, monkeypatch):
    passes = []

    def seen(program, samples, limits, *others):
        passes.append((len(samples), limits))
        return run_host(program, samples, limits, *others)

    monkeypatch.setattr(host, "run_host", seen)
    limits = pairs.read(own).limits
    assert invoke(own, "--samples", 9).exit_code == 0
    assert passes[1:] == [(9, forced) for forced in (*host._forced(pairs.read(own)), limits)]
    exits = door.read(own / "exits.json")
    replace(exits, operating_points=()).write(own / "exits.json")  # every sample goes on: the final exit's pass again
    passes.clear()
    done = invoke(own, "--samples", 9, "--json")
    assert [count for count, _ in passes] == [1, 9, 9]
    assert json.loads(done.stdout)["models"][0]["at_thresholds"] is None


@pytest.mark.parametrize(("extra", "count"), [((), 7), (("--samples", 3), 3)])
def test_with_data_the_test_split_is_answered(own, task, monkeypatch, extra, count):
    seen = asked(monkeypatch)
    done = invoke(own, "--data", own, "--task", task.name, *extra)
    assert done.exit_code == 0, done.output
    assert f"{count} test samples" in done.stdout
    assert [len(samples) for samples in seen] == [1, count]


def test_a_run_directory_and_its_own_task_are_found(own, task, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    exits = door.read(own / "exits.json")
    replace(exits, task=task.name).write(own / "exits.json")
    own.rename(run / "model")
    (run / "run.json").write_text("{}")
    done = invoke(run, "--data", tmp_path)
    assert done.exit_code == 0, done.output
    assert "7 test samples" in done.stdout


def test_what_cannot_be_timed_is_said(own, task, tmp_path):
    shaped = replace(task, name="other", load=lambda *a, **k: Data(*[Split("t", "t", np.zeros((2, 3, 3, 1)), [])] * 3))
    mlperf_tiny.TASKS = (*mlperf_tiny.TASKS, shaped)  # undone with the fixture's change
    exits = door.read(own / "exits.json")
    replace(exits, task="").write(own / "exits.json")
    cases = (
        (("--data", tmp_path), "does not say whose data it takes"),
        (("--data", tmp_path, "--task", "nonsense"), "There is no task 'nonsense'"),
        (("--data", tmp_path, "--task", "other"), "samples of other are (3, 3, 1)"),
        (("--data", tmp_path / "nowhere", "--task", "ic"), "is not a folder"),
        (("--task", "ic"), "--task belongs to the data"),
        (("--target", "cortex-m4"), "--host times this machine"),
        (("--variants",), "--host times this machine"),
    )
    for arguments, told in cases:
        done = invoke(own, *arguments)
        assert done.exit_code == 2, done.output
        assert told in done.output and "Traceback" not in done.output
    done = CliRunner().invoke(main, ["bench", str(own / "model.tflite"), "--data", str(tmp_path)])
    assert done.exit_code == 2 and "Only --host answers real data" in done.output
