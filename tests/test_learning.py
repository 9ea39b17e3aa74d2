"""From speech to firmware on a corpus of chirps, with every step that real data takes, and an interruption."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from speech import write_corpus, write_test_set
from synthetic_traces import DECISION, synthetic

from mlperf_tiny import KWS
from trecx.judge.calibrate import calibrate
from trecx.judge.trace import Trace
from trecx.settings import Settings
from trecx.steps import learning
from trecx.steps.learned import exits_of
from trecx.steps.pair import read

pytest.importorskip("tf_keras")


def command(*arguments):
    return [sys.executable, "-m", "trecx", *map(str, arguments)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("speech")
    write_corpus(root / "data" / "speech_commands_v0.02", words=("yes", "no", "bed", "up"), speakers=8)
    write_test_set(root / "data" / "speech_commands_test_set_v0.02", per_label=2)
    return root


@pytest.fixture(scope="module")
def environment(folder):
    """The features of this corpus are cached beside it."""
    return {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}


@pytest.fixture(scope="module")
def run(folder, environment):
    """A training that was interrupted once and taken up again, and everything after it."""
    out = folder / "run"
    arguments = ("build", "kws", "--data", folder / "data", "--train", "--epochs", 3, "--target", "host", "--out", out)
    # Whoever runs the tests in the background may ignore SIGINT, and children would inherit that.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command(*arguments), stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heard
    )
    deadline = time.monotonic() + 300
    while not list(out.glob(".train.*.partial/checkpoint*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "takes up where it stopped" in told and "Traceback" not in told, told
    assert not (out / "train").exists()
    done = subprocess.run(command(*arguments, "--json"), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_an_interrupted_training_is_taken_up_and_ends_in_proven_firmware(run):
    out, report = run
    assert [v["mismatches"] for v in report["verification"]] == [0, 0]
    assert report["verification"][0]["inputs"] == "test samples"
    assert {"train", "quantize", "model", "firmware", "verify", "evaluate", "report"} <= {p.name for p in out.iterdir()}
    assert not list(out.glob(".*.partial"))
    history = json.loads((out / "train" / "history.json").read_text())
    assert history["settings"]["epochs"] == 3


def test_the_report_compares_float_int8_and_exits_on_the_same_test_clips(run):
    _, report = run
    found = {name: one for name, one in report["accuracy"].items() if isinstance(one, dict)}
    assert len(found) == 3
    assert {a["samples"] for a in found.values()} == {24}
    assert len({a["split"] for a in found.values()}) == 1
    assert report["macs"]["backbone"] == 2_656_768
    assert report["calibration"]["samples"] > 0
    assert report["provenance"]["data"]


def test_calibrating_again_changes_the_pair_and_what_is_reported_and_trains_nothing(run, environment):
    out, before = run
    trained = (out / "train" / "history.json").stat().st_mtime_ns
    for arguments in (("calibrate", out, "--points", 100), ("report", out)):
        done = subprocess.run(command(*arguments), capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
    exits = json.loads((out / "model" / "exits.json").read_text())
    chosen = exits["operating_points"][0]["thresholds"]["early"]
    assert chosen > 0
    assert (out / "train" / "history.json").stat().st_mtime_ns == trained
    report = json.loads((out / "report" / "report.json").read_text())
    (point,) = report["operating_point"]
    assert (point["exit"], point["threshold"]) == ("early", chosen)
    assert before["operating_point"][0]["threshold"] != chosen
    answers = Trace.load(out / "evaluate" / "test.npz")  # what the firmware answered, and where it left
    (decision,) = read(out / "model").decisions
    assert report["exit_rate"] == pytest.approx(np.mean(answers.exit_taken == 0))  # 1 - 1/3 rounds otherwise than 2/3
    assert report["exit_rate"] == pytest.approx(expected_rate(answers, decision, point["limit"]))


def test_thresholds_may_be_chosen_against_the_own_final_exit(run, environment):
    out, _ = run
    told = {}
    for against in ("final", "backbone"):
        arguments = ("calibrate", out, "--against", against)
        done = subprocess.run(command(*arguments), capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        told[against] = json.loads((out / "model" / "calibration.json").read_text())["reference"]
    assert told == {"final": "its own final exit", "backbone": "the backbone alone"}


def test_a_calibration_after_which_nothing_leaves_says_why_in_its_line():
    trace = synthetic(500, (0.5, 0.6), seed=3)
    hopeless = calibrate(trace, (DECISION,), reference_right=np.ones(500, bool))
    told = learning.outcome(hopeless)
    assert told.startswith("threshold never: 0.0% of 500 validation samples") and "--against final" in told
    assert "WARNING" not in learning.outcome(calibrate(synthetic(60, seed=1), (DECISION,), points=5))


@pytest.mark.parametrize(
    ("chosen", "view"),
    [
        (Settings("kws", "kws"), True),
        (Settings("kws", "kws", early_view=False), False),
        (Settings("kws", "kws", exit="best"), False),
        (Settings("kws", "kws", taps=("block1",)), True),
    ],
)
def test_provenance_says_whether_the_final_exit_has_an_early_view(chosen, view, tmp_path):
    (tmp_path / "history.json").write_text('{"settings": {}}')
    told = learning.provenance(chosen, exits_of(chosen, KWS), {}, tmp_path, [], tmp_path)
    assert told["early_view"] is view


def test_provenance_does_not_know_what_a_model_with_exits_of_its_own_looks_at(tmp_path):
    from trecx.learn.own_model import Ready

    (tmp_path / "history.json").write_text('{"settings": {}}')
    chosen = Settings("mine", model="mine.h5", complete=True)
    told = learning.provenance(chosen, Ready(("early", "final")), {}, tmp_path, [], tmp_path)
    assert told["early_view"] is None


def expected_rate(answers, decision, limit):
    """Share of samples whose early answer is sure enough for a limit."""
    return np.mean(decision.statistic(answers.logits[:, 0]) <= limit)


def test_the_curve_is_drawn(run):
    out, _ = run
    assert (out / "report" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "report" / "curve.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("damage", ["no recordings", "unreadable recordings", "nothing at all"])
def test_data_that_cannot_be_used_is_told_at_once(damage, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    if damage == "unreadable recordings":
        write_corpus(data / "speech_commands_v0.02")
        write_test_set(data / "speech_commands_test_set_v0.02")
        for path in list((data / "speech_commands_v0.02").rglob("*.wav"))[:3]:
            path.write_bytes(b"RIFF????")
    elif damage == "no recordings":
        (data / "speech_commands_v0.02" / "yes").mkdir(parents=True)
    done = subprocess.run(
        command("build", "kws", "--data", data, "--train", "--out", tmp_path / "run"), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stderr.startswith("Error")
    assert not (tmp_path / "run" / "train").exists()
    assert Path(data).is_dir()
