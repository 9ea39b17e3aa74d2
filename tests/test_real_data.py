"""With real speech in $TRECX_DATA: the shipped pair, proven and judged on every test clip."""

import json
import os
import shutil
import subprocess
import sys

import pytest

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
