"""Reproductions that are damaged, or made of several experiments: what is made again, named and refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("tf_keras")

from tiny_reproduction import QUIET, TINY, edit, entry, options
from tiny_task import DATA

import mlperf_tiny
from trecx.errors import TrecxError
from trecx.studies.reproduce import results
from trecx.studies.reproduce.plan import WITH, WITHOUT
from trecx.studies.reproduce.reproduce import run

pytest_plugins = ("tiny_reproduction",)
pytestmark = pytest.mark.usefixtures("known_task")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edited(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


TRAININGS = [
    ("train/.stamp", half),
    ("train/.stamp", Path.unlink),
    ("train/model.keras", half),
    ("train/backbone.keras", Path.unlink),
    ("train/float_scores.npz", edited),
    ("../../backbone/.stamp", half),
]
SHORT_STEPS = [
    ("quantize/.stamp", half),
    ("quantize/tiny.tflite", Path.unlink),
    ("model/tiny.tflite", half),
    ("model/exits.json", edited),
    ("model/validation.npz", Path.unlink),
    ("thresholds/thresholds.json", edited),
    ("verify/verify.json", half),
    ("evaluate/test.npz", Path.unlink),
    ("evaluate/backbone_test.npz", half),
]


def damaged(folder: Path, file: str, change) -> Path:
    path = (folder / "out" / WITH / "seed1" / file).resolve()
    change(path)
    return path


@pytest.mark.parametrize(("file", "change"), [*TRAININGS, *SHORT_STEPS])
def test_what_is_damaged_is_named_and_nothing_is_reported(file, change, copied):
    shutil.rmtree(copied / "docs")
    path = damaged(copied, file, change)
    with pytest.raises(TrecxError) as refused:
        run("tiny", options(copied, report_only=True), QUIET)
    assert [str(path.parent) in problem for problem in refused.value.problems] == [True]
    assert not (copied / "docs").exists()


@pytest.mark.parametrize(("file", "change"), TRAININGS)
def test_a_damaged_training_is_left_to_the_person(file, change, copied, no_training):
    path = damaged(copied, file, change)
    before = {one: one.read_bytes() for one in path.parent.iterdir()}
    with pytest.raises(TrecxError, match="is damaged") as refused:
        run("tiny", options(copied, seeds=(1,), only=WITH), QUIET)
    assert str(path.parent) in str(refused.value)
    assert before == {one: one.read_bytes() for one in path.parent.iterdir()}


def test_a_damaged_step_is_made_again(copied, no_training):
    before = entry(copied)["variants"][WITH]["seeds"]
    for file in ("quantize/tiny.tflite", "thresholds/thresholds.json", "evaluate/test.npz"):
        damaged(copied, file, half)
    (copied / "out" / WITH / "seed2" / "model" / "validation.npz").write_bytes(b"nothing")
    run("tiny", options(copied), QUIET)
    late = {"chosen_before_test": False}  # the calibration of seed 1 is new
    assert entry(copied)["variants"][WITH]["seeds"] == [before[0] | late, before[1]]


def test_results_of_another_task_that_are_damaged_stop_the_report(copied):
    path = copied / "docs" / "results.json"
    for garbage in ({"other": {"title": "no more"}}, {"other": []}, None):
        found = {"format": results.FORMAT} | ({} if garbage is None else {"tasks": garbage})
        path.write_text(json.dumps(found))
        with pytest.raises(TrecxError, match=r"results\.json"):
            run("tiny", options(copied, report_only=True), QUIET)
        assert json.loads(path.read_text()) == found


@pytest.mark.parametrize("change", [{"confidence": 0.8}, {"against": "final"}])
def test_thresholds_chosen_otherwise_for_some_seeds_are_refused_before_they_are_chosen(change, copied, no_training):
    path = copied / "out" / WITH / "seed1" / "thresholds" / "thresholds.json"
    before = path.read_bytes(), (copied / "docs" / "results.json").read_bytes()
    with pytest.raises(TrecxError) as refused:
        run("tiny", options(copied, seeds=(1,), only=WITH, **change), QUIET)
    named = [f"{name}/seed{k} " for name, k in ((WITH, 2), (WITHOUT, 1), (WITHOUT, 2))]
    assert [name in line for name, line in zip(named, refused.value.problems, strict=True)] == [True] * 3
    assert before == (path.read_bytes(), (copied / "docs" / "results.json").read_bytes())


@pytest.mark.parametrize(
    ("file", "keys", "value"),
    [
        ("thresholds/.stamp", ("configuration", "against"), "final"),
        ("train/.stamp", ("configuration", "weights", "weights"), "0" * 64),
        ("train/.stamp", ("configuration", "weights", "teacher"), "0" * 64),
        ("train/.stamp", ("configuration", "data", "train"), "0" * 64),
    ],
)
def test_seeds_of_different_experiments_are_not_reported_as_one(file, keys, value, copied):
    before = (copied / "docs" / "results.json").read_bytes()
    edit(copied / "out" / WITHOUT / "seed1" / file, *keys, to=value)
    with pytest.raises(TrecxError) as refused:
        run("tiny", options(copied, report_only=True), QUIET)
    assert [f"{WITHOUT}/seed1 is of another experiment" in line for line in refused.value.problems] == [True]
    assert before == (copied / "docs" / "results.json").read_bytes()


def test_a_pair_with_different_settings_is_not_compared(copied):
    for k in (1, 2):
        path = copied / "out" / WITHOUT / f"seed{k}" / "train" / ".stamp"
        edit(path, "configuration", "settings", "epochs", to=3)
    with pytest.raises(TrecxError, match="epochs is 2 with early view, 3 without early view"):
        run("tiny", options(copied, report_only=True), QUIET)


def test_trainings_of_another_task_are_not_reported_as_this_ones(copied, monkeypatch):
    monkeypatch.setattr(mlperf_tiny, "TASKS", (replace(TINY, name="minute"),))
    with pytest.raises(TrecxError, match="holds trainings of tiny, not of minute"):
        run("minute", options(copied, report_only=True), QUIET)


def test_trainings_on_other_data_are_refused(copied, no_training, monkeypatch):
    other = replace(DATA, validation=replace(DATA.validation, x=DATA.validation.x + 1))
    other = replace(other, test=replace(DATA.test, x=DATA.test.x + 1))
    monkeypatch.setattr(mlperf_tiny, "TASKS", (replace(TINY, load=lambda *_, **__: other),))
    with pytest.raises(TrecxError) as refused:
        run("tiny", options(copied, weights=copied / "out" / "backbone" / "backbone.keras"), QUIET)
    assert all('data.validation is "' in line and 'data.test is "' in line for line in refused.value.problems)


def test_the_reference_of_the_thresholds_is_the_one_asked_for(copied, no_training):
    for chosen, told in (("final", "its own final exit"), ("backbone", "the backbone alone")):
        run("tiny", options(copied, against=chosen), QUIET)
        found = entry(copied)["variants"][WITH]["seeds"][0]["calibrated"]
        assert {one["reference"] for one in found} == {told}


def test_the_commands_name_every_seed_and_all_that_is_not_the_default(copied, no_training):
    assert entry(copied)["commands"] == ["trecx reproduce tiny --data DIR --seeds 2"]
    (copied / "out" / "backbone").rename(copied / "given")
    run("tiny", options(copied, weights=copied / "given" / "backbone.keras", confidence=0.8, against="final"), QUIET)
    for name in (WITH, WITHOUT):
        (copied / "out" / name / "seed1").rename(copied / "out" / name / "seed7")
    shutil.rmtree(copied / "out" / WITHOUT / "seed2")
    run("tiny", options(copied, report_only=True), QUIET)
    chosen = "trecx reproduce tiny --data DIR --weights backbone.keras --against final --confidence 0.8"
    assert entry(copied)["commands"] == [
        f"{chosen} --only with-early-view --seeds 2,7",
        f"{chosen} --only without-early-view --seeds 7-7",
    ]
