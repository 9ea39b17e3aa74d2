"""Every pair that ships is what it says: the task's exit, the published counts, and a build that is proven."""

import json

import pytest
from click.testing import CliRunner

from mlperf_tiny import TASKS, pretrained
from trecx import files
from trecx.cli import main
from trecx.steps import pair as pairs

SHIPPED = [(task, exit) for task in TASKS for exit in pretrained.exits(task.name)]
# MACs to the early and the final exit of T-RecX's models (fused where two convolutions are one), and of the backbones.
PAPER = {"kws": (1_501_536, 2_706_688), "ic": (5_690_368, 13_038_208), "vww": (3_272_832, 8_673_344)}
BACKBONES = {"kws": 2_656_768, "ic": 12_501_632, "vww": 7_489_664}


def test_every_task_ships_with_the_papers_exit():
    assert {task.name for task, exit in SHIPPED if exit == "paper"} == {task.name for task in TASKS}


@pytest.mark.parametrize(("task", "exit"), SHIPPED, ids=[f"{t.name}-{e}" for t, e in SHIPPED])
def test_a_shipped_pair_belongs_to_its_task_and_tells_where_it_comes_from(task, exit):
    folder = pretrained.folder(task.name, exit)
    pair = pairs.read(folder)
    assert pair.exits.classes == task.classes
    assert pair.graph.input.shape[1:] == task.input_shape
    if exit == "paper":
        assert pair.macs == PAPER[task.name]
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["sha256"][f"{task.name}.tflite"] == files.sha256(folder / f"{task.name}.tflite")
    (attached,) = (one for one in task.attachments if one.name == exit)
    # The first pair was made before this was recorded.
    assert provenance.get("early_view") in (attached.view is not None, None)
    assert provenance["protocol"] and provenance["measured"]["macs"]["backbone"] == BACKBONES[task.name]
    assert not (folder / "backbone.tflite").exists()  # somebody else's


@pytest.mark.parametrize(("task", "exit"), SHIPPED, ids=[f"{t.name}-{e}" for t, e in SHIPPED])
def test_a_shipped_pair_builds_into_proven_firmware_with_its_recorded_accuracy(task, exit, tmp_path):
    arguments = ["build", task.name, "--exit", exit, "--target", "host", "--samples", "20", "--json"]
    done = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    measured = json.loads((pretrained.folder(task.name, exit) / "provenance.json").read_text())["measured"]
    assert report["accuracy"] == {
        **measured["accuracy"],
        "most_frequent_class": report["accuracy"]["most_frequent_class"],
    }
    assert all(not one["mismatches"] for one in report["verification"])
