"""With real data in $TRECX_DATA: the shipped pair, proven and judged on every test clip; images as published."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlperf_tiny import cifar10, person_data

DATA = os.environ.get("TRECX_DATA")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA, reason="needs Speech Commands in $TRECX_DATA"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("real") / "run"
    command = [sys.executable, "-m", "trecx", "build", "kws", "--data", DATA, "--out", str(out), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_every_test_clip_is_bit_exact(report):
    compared = {(v["target"], v["inputs"]): (v["samples"], v["mismatches"]) for v in report["verification"]}
    assert compared["host", "test samples"] == (report["accuracy"]["int8_with_exits"]["samples"], 0)
    assert compared["host", "synthetic samples"] == (1000, 0)
    if shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm"):
        assert compared["cortex-m4", "test samples"] == (200, 0)


def test_the_shipped_pair_keeps_its_promise(report):
    plain = report["accuracy"]["int8_without_exits"]["value"]
    early, final = (e["accuracy"]["value"] for e in report["exits"])
    assert early >= 0.82
    assert final >= plain - 0.005
    assert report["accuracy"]["int8_with_exits"]["value"] >= plain - 0.01
    assert report["macs"]["saving"] >= 0.30


def test_judging_again_gives_the_recorded_answers(report, tmp_path):
    command = [sys.executable, "-m", "trecx", "build", "kws", "--out", str(tmp_path / "run"), "--json"]
    recorded = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for key in ("exit_rate", "loss", "macs", "exits"):
        assert recorded[key] == report[key]


@pytest.mark.skipif(not DATA or not (Path(DATA) / cifar10.FOLDER).is_dir(), reason="needs CIFAR-10 in $TRECX_DATA")
def test_cifar10_is_complete_and_its_validation_stratified():
    data = cifar10.load(Path(DATA))
    counts = [np.bincount(split.y).tolist() for split in (data.train, data.validation, data.test)]
    assert counts == [[4500] * 10, [500] * 10, [1000] * 10]
    assert data.test.description == "official test set"


@pytest.mark.skipif(not DATA or not (Path(DATA) / person_data.TEST_SET).is_dir(), reason="needs vww01 in $TRECX_DATA")
def test_the_test_of_visual_wake_words_is_the_official_one():
    data = person_data.load(Path(DATA), training=False)
    assert np.bincount(data.test.y).tolist() == [500, 500]
    assert len({image.tobytes() for image in data.test.x}) == 1000
