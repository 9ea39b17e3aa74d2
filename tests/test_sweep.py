"""`trecx sweep`: two workers on one study, one killed, then all interrupted, and what is made of the result."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from trecx.cli import main
from trecx.judge.trace import Trace
from trecx.steps import pair as pairs
from trecx.steps.learning import BACKBONE_VALIDATION
from trecx.studies.sweep import results, store
from trecx.studies.sweep.candidate import worth
from trecx.studies.sweep.sweep import PLAIN, shared_settings

optuna = pytest.importorskip("optuna")

TASK = f"{Path(__file__).parent / 'branching_task.py'}:TASK"
TRIALS = 3
CHOSEN = ("--methods", "dyce,sdn", "--exits", "input,two", "--epochs", "2", "--cost", "macs", "--seed", "2")


def arguments(folder: Path, *more: str) -> list[str]:
    (folder / "data").mkdir(exist_ok=True)
    wanted = ("--trials", str(TRIALS), "--out", str(folder / "out"))
    return ["sweep", "--task", TASK, "--data", str(folder / "data"), *CHOSEN, *wanted, *more]


def until(true, seconds: float = 400):
    """What `true()` gives, once it is something."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)
    return found


def logs(out: Path) -> list[str]:
    return [path.read_text() for path in sorted((out / store.WORKERS).glob("*"))]


def alive(out: Path) -> list[list[str]]:
    """What each worker has said that lives, line by line."""
    return [path.read_text().splitlines() for path in (out / store.WORKERS).glob("*") if not store.is_gone(path)]


