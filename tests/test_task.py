"""What every task has: where its data come from, and the names that the program takes from it."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from own_things import write_task

import mlperf_tiny
from mlperf_tiny import IC, KWS, TASKS, VWW, pretrained
from mlperf_tiny.task import provenance
from trecx.cli import main
from trecx.settings import Settings
from trecx.steps import firmware
from trecx.steps import pair as pairs


def test_provenance_counts_by_kind_and_hashes_all_arrays_as_they_are_read():
    x, y = np.arange(12, dtype=np.uint8).reshape(3, 4), np.array([0, 1, 1], np.int32)
    digest = hashlib.sha256(x.T.tobytes() + y.tobytes()).hexdigest()[:16]
    assert provenance({"bright": 1200, "dark": 2}, x.T, y) == f"1,200 bright, 2 dark; sha256 {digest}"
    assert provenance({"bright": 1200, "dark": 2}, x.T, x[:0], y).endswith(digest)


def test_provenance_is_worked_out_as_when_the_shipped_pairs_were_trained():
    x, y = np.arange(2 * 3072).astype(np.uint8).reshape(2, 32, 32, 3), np.array([3, 9], np.int32)
    assert provenance({"CIFAR-10": 2}, x, y) == "2 CIFAR-10; sha256 3302bef87d412482"


def test_firmware_calls_the_model_as_the_official_runner_does(tmp_path):
    pair = pairs.read(pretrained.folder("kws"))
    told = {task: firmware.names(Settings(task.name, task.name), pair).runner_name for task in TASKS}
    assert told == {KWS: "kws01", IC: "ic01", VWW: "vww01"}
    own = f"{write_task(tmp_path / 'mine.py')}:MINE"
    assert firmware.names(Settings("bright", own), pair).runner_name == "bright"
    assert firmware.names(Settings("mine"), pair).runner_name == "mine"


@pytest.mark.parametrize("command", ["build", "train", "reproduce", "bench"])
def test_help_lists_the_tasks_that_there_are(command, monkeypatch):
    monkeypatch.setattr(mlperf_tiny, "TASKS", (KWS, replace(VWW, name="zebra")))
    shown = CliRunner().invoke(main, [command, "--help"]).output
    assert "kws|zebra" in shown and "vww" not in shown
