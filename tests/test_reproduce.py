"""A reproduction of a tiny task: what is done once, what goes on, what two processes do, and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tf_keras")

from tiny_reproduction import QUIET, SHORT, TINY, edit, entry, options
from tiny_task import DATA

import mlperf_tiny
from trecx.errors import AnswerIsNo, ToolMissing, TrecxError
from trecx.judge import reference
from trecx.judge.trace import Trace
from trecx.learn.exits.method import specs
from trecx.learn.keras import keras
from trecx.steps import answers
from trecx.studies.reproduce import damage, instructions, markdown, results, stage
from trecx.studies.reproduce import seed as seeds
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
            model = finished / "out" / name / f"seed{seed['seed']}" / "int8" / "tiny.tflite"
            assert seed["sha256"]["model"] == seeds.file_sha256(model)
            assert seed["chosen_before_test"]
            assert seed["proven_samples"] == len(DATA.test)
    assert len(entry(finished)["paired"][0]["values"]) == 2


def test_seeds_differ_and_start_from_the_one_backbone(finished):
    first, second = (weights_of(finished / "out" / WITH / f"seed{k}") for k in (1, 2))
    assert any((a != b).any() for a, b in zip(first, second, strict=True))
    start = seeds.file_sha256
    config = stage.kept(finished / "out" / WITH / "seed2" / "train")
    assert config["configuration"]["weights"]["weights"] == start(finished / "out" / "backbone" / "backbone.keras")
    for k in (1, 2):  # and in the samples that fix the int8 ranges
        quantized = stage.kept(finished / "out" / WITH / f"seed{k}" / "int8")
        assert quantized["configuration"]["settings"]["seed"] == k


def test_a_second_run_does_nothing_again(copied, no_training):
    before = (copied / "docs" / "results.json").read_bytes(), (copied / "docs" / "results.md").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in (copied / "out").rglob("*.npz")}
    run("tiny", options(copied), QUIET)
    assert before == ((copied / "docs" / "results.json").read_bytes(), (copied / "docs" / "results.md").read_bytes())
    assert times == {path: path.stat().st_mtime_ns for path in (copied / "out").rglob("*.npz")}


def test_an_interrupted_seed_goes_on_and_ends_the_same(finished, tmp_path, monkeypatch):
    real, seen = seeds.training.train, []

    def interrupted(task, data, method, settings, folder, progress):
        def stopping(done, total):
            if done == 3:  # in the second epoch of two steps each
                raise Stop

        real(task, data, method, settings, folder, stopping)

    def watched(task, data, method, settings, folder, progress):
        real(task, data, method, settings, folder, lambda done, total: seen.append(done))

    backbone = finished / "out" / "backbone" / "backbone.keras"
    chosen = options(tmp_path, weights=backbone, seeds=(1,), only=WITH)
    monkeypatch.setattr(seeds.training, "train", interrupted)
    with pytest.raises(Stop):
        run("tiny", chosen, QUIET)
    assert stage.kept(tmp_path / "out" / WITH / "seed1" / "train") is None
    monkeypatch.setattr(seeds.training, "train", watched)
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
    shutil.rmtree(folder / "test")
    with stage.held(folder) as mine:
        assert mine
        run("tiny", options(copied), QUIET)
    assert not (folder / "test").exists()
    assert entry(copied)["left_out"] == [{"variant": WITH, "seed": 2, "reason": "not finished: no test"}]
    assert [seed["seed"] for seed in entry(copied)["variants"][WITH]["seeds"]] == [1]
    run("tiny", options(copied), QUIET)
    assert [seed["seed"] for seed in entry(copied)["variants"][WITH]["seeds"]] == [1, 2]


def test_thresholds_are_written_before_a_test_sample_is_answered(copied, no_training, monkeypatch):
    folder, real, order = copied / "out" / WITH / "seed1", answers.answer, []
    for name in ("validation", "test"):
        shutil.rmtree(folder / name)
    (folder / "calibration.json").unlink()

    def watched(pair, split, *rest, **named):
        order.append((split.name, (folder / "calibration.json").is_file()))
        return real(pair, split, *rest, **named)

    monkeypatch.setattr(answers, "answer", watched)
    run("tiny", options(copied, seeds=(1,), only=WITH), QUIET)
    assert order == [("validation", False)] * 2 + [("test", True)] * 2


def test_another_confidence_recalibrates_without_new_answers_and_says_so(copied, no_training):
    trace = copied / "out" / WITH / "seed1" / "test" / "trace.npz"
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
    shutil.rmtree(folder / "test")
    monkeypatch.setattr(reference, "tflm_trace", planted)
    with pytest.raises(AnswerIsNo, match="differ from the oracle"):
        run("tiny", options(copied, seeds=(1,), only=WITH), QUIET)
    assert stage.kept(folder / "test") is None


def test_answers_are_the_oracles_on_every_sample(finished):
    folder = finished / "out" / WITH / "seed1"
    pair, plain = answers.models(folder / "int8", "tiny", TINY.classes, specs(("early", "final")))
    for model, file in ((pair, "trace.npz"), (plain, "backbone.npz")):
        inputs = answers.quantized(DATA.test, model.graph.input)
        expected = reference.tflm_trace(model.content, model.reading, inputs, model.limits)
        assert np.array_equal(Trace.load(folder / "test" / file).logits, expected.logits)


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
    path = copied / "out" / WITHOUT / "seed2" / "train" / "config.json"
    edit(path, "configuration", "settings", "batch", to=99)
    run("tiny", options(copied, report_only=True), QUIET)
    variant = entry(copied)["variants"][WITHOUT]
    assert ([seed["seed"] for seed in variant["seeds"]], variant["left_out"]) == ([1], [2])
    (left,) = entry(copied)["left_out"]
    assert left == {"variant": WITHOUT, "seed": 2, "reason": "trained with another configuration"}


@pytest.mark.parametrize("stage_name", ["train", "validation", "test"])
def test_a_seed_whose_parts_do_not_belong_together_is_named_and_not_reported(stage_name, copied):
    folder = copied / "out" / WITH
    shutil.rmtree(folder / "seed2" / stage_name)
    shutil.copytree(folder / "seed1" / stage_name, folder / "seed2" / stage_name)
    run("tiny", options(copied, report_only=True), QUIET)
    assert [seed["seed"] for seed in entry(copied)["variants"][WITH]["seeds"]] == [1]
    (left,) = entry(copied)["left_out"]
    assert left == {"variant": WITH, "seed": 2, "reason": "its stages do not belong together"}


def test_without_the_tools_instructions_are_left_out_and_the_document_says_so(copied, no_training, monkeypatch):
    def missing(name):
        raise ToolMissing(f"{name} is not installed.", "Install it.")

    for name in (WITH, WITHOUT):
        shutil.rmtree(copied / "out" / name / damage.INSTRUCTIONS, ignore_errors=True)
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


def test_an_empty_folder_has_nothing_to_report(tmp_path):
    with pytest.raises(TrecxError, match="holds no complete seed"):
        run("tiny", options(tmp_path, report_only=True), QUIET)
    assert not (tmp_path / "docs").exists()
