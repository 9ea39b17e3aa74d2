"""A task in a file of the user's own: built all the way, and refused with everything that is wrong with it."""

import json

import pytest
from click.testing import CliRunner
from own_things import TASK, write_task

pytest.importorskip("tf_keras")

from trecx.cli import main


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def build(file, folder, *more):
    (folder / "data").mkdir(exist_ok=True)
    return invoke("build", "--task", f"{file}:MINE", "--data", folder / "data", "--out", folder / "run", *more)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    result = build(write_task(folder / "mine.py"), folder, "--target", "host", "--samples", 20, "--json")
    assert result.exit_code == 0, result.output
    return folder, json.loads(result.stdout)


def test_a_task_without_an_exit_gets_one_and_ends_in_proven_firmware(built):
    folder, report = built
    assert [v["mismatches"] for v in report["verification"]] == [0, 0]
    assert report["task"] == "bright" and report["title"] == "Bright halves"
    early, final = report["exits"]
    assert 0 < early["macs"] < final["macs"]
    assert report["macs"]["backbone"] == 8 * 8 * 9 * 8 + 4 * 4 * 9 * 8 * 16 + 32
    assert json.loads((folder / "run/train/history.json").read_text())["settings"]["epochs"] == 1
    assert (folder / "run/firmware/host/bright.c").is_file()
    settings = json.loads((folder / "run/run.json").read_text())["settings"]
    assert settings["task"] == f"{folder / 'mine.py'}:MINE" and settings["train"]


def test_later_verbs_find_the_task_and_a_changed_file_is_trained_again(built):
    folder, _ = built
    assert invoke("verify", folder / "run", "--samples", 10).exit_code == 0
    history = folder / "run/train/history.json"
    before = history.stat().st_mtime_ns
    for change, again in (("", False), ("epochs=1", True)):
        write_task(folder / "mine.py", change, "epochs=2")
        result = build(folder / "mine.py", folder, "--target", "host", "--samples", 20)
        assert result.exit_code == 0, result.output
        assert (history.stat().st_mtime_ns != before) == again
    assert json.loads(history.read_text())["settings"]["epochs"] == 2


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("import numpy as np", "import numpy as np\nimport no_such_module", ["mine.py, line 5: ModuleNotFoundError"]),
        ("import numpy as np", "raise SystemExit(3)", ["mine.py, line 4: SystemExit"]),
        ("QUICK = Recipe(", "QUICK = Recipe((", ["mine.py, line 37: ", "Correct the file."]),
        ("MINE = ", "OTHER = ", ["has no MINE", "Tasks in this file: OTHER"]),
        ("MINE = Task", "MINE = dict; OTHER = Task", ["MINE in", "is type, not a Task"]),
        ('"bright", "Bright halves"', '"a b", "Bright halves"', ["'a b' cannot name C"]),
        ('"bright", "Bright halves"', '"kws", "Bright halves"', ["'kws' is that of a task"]),
        ('SHAPE, ("dark", "bright")', '(8, 0), ("x", "x")', ["input_shape is (8, 0)", "classes are x, x"]),
        ("recipe=QUICK", "recipe=3, input_quant=(0, 400)", ["recipe is no", "input_quant is (0, 400)"]),
        (
            'SHAPE, ("dark", "bright")',
            '(9, 8, 1), ("dark", "bright", "grey")',
            ["input has shape (8, 8, 1)", "(2,); expected: one logit for each of 3 classes"],
        ),
        ('{"mid": mid}', "{}", ["no taps"]),
        ('{"mid": mid}', '{"mid": layers.Flatten()(mid)}', ["tap 'mid' has shape (512,)"]),
        ("layers = keras.layers", "layers = keras.leyers", ["backbone(keras) raises AttributeError"]),
        ("return Backbone(", "return (", ["backbone(keras) returns tuple"]),
        ("    return Data(", '    raise ValueError("no!")\n    return Data(', ["ValueError: no!"]),
        ("    return Data(split", "    return list, (split", ["load returns tuple"]),
        ("astype(np.float32)\n    x[y", "astype(np.float64)\n    x[y", ["samples of train are float64", "of test are"]),
        ("rng.integers(0, 2, count)", "rng.integers(0, 3, count)", ["labels of train are not all from 0 to 1"]),
        ('activation="relu", name="mid_conv"', 'activation="swish", name="mid_conv"', ["operators", "Supported are"]),
        ('{"mid": mid}', '{"mid": mid, "b": mid}', ["where its exit attaches", "mid (8, 8, 8), b (8, 8, 8)"]),
    ],
)
def test_a_task_that_cannot_be_built_is_told_and_leaves_nothing(old, new, told, tmp_path):
    result = build(write_task(tmp_path / "mine.py", old, new), tmp_path)
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
    for part in told:
        assert part in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["build"], "Nothing is named"),
        (["build", "kws", "--task", "mine.py:MINE"], "two tasks"),
        (["build", "--task", "mine.py"], "does not name a task"),
        (["build", "--task", "none.py:MINE"], "There is no none.py"),
        (["build", "--task", "mine.py:MINE"], "needs data"),
        (["build", "--task", "mine.py:MINE", "--model", "m.h5"], "give one of them"),
        (["build", "--task", "mine.py:MINE", "--data", ".", "--exit", "paper"], "no exit 'paper'"),
        (["build", "--task", "mine.py:MINE", "--data", ".", "--tap", "low"], "no tap 'low'"),
        (["build", "--task", "mine.py:MINE", "--data", ".", "--pixels", "0..1"], "--pixels belongs to --model"),
        (["build", "kws", "--tap", "block1"], "--train"),
        (["build", "kws", "--no-early-view"], "--no-early-view: these belong to a training"),
        (["build", "kws", "--train", "--tap", "block1", "--exit", "paper"], "give one of them"),
        (["build", "kws", "--name", "mine"], "--name belongs to --model"),
        (["train", "run", "--task", "nothing"], "no task 'nothing'"),
    ],
)
def test_options_that_cannot_be_meant_are_told_and_leave_nothing(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    result = invoke(*arguments)
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit)
    assert told in result.output
    assert {path.name for path in tmp_path.iterdir()} <= {"mine.py", "__pycache__"}
