"""`--folds`: thresholds are chosen on training data too, by heads that were trained without them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from branching_task import DATA
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mlperf_tiny.task import Data, Split
from trecx.cli import main
from trecx.errors import TrecxError
from trecx.judge.trace import Trace
from trecx.learn import folds
from trecx.settings import Settings
from trecx.steps import left_out
from trecx.steps import pair as pairs

SHORT = ("--epochs", "1")
TASK = f"{Path(__file__).parent / 'branching_task.py'}:TASK"


def split(name: str, count: int, source=None, group=None) -> Split:
    x = np.arange(count, dtype=np.float32)[:, None]
    return Split(name, name, x, np.zeros(count, np.int32), source, group)


@given(st.lists(st.sampled_from(["", "ann", "bob", "cleo", "dan"]), min_size=4, max_size=60), st.integers(2, 4))
def test_whose_samples_they_are_stays_together(names, count):
    part = folds.parts(split("train", len(names), group=np.array(names)), count, 1)
    assert set(part) <= set(range(count))
    for name in set(names) - {""}:
        assert len(set(part[np.array(names) == name])) == 1
    largest = max([names.count(name) for name in set(names) - {""}], default=1)
    assert np.ptp(np.bincount(part, minlength=count)) <= max(largest, 1)


def test_samples_of_nobody_are_on_their_own():
    part = folds.parts(split("train", 100), 5, 1)
    assert np.bincount(part).tolist() == [20] * 5
    assert (part != folds.parts(split("train", 100), 5, 2)).any()


def test_no_training_sees_the_part_that_it_is_asked_about():
    source = np.array(["clean", "clean augmented", "noisy"] * 20)
    group = np.array([f"speaker {k // 6}" for k in range(60)])
    validation = split("validation", 9, np.array(["clean", "other", "clean"] * 3))
    data = Data(split("train", 60, source, group), validation, split("test", 5), calibration=("clean",))
    part = folds.parts(data.train, 3, 1)
    asked = []
    for number in range(3):
        without, left = folds.without(data, part, number), folds.left_out(data, part, number, 1)
        assert not set(without.train.group) & set(left.group)
        assert set(left.source) == {"clean"}  # neither copies nor what validation does not choose on
        assert len(without.train) + (part == number).sum() == 60 and without.test is validation
        asked += left.x[:, 0].tolist()
    assert sorted(asked) == [k for k in range(60) if source[k] == "clean"]


def test_at_most_so_many_are_asked_about(monkeypatch):
    monkeypatch.setattr(folds, "MOST", 30)
    data = Data(split("train", 90), split("validation", 5), split("test", 5))
    part = folds.parts(data.train, 3, 1)
    assert [len(folds.left_out(data, part, number, 1)) for number in range(3)] == [10] * 3


def test_statistics_are_told_in_the_other_models_scale():
    """A margin of 0.4 is 8 steps of 0.05 and 4 of 0.1; the highest score means the same in every scale."""
    from trecx.decision import Margin, MaxScore

    values = np.array([[[10, 2, 0], [0, 0, 0]]], np.int8)

    class Model:
        def __init__(self, *decisions):
            self.decisions = decisions

    for kind, same in ((Margin, False), (MaxScore, True)):
        fine, coarse = kind(0.05), kind(0.1)
        trace = Trace(values, values, np.zeros(1, np.uint8), statistics=fine.statistic(values[:, :1]).astype(np.uint32))
        told = left_out._told(trace, Model(fine), Model(coarse)).statistics
        if same:
            assert (told == trace.statistics).all()
        else:
            half = np.array([[[5, 1, 0]]], np.int8)
            assert (told == coarse.statistic(half)).all()


def build(folder: Path, *more):
    pytest.importorskip("tf_keras")
    (folder / "data").mkdir(exist_ok=True)
    short = ("--epochs", 2, "--target", "host", "--samples", 20)
    return CliRunner().invoke(
        main,
        ["build", "--task", TASK, "--data", str(folder / "data"), *map(str, (*short, *more, "--out", folder / "run"))],
    )


def calibrated(run: Path, *more) -> dict:
    done = CliRunner().invoke(main, ["calibrate", str(run), *more])
    assert done.exit_code == 0, done.output
    return json.loads((run / "model" / "calibration.json").read_text())


def test_a_build_chooses_on_what_heads_have_not_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(left_out, "LEAST_APART", 1e9)  # so few epochs make heads that differ
    done = build(tmp_path, "--method", "dyce", "--exits", "one", "--folds", 2)
    assert done.exit_code == 0, done.output
    run = tmp_path / "run"
    chosen = json.loads((run / "model" / "calibration.json").read_text())
    assert (chosen["samples"], chosen["left_out"]) == (1400, 1000)
    assert "400 validation samples and 1,000 of the training data" in (run / "report" / "report.txt").read_text()
    whole, *parts = (pairs.read(folder) for folder in (run / "quantize", *sorted((run / "quantize").glob("without*"))))
    assert len({whole.content, *(one.content for one in parts)}) == 3
    alone = (run / "quantize" / "backbone.tflite").read_bytes()
    assert all((one.path.parent / "backbone.tflite").read_bytes() == alone for one in parts)
    final = Trace.load(run / "model" / "validation.npz").right()[:, -1]
    assert (final == Trace.load(run / "model" / "backbone_validation.npz").right()[:, -1]).all()
    assert calibrated(run, "--criterion", "margin")["left_out"] == 1000
    monkeypatch.setattr(left_out, "LEAST_APART", -1.0)
    alone = calibrated(run, "--criterion", "max_score")
    assert (alone["samples"], alone["left_out"], alone["warnings"][-1]) == (400, 0, left_out.UNLIKE)

    settings = Settings.from_json(json.loads((run / "run.json").read_text())["settings"])
    for other in ({"seed": 2}, {"folds": 3}):  # what calibrate would take after another training that was not quantized
        with pytest.raises(TrecxError, match="were trained without other parts"):
            left_out.answers(settings.changed(other), DATA, run / "quantize", whole, None, None)
    (run / "quantize" / "parts.npz").write_bytes(b"nothing")
    with pytest.raises(TrecxError, match="does not say which training samples"):
        left_out.answers(settings, DATA, run / "quantize", whole, None, None)


def trace(statistics) -> Trace:
    """Samples with these statistics at the early one of two exits."""
    count = len(statistics)
    logits = np.zeros((count, 2, 3), np.int8)
    column = np.array(statistics, np.uint32)[:, None]
    return Trace(logits, logits, np.zeros(count, np.uint8), np.zeros(count, np.int32), statistics=column)


def test_heads_that_let_other_shares_leave_are_not_believed():
    from trecx.decision import MaxScore

    rng, decisions = np.random.default_rng(1), (MaxScore(0.1),)
    validation = trace(rng.integers(65_536, 90_000, 400))
    same = [trace(rng.integers(65_536, 90_000, 300)) for _ in range(2)]
    less_sure = [trace(rng.integers(70_000, 90_000, 300)) for _ in range(2)]
    assert left_out.alike(validation, same, decisions)
    assert not left_out.alike(validation, less_sure, decisions)


def test_a_backbone_that_learns_is_another_one_without_each_part(tmp_path):
    done = build(tmp_path, "--method", "branchynet", "--folds", 2)
    assert done.exit_code == 2 and "exits of branchynet train the backbone as well" in done.output
    assert not (tmp_path / "run").exists()
    begun = CliRunner().invoke(
        main,
        [
            "train",
            str(tmp_path / "sdn"),
            "--task",
            TASK,
            "--method",
            "sdn",
            "--data",
            str(tmp_path / "data"),
            "--epochs",
            "1",
        ],
    )
    assert begun.exit_code == 0, begun.output
    more = CliRunner().invoke(main, ["train", str(tmp_path / "sdn"), "--folds", "2"])
    assert more.exit_code == 2 and "exits of sdn train the backbone as well" in more.output


def test_rows_keep_everything_that_is_known_of_samples():
    whole = split("train", 4, np.array(list("abab")), np.array(list("wxyz")))
    some = whole.rows(np.array([True, False, False, True]))
    assert (some.x[:, 0].tolist(), some.source.tolist(), some.group.tolist()) == ([0, 3], ["a", "b"], ["w", "z"])
    assert replace(whole, group=None).rows(slice(1)).group is None
