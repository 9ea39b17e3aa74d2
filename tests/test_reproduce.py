"""A reproduction of a tiny task: what is done once, what goes on, what two processes do, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("tf_keras")

from tiny_reproduction import QUIET, SHORT, TINY, edit, entry, options
from tiny_task import DATA

import mlperf_tiny
from trecx import stamp
from trecx.cli import main
from trecx.errors import AnswerIsNo, ToolMissing, TrecxError
from trecx.judge import reference
from trecx.judge.trace import Trace
from trecx.learn import train as training
from trecx.learn.keras import keras
from trecx.run import Run
from trecx.stamp import content
from trecx.steps import answers, effort, judging, learning
from trecx.steps import pair as pairs
from trecx.studies.reproduce import instructions, markdown, results
from trecx.studies.reproduce.plan import WITH, WITHOUT
from trecx.studies.reproduce.reproduce import run

pytest_plugins = ("tiny_reproduction",)
pytestmark = pytest.mark.usefixtures("known_task")


class Stop(Exception):
    """An interruption."""


def document(folder: Path) -> str:
    """results.md on one line."""
    return " ".join((folder / "docs" / "results.md").read_text().split())


def weights_of(folder: Path):
    return keras().models.load_model(folder / "train" / "model.keras", compile=False).get_weights()


def test_every_seed_of_every_variant_is_reported_with_its_hashes(finished):
    found = entry(finished)["variants"]
    assert list(found) == [WITH, WITHOUT]
    for name, variant in found.items():
        assert [seed["seed"] for seed in variant["seeds"]] == [1, 2]
        assert variant["left_out"] == []
        for seed in variant["seeds"]:
            model = finished / "out" / name / f"seed{seed['seed']}" / "model" / "tiny.tflite"
            assert seed["sha256"]["model"] == content(model)
            assert seed["chosen_before_test"]
            assert seed["proven_samples"] == len(DATA.test)
    assert len(entry(finished)["paired"][0]["values"]) == 2


def test_seeds_differ_and_start_from_the_one_backbone(finished):
    first, second = (weights_of(finished / "out" / WITH / f"seed{k}") for k in (1, 2))
    assert any((a != b).any() for a, b in zip(first, second, strict=True))
    trained = stamp.read(finished / "out" / WITH / "seed2" / "train")
    started = trained.configuration["weights"]["weights"]
    assert started == content(finished / "out" / "backbone" / "backbone.keras")
    for k in (1, 2):  # and in the samples that fix the int8 ranges
        quantized = stamp.read(finished / "out" / WITH / f"seed{k}" / "quantize")
        assert quantized.configuration["recipe"]["seed"] == k


def test_a_second_run_does_nothing_again(copied, no_training):
    before = (copied / "docs" / "results.json").read_bytes(), (copied / "docs" / "results.md").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in (copied / "out").rglob("*.npz")}
    run("tiny", options(copied), QUIET)
    assert before == ((copied / "docs" / "results.json").read_bytes(), (copied / "docs" / "results.md").read_bytes())
    assert times == {path: path.stat().st_mtime_ns for path in (copied / "out").rglob("*.npz")}


def test_an_interrupted_seed_goes_on_and_ends_the_same(finished, tmp_path, monkeypatch):
    real, seen = training.train, []

    def interrupted(task, data, method, settings, folder, progress):
        def stopping(done, total):
            if done == 3:  # in the second epoch of two steps each
                raise Stop

        real(task, data, method, settings, folder, stopping)

    def watched(task, data, method, settings, folder, progress):
        real(task, data, method, settings, folder, lambda done, total: seen.append(done))

    backbone = finished / "out" / "backbone" / "backbone.keras"
    chosen = options(tmp_path, weights=backbone, seeds=(1,), only=WITH)
    monkeypatch.setattr(training, "train", interrupted)
    with pytest.raises(Stop):
        run("tiny", chosen, QUIET)
    assert not (tmp_path / "out" / WITH / "seed1" / "train").exists()
    monkeypatch.setattr(training, "train", watched)
    run("tiny", chosen, QUIET)
    assert min(seen) == 2  # the first epoch was not trained again
    pairs = zip(
        weights_of(tmp_path / "out" / WITH / "seed1"), weights_of(finished / "out" / WITH / "seed1"), strict=True
    )
    assert all((a == b).all() for a, b in pairs)
    assert list(entry(tmp_path)["variants"]) == [WITH]


def test_a_training_with_another_configuration_is_refused_and_kept(copied, no_training, monkeypatch):
    changed = replace(TINY, tuning=replace(SHORT, epochs=3))
    monkeypatch.setattr(mlperf_tiny, "TASKS", (changed,))
    model = copied / "out" / WITH / "seed1" / "train" / "model.keras"
    before = model.read_bytes()
    with pytest.raises(TrecxError) as refused:
        run("tiny", options(copied), QUIET)
    assert len(refused.value.problems) == 4  # all seeds at once
    assert "settings.epochs is 2, now 3" in refused.value.problems[0]
    assert model.read_bytes() == before


def test_a_seed_that_another_process_holds_is_left_to_it(copied, no_training):
    folder = copied / "out" / WITH / "seed2"
    shutil.rmtree(folder / "evaluate")
    with Run(folder).lock():
        run("tiny", options(copied), QUIET)
    assert not (folder / "evaluate").exists()
    assert entry(copied)["left_out"] == [{"variant": WITH, "seed": 2, "reason": "not finished: no evaluate"}]
    assert [seed["seed"] for seed in entry(copied)["variants"][WITH]["seeds"]] == [1]
    run("tiny", options(copied), QUIET)
    assert [seed["seed"] for seed in entry(copied)["variants"][WITH]["seeds"]] == [1, 2]


def test_thresholds_are_written_before_a_test_sample_is_answered(copied, no_training, monkeypatch):
    folder, order = copied / "out" / WITH / "seed1", []
    for name in ("model", "thresholds", "verify", "evaluate"):
        shutil.rmtree(folder / name)
    for module, name in ((answers, "answer"), (learning, "answer"), (judging, "answer"), (judging, "record")):
        monkeypatch.setattr(module, name, watched(getattr(module, name), folder / "thresholds", order))
    run("tiny", options(copied, seeds=(1,), only=WITH), QUIET)
    assert order == [False] * 2 + [True] * 2  # validation by both models, then test
    assert entry(copied)["variants"][WITH]["seeds"][0]["chosen_before_test"]


def watched(real, folder, order):
    def noted(*arguments, **named):
        order.append(folder.exists())
        return real(*arguments, **named)

    return noted


def test_another_confidence_recalibrates_without_new_answers_and_says_so(copied, no_training):
    trace = copied / "out" / WITH / "seed1" / "evaluate" / "test.npz"
    before = trace.stat().st_mtime_ns
    run("tiny", options(copied, confidence=0.8), QUIET)
    assert trace.stat().st_mtime_ns == before
    assert {c["confidence"] for c in entry(copied)["variants"][WITH]["seeds"][0]["calibrated"]} == {0.8, 0.5}
    assert "after test samples had been judged" in document(copied)


@pytest.mark.parametrize("field", ["logits", "scores"])
def test_a_bit_that_is_not_the_oracles_is_an_error(field, copied, no_training, monkeypatch):
    real = reference.tflm_trace

    def planted(*arguments):
        trace = real(*arguments)
        wrong = getattr(trace, field).copy()
        wrong[-1, 0, -1] ^= 1
        return replace(trace, **{field: wrong})

    folder = copied / "out" / WITH / "seed1"
    shutil.rmtree(folder / "verify")
    monkeypatch.setattr(reference, "tflm_trace", planted)
    monkeypatch.setattr(effort, "ALONE_S", float("inf"))  # other processes would not know what is planted
    with pytest.raises(AnswerIsNo, match="differ from the oracle"):
        run("tiny", options(copied, seeds=(1,), only=WITH), QUIET)
    assert not (folder / "verify").exists()


def test_answers_are_the_oracles_on_every_sample(finished):
    folder = finished / "out" / WITH / "seed1"
    pair, plain = pairs.read(folder / "model"), pairs.plain(folder / "model" / pairs.BACKBONE)
    for model, file in ((pair, judging.TEST), (plain, judging.BACKBONE_TEST)):
        inputs = answers.quantized(DATA.test.x, model.graph)
        expected = reference.tflm_trace(model.content, model.reading, inputs, model.limits)
        assert np.array_equal(Trace.load(folder / "evaluate" / file).logits, expected.logits)


def test_a_seed_is_a_run_that_every_verb_takes(copied, no_training):
    folder = str(copied / "out" / WITH / "seed1")
    done = CliRunner().invoke(main, ["report", folder])
    assert done.exit_code == 0, done.output
    assert "accuracy" in done.output


def test_a_report_alone_needs_no_data_and_leaves_other_tasks_as_they_are(copied, no_training, tmp_path):
    with results.updating(copied / "docs", "other") as tasks:
        tasks["other"] = tasks["tiny"] | {"title": "Another task"}
    run("tiny", options(copied, data=tmp_path / "none", report_only=True), QUIET)
    assert results.read(copied / "docs")["other"]["title"] == "Another task"
    assert "## other: Another task" in document(copied)


def test_the_document_follows_from_results_json_alone(finished):
    docs = finished / "docs"
    assert markdown.text(results.read(docs), docs) == (docs / "results.md").read_text()


def test_seeds_of_another_configuration_are_left_out_and_named(copied):
    path = copied / "out" / WITHOUT / "seed2" / "train" / ".stamp"
    edit(path, "configuration", "settings", "batch", to=99)
    run("tiny", options(copied, report_only=True), QUIET)
    variant = entry(copied)["variants"][WITHOUT]
    assert ([seed["seed"] for seed in variant["seeds"]], variant["left_out"]) == ([1], [2])
    (left,) = entry(copied)["left_out"]
    assert left == {"variant": WITHOUT, "seed": 2, "reason": "trained with another configuration"}


@pytest.mark.parametrize("stage_name", ["train", "model", "firmware"])
def test_a_seed_whose_parts_do_not_belong_together_is_named_and_not_reported(stage_name, copied):
    folder = copied / "out" / WITH
    shutil.rmtree(folder / "seed2" / stage_name)
    shutil.copytree(folder / "seed1" / stage_name, folder / "seed2" / stage_name)
    run("tiny", options(copied, report_only=True), QUIET)
    assert [seed["seed"] for seed in entry(copied)["variants"][WITH]["seeds"]] == [1]
    (left,) = entry(copied)["left_out"]
    assert left == {"variant": WITH, "seed": 2, "reason": "its steps do not belong together"}


def test_without_the_tools_instructions_are_left_out_and_the_document_says_so(copied, no_training, monkeypatch):
    def missing(name):
        raise ToolMissing(f"{name} is not installed.", "Install it.")

    for name in (WITH, WITHOUT):
        shutil.rmtree(copied / "out" / name / instructions.FOLDER, ignore_errors=True)
    monkeypatch.setattr(instructions.toolchain, "require", missing)
    run("tiny", options(copied), QUIET)
    assert entry(copied)["variants"][WITH]["instructions"] is None
    assert "were not counted" in document(copied)
    assert not (copied / "docs" / "results-tiny-instructions.png").exists()


def test_pictures_are_small_and_equal_for_equal_results(copied):
    kinds = list((copied / "docs").glob("*.png"))
    before = {path: path.read_bytes() for path in kinds}
    run("tiny", options(copied, report_only=True), QUIET)
    assert len(before) >= 2
    assert before == {path: path.read_bytes() for path in kinds}
    assert all(len(content) < 120_000 for content in before.values())


def as_trecx_0_1_left_it(folder: Path) -> None:
    """Make the folders of a reproduction what the first version made of them."""
    for trained in (folder / "backbone", *folder.glob("*/seed*/train")):
        kept = json.loads((trained / ".stamp").read_text())
        old = {"sha256": stamp.digest(kept["configuration"]), **{k: kept[k] for k in ("configuration", "about")}}
        (trained / "config.json").write_text(json.dumps(old))
        (trained / ".stamp").unlink()
        (trained.parent / "run.json").unlink(missing_ok=True)
        (trained.parent / ".lock").unlink(missing_ok=True)
        for newer in ("quantize", "model", "thresholds", "firmware", "verify", "evaluate"):
            shutil.rmtree(trained.parent / newer, ignore_errors=True)


def test_trainings_of_the_first_version_are_gone_on_with(copied, no_training):
    before = entry(copied)["variants"]
    as_trecx_0_1_left_it(copied / "out")
    with pytest.raises(TrecxError, match=r"holds trainings of trecx 0\.1"):
        run("tiny", options(copied, report_only=True), QUIET)
    run("tiny", options(copied), QUIET)
    assert entry(copied)["variants"] == before


def test_a_damaged_training_of_the_first_version_is_kept_and_named(copied, no_training):
    as_trecx_0_1_left_it(copied / "out")
    config = copied / "out" / WITH / "seed1" / "train" / "config.json"
    edit(config, "configuration", "task", to="other")
    with pytest.raises(TrecxError, match=r"seed1/train is damaged: \.stamp is missing"):
        run("tiny", options(copied), QUIET)
    assert (config.parent / "model.keras").is_file()


def test_an_empty_folder_has_nothing_to_report(tmp_path):
    with pytest.raises(TrecxError, match="holds no complete seed"):
        run("tiny", options(tmp_path, report_only=True), QUIET)
    assert not (tmp_path / "docs").exists()


def test_data_that_are_not_there_are_told_before_anything_is_written(tmp_path):
    with pytest.raises(TrecxError, match="nowhere is not a folder"):
        run("tiny", options(tmp_path, data=tmp_path / "nowhere"), QUIET)
    assert list(tmp_path.iterdir()) == []