def training(out: Path) -> list[int]:
    """The processes of workers that are in the middle of a training."""
    return [int(log[0].split()[-1]) for log in alive(out) if len(log) > 1 and log[-1].endswith(": train")]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a sweep of which one worker was killed in a training, and the whole interrupted after that."""
    folder = tmp_path_factory.mktemp("sweep")
    out, command = folder / "out", [sys.executable, "-m", "trecx", *arguments(folder)]
    # Tests that are run in the background ignore interruptions, and so would what they start.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **heard)
    killed = until(lambda: training(out))[0]
    os.kill(killed, signal.SIGKILL)
    (log,) = [log for log in logs(out) if f", process {killed}\n" in log]
    assert log.endswith(": train\n"), "it was killed too late to tell anything"
    until(lambda: len(logs(out)) > 2 and len(training(out)) == 2)
    first.send_signal(signal.SIGINT)
    told = first.communicate()[1]
    assert first.returncode == 130 and "Interrupted" in told and "Traceback" not in told
    assert alive(out) == [] and list((out / "temporary").iterdir()) == []
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    return folder


@pytest.fixture(scope="module")
def study(swept):
    return store.open_(str(swept / "out" / "journal.log"), "trecx-branching")


def test_nothing_is_lost_and_nothing_done_twice(swept, study):
    trials = study.get_trials()
    states = [one.state.name for one in trials]
    assert states.count("COMPLETE") == TRIALS and set(states) == {"COMPLETE", "FAIL"}
    # What was killed and what was interrupted, each was tried again with the same parameters.
    left = {one.number: one for one in trials if one.state.name == "FAIL"}
    again = {one.system_attrs["retry_history"][-1]: one for one in trials if "retry_history" in one.system_attrs}
    assert len(left) >= 3 and set(again) == set(left)
    assert all(again[number].params == one.params for number, one in left.items())
    said = [line.partition(", ")[2] for log in logs(swept / "out") for line in log.splitlines()]
    trained = [line for line in said if ": train: " in line]
    quantized = [line for line in said if ": quantize: " in line]
    candidates = {path.name for path in (swept / "out" / "trials").iterdir()}
    assert sorted(line.split(":")[0] for line in trained) == sorted(candidates)
    assert sorted(line.split(":")[0] for line in quantized) == sorted(candidates)


def test_the_document_says_what_the_study_does(swept, study):
    found = results.read(swept / "out")
    complete = {one.number: one.values for one in study.get_trials() if one.state.name == "COMPLETE"}
    assert {one.number: [one.accuracy, one.cost] for one in found.trials} == complete
    assert set(found.pareto) <= {one.number for one in study.best_trials}
    assert found.best == found.pareto[0] and found.trial(found.best).cost == min(one.cost for one in found.front)
    assert (swept / "out" / "sweep.png").stat().st_size > 10_000


def test_a_candidate_is_worth_what_its_pair_does_to_validation_samples(swept):
    found = results.read(swept / "out")
    settings = shared_settings(results_run(swept))
    for one in found.trials:
        folder = swept / "out" / "trials" / one.candidate.partition("-")[0] / f"model-{one.settings['criterion']}"
        pair = pairs.read(folder)
        predicted = pair.exits.operating_points[0].predicted
        if predicted is not None:  # not where the surest of all answers
            assert (one.accuracy, one.cost) == (predicted.accuracy, predicted.macs)
        assert worth(folder, results.settled(settings, one.settings)) == one.judged
    assert all(one.judged.bound <= found.points for one in found.front)


def results_run(swept):
    from trecx import run

    return run.open_(swept / "out" / PLAIN)


def test_it_is_judged_against_what_its_loss_is_told_against(swept, tmp_path):
    found = results.read(swept / "out")
    one = found.trial(found.best)
    folder = swept / "out" / "trials" / one.candidate.partition("-")[0] / f"model-{one.settings['criterion']}"
    shutil.copytree(folder, tmp_path / "model")
    backbone = Trace.load(folder / BACKBONE_VALIDATION)
    wrong = replace(backbone, labels=(backbone.logits[:, -1].argmax(axis=1) + 1).astype(np.int32) % 10)
    wrong.save(tmp_path / "model" / BACKBONE_VALIDATION)
    told = json.loads((tmp_path / "model" / "calibration.json").read_text())
    told["loss"] = -100 * one.accuracy  # against a backbone that is never right
    (tmp_path / "model" / "calibration.json").write_text(json.dumps(told))
    settings = results.settled(shared_settings(results_run(swept)), one.settings)
    assert worth(tmp_path / "model", settings).accuracy == one.accuracy
    assert worth(tmp_path / "model", replace(settings, against="final")).accuracy != one.accuracy


def test_a_finished_sweep_does_nothing_but_print(swept):
    before = {p: p.stat().st_mtime_ns for name in ("trials", PLAIN) for p in (swept / "out" / name).rglob("*.*")}
    done = CliRunner().invoke(main, [*arguments(swept), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["candidates"] == results.read(swept / "out").candidates
    now = {p: p.stat().st_mtime_ns for name in ("trials", PLAIN) for p in (swept / "out" / name).rglob("*.*")}
    assert {p for p in now if p.name not in ("run.json", ".lock") and now[p] != before.get(p)} == set()


def test_the_best_is_built_from_what_was_trained(swept, tmp_path):
    out = swept / "out"
    found = results.read(out)
    options = ["--target", "host", "--samples", "20", "--out", str(tmp_path / "run"), "--json"]
    done = CliRunner().invoke(main, ["build", "--from-study", str(out), *options])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    said = report["provenance"]["study"]
    assert (said["trial"], said["candidates"], said["samples"]) == (found.best, found.candidates, 400)
    assert any(f"trial {found.best} of the study trecx-branching" in one for one in report["warnings"])
    source = out / "trials" / found.trial(found.best).candidate.partition("-")[0]
    for name in ("train/model.keras", "quantize/branching.tflite"):
        assert (tmp_path / "run" / name).read_bytes() == (source / name).read_bytes()
    assert report["calibration"]["exit_rate"] == found.trial(found.best).judged.exit_rate


def test_another_search_in_its_folder_is_refused_with_every_difference(swept):
    before = (swept / "out" / PLAIN / "run.json").read_bytes()
    done = CliRunner().invoke(main, arguments(swept, "--points", "2", "--epochs", "3", "--study", "other"))
    assert done.exit_code == 2
    assert all(f"{name} was" in done.output for name in ("--points", "--epochs", "--study"))
    done = CliRunner().invoke(main, arguments(swept, "--exits", "one"))
    assert done.exit_code == 2 and "the taps was ['input', 'two'], now ['one']" in done.output
    assert (swept / "out" / PLAIN / "run.json").read_bytes() == before


def copied(swept, tmp_path) -> Path:
    """The sweep without what is large."""
    shutil.copytree(swept, tmp_path / "sweep", ignore=shutil.ignore_patterns("trials"))
    return tmp_path / "sweep"


def test_a_damaged_journal_or_document_is_named(swept, tmp_path):
    folder = copied(swept, tmp_path)
    journal, document = folder / "out" / "journal.log", folder / "out" / results.FILE
    lines = journal.read_text().splitlines(keepends=True)
    # It is the copy's own, though the sweep was elsewhere when it was made.
    journal.write_text("".join([*lines[:3], "{\n", *lines[3:]]))
    done = CliRunner().invoke(main, arguments(folder))
    assert done.exit_code == 2 and "journal.log cannot be used" in done.output, done.output
    document.write_text('{"format": "trecx-sweep/1", "trials": 3}')
    done = CliRunner().invoke(main, ["build", "--from-study", str(folder / "out")])
    assert done.exit_code == 2 and "sweep.json is damaged" in done.output and "trials" in done.output


def test_another_storage_for_its_folder_is_refused(swept, tmp_path):
    done = CliRunner().invoke(main, arguments(swept, "--storage", str(tmp_path / "other.log")))
    assert done.exit_code == 2 and f"lies in {swept / 'out' / 'journal.log'}, not in" in done.output
    assert not (tmp_path / "other.log").exists()


@pytest.mark.parametrize(
    ("trial", "options", "told"),
    [
        ("", ["--method", "sdn"], "--method: a study has chosen"),
        ("", ["--criterion", "margin"], "--criterion: trial"),
        ("", ["--train"], "a study has chosen"),
        (":99", [], "no trial 99"),
        ("", ["kws"], "a task of its own"),
        ("x", [], "not the folder of a sweep"),
    ],
)
def test_what_cannot_be_built_from_a_study_is_said(swept, tmp_path, trial, options, told):
    text = f"{swept / 'out'}{trial}"
    done = CliRunner().invoke(main, ["build", *options, "--from-study", text, "--out", str(tmp_path / "run")])
    assert done.exit_code == 2 and told in done.output
    assert not (tmp_path / "run").exists()
