"""`trecx compare`: who is compared, what is asked of each, and its pages, on real digits."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("tf_keras")

from mlperf_tiny import TASKS
from trecx.cli import main
from trecx.errors import TrecxError
from trecx.judge import report
from trecx.learn.exits import METHODS
from trecx.settings import Settings
from trecx.studies.compare import figures, markdown, pictures, plan

TASK = f"{Path(__file__).parent / 'branching_task.py'}:TASK"
KWS = next(task for task in TASKS if task.name == "kws")


def invoke(*arguments):
    return CliRunner().invoke(main, ["compare", TASK, *map(str, arguments)])


def test_every_method_and_every_exit_that_a_task_names_is_compared_and_the_controls():
    found = plan.candidates(KWS)
    assert {one.settings["method"] for one in found} == {method.name for method in METHODS}
    assert [one.settings["exit"] for one in found if "exit" in one.settings] == [a.name for a in KWS.attachments]
    assert len({one.name for one in found}) == len(found) and found[0].name == plan.BACKBONE
    assert [one.settings.get("width", 1) for one in found if one.control] == [1, *plan.WIDTHS]


def test_a_narrower_backbone_has_a_teacher_where_others_have_weights(tmp_path):
    base, options = Settings("kws", "kws", train=True), plan.Options(weights=tmp_path)
    whole, *_, narrow = plan.candidates(KWS)
    assert plan.settings(base, whole, options, 2).weights == str(tmp_path)
    found = plan.settings(base, narrow, options, 2)
    assert (found.weights, found.teacher, found.width, found.seed) == (None, str(tmp_path), 0.5, 2)


def test_what_cannot_be_compared_is_told_at_once(tmp_path):
    with pytest.raises(TrecxError) as error:
        plan.chosen(KWS, plan.Options(only=("dyce", "dice"), seeds=0, weights=tmp_path / "none"))
    assert [word in "\n".join(error.value.problems) for word in ("'dice'", "0 seeds", "no weights")] == [True] * 3


def test_the_backbone_is_always_among_them():
    assert [one.name for one in plan.chosen(KWS, plan.Options(only=("dyce",)))] == ["none", "dyce"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A comparison of the backbone and one method, one seed each."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "data").mkdir()
    where = ("--out", folder / "runs", "--docs", folder / "docs")
    few = ("--only", "none,sdn-heads", "--seeds", 1, "--epochs", 2)
    done = invoke("--data", folder / "data", *few, *where)
    assert done.exit_code == 0, done.output
    return folder, where


def test_the_figures_are_those_of_the_reports(made):
    folder, _ = made
    entry = json.loads((folder / "docs" / "compare-branching.json").read_text())
    assert [one["name"] for one in entry["candidates"]] == ["none", "sdn-heads"]
    for one in entry["candidates"]:
        told = report.read(folder / "runs" / one["name"] / "seed1" / "report" / "report.json")
        (seed,) = one["seeds"]
        judged, target = seed["judged"][0], told.targets[1]
        assert judged["accuracy"] == told.accuracy.int8_with_exits.value
        assert judged["exit_rate"] == pytest.approx(told.exit_rate)
        assert judged["macs"] == pytest.approx(told.macs.mean)
        assert judged["instructions"] == pytest.approx(target.instructions_mean)
        assert (seed["flash"], seed["ram"]) == (target.flash, target.ram)
        assert one["summary"]["judged"][0]["accuracy"]["mean"] == judged["accuracy"]
    plain, exits = entry["candidates"]
    assert abs(plain["seeds"][0]["judged"][0]["instructions_saved"]) < 1e-12  # a mean of equal numbers, in binary
    counted = exits["seeds"][0]["judged"][0]["instructions"] / plain["seeds"][0]["instructions"][-1]
    assert exits["seeds"][0]["judged"][0]["instructions_saved"] == pytest.approx(1 - counted)


def test_all_start_from_the_same_backbone(made):
    folder, _ = made
    started = json.loads((folder / "runs" / "sdn-heads" / "seed1" / "run.json").read_text())["settings"]["weights"]
    assert Path(started) == folder / "runs" / "none" / "seed1" / "train" / "backbone.keras"


def test_pages_come_again_from_what_is_finished_and_damage_is_told(made):
    folder, where = made
    page = (folder / "docs" / "compare-branching.md").read_text()
    assert "| sdn, heads only |" in page and (folder / "docs" / "compare-branching-instructions.png").is_file()
    done = invoke("--report-only", "--seeds", 1, "--epochs", 2, *where)
    assert done.exit_code == 0, done.output
    assert (folder / "docs" / "compare-branching.md").read_text() == page
    model = folder / "runs" / "sdn-heads" / "seed1" / "train" / "model.keras"
    content = model.read_bytes()
    model.write_bytes(content[:-1])
    damaged = invoke("--report-only", *where)
    model.write_bytes(content)
    assert damaged.exit_code == 2 and "is damaged" in damaged.output
    assert (folder / "docs" / "compare-branching.md").read_text() == page


def test_a_folder_without_runs_is_no_comparison(tmp_path):
    done = invoke("--report-only", "--out", tmp_path, "--docs", tmp_path / "docs")
    assert done.exit_code == 2 and "no finished run of the 'none' backbone" in done.output
    assert not (tmp_path / "docs").exists()


def judged(accuracy: float, instructions: float) -> dict:
    return {"summary": {"judged": [{"accuracy": {"mean": accuracy}, "instructions": {"mean": instructions}}]}}


def test_networks_without_exits_are_compared_at_equal_cost():
    static = [{"control": True, **judged(0.9, 300.0)}, {"control": True, **judged(0.8, 100.0)}]
    exits = [{"control": False, **judged(0.0, cost)} for cost in (99.0, 100.0, 150.0, 300.0, 301.0)]
    found = [one["static_at_equal_cost"] for one in figures._beside([*static, *exits])]
    assert found == [None, None, None, pytest.approx(0.8), pytest.approx(0.825), pytest.approx(0.9), None]


def test_pages_tell_who_was_not_counted(made, tmp_path):
    entry = json.loads((made[0] / "docs" / "compare-branching.json").read_text())
    for one in entry["candidates"]:
        one["summary"]["judged"][0] |= {"instructions": None, "instructions_saved": None}
        for seed in one["seeds"]:
            seed |= {"instructions": None, "instructions_by_exit_rate": None, "flash": None, "ram": None}
    assert [path.name for path in pictures.draw(entry, tmp_path, "few")] == ["few-macs.png"]
    text = markdown.text(entry, "few")
    assert "few-instructions.png" not in text and "save MACs" in text.replace("none saves", "these save")
