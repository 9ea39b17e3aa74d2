"""A task in a file of the user's own: built all the way, and refused with everything that is wrong with it."""

import json

import pytest
from click.testing import CliRunner
from networks import two_exits
from own_things import TASK, write_task

pytest.importorskip("tf_keras")

from trecx import run as runs
from trecx.cli import main
from trecx.settings import Settings
from trecx.stamp import Origin
from trecx.subjects import subject


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


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_task_or_model_does_not_take_over_a_run(built, tmp_path):
    folder, _ = built
    before = contents(folder / "run")
    write_task(tmp_path / "mine.py")
    content, exits = two_exits(0)
    (tmp_path / "mine.tflite").write_bytes(content)
    exits.write(tmp_path / "exits.json")
    own = ["compile", tmp_path / "mine.tflite", "--exits", tmp_path / "exits.json"]
    for arguments, told in (
        (["build", "ic", "--out", folder / "run"], "not of a task (ic)"),
        (["train", folder / "run", "--task", "ic"], "not of a task (ic)"),
        (["build", "--task", tmp_path / "mine.py:MINE", "--data", ".", "--out", folder / "run"], f"({tmp_path}/mine"),
        ([*own, "--out", folder / "run"], "not of a model (mine)"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2 and "delete this one" in result.output
        assert f"is the run of a task ({folder}/mine.py:MINE)" in result.output and told in result.output
    assert contents(folder / "run") == before


def test_a_file_is_the_same_however_its_path_is_written(tmp_path):
    write_task(tmp_path / "mine.py")
    other = tmp_path / "up" / ".." / "mine.py"
    first, second = (subject(Settings("bright", f"{file}:MINE")).identity for file in (tmp_path / "mine.py", other))
    assert first == second != subject(Settings("bright", f"{tmp_path}/mine.py:OTHER")).identity
    models = [Settings("m", model=str(tmp_path / name)) for name in ("m.h5", "n.h5")]
    assert len({subject(of).identity for of in (*models, Settings("m"), Settings("n"), Settings("m", "m"))}) == 5


def test_data_that_do_not_fit_take_nothing_from_a_finished_run(tmp_path):
    model, data = tmp_path / "run" / "model", tmp_path / "data"
    data.mkdir()
    run = runs.create(tmp_path / "run", Settings("ic", "ic").as_json())
    run.step("model", Origin({}), lambda folder: (folder / "ic.tflite").write_bytes(b"precious"))
    before = contents(tmp_path / "run")
    result = invoke("build", "ic", "--data", data, "--target", "host", "--out", tmp_path / "run")
    assert result.exit_code == 2 and "cifar-10-batches-py" in result.output
    assert contents(tmp_path / "run") == before and {path.name for path in model.iterdir()} == {".stamp", "ic.tflite"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("import numpy as np", "import numpy as np\nimport no_such_module", ["mine.py, line 4: ModuleNotFoundError"]),
        ("import numpy as np", "raise SystemExit(3)", ["mine.py, line 3: SystemExit"]),
        ("QUICK = Recipe(", "QUICK = Recipe((", ["mine.py, line 38: ", "Correct the file."]),
        ("MINE = ", "OTHER = ", ["has no MINE", "Tasks in this file: OTHER"]),
        ("MINE = Task", "MINE = dict; OTHER = Task", ["MINE in", "is type, not a Task"]),
        ('"bright", "Bright halves"', '"a b", "Bright halves"', ["'a b' cannot name C"]),
        ('"bright", "Bright halves"', '"kws", "Bright halves"', ["'kws' is that of a task"]),
        ('SHAPE, ("dark", "bright")', '(8, 0), ("x", "x")', ["input_shape is (8, 0)", "classes are x, x"]),
        ("recipe=QUICK", "recipe=QUICK, runner_name='\"'", ["runner_name '\"' cannot stand in C"]),
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
        (["build", "kws", "--train", "--exits", "block1,block2", "--exit", "paper"], "give one of them"),
        (["build", "kws", "--train", "--exits", "block1", "--tap", "block1"], "Give one of them"),
        (["build", "kws", "--train", "--exits", "block1,,block2"], "does not name layers, each once"),
        (["build", "kws", "--train", "--exits", "block1,block1"], "does not name layers, each once"),
        (["build", "kws", "--train", "--method", "nothing"], "no exit method 'nothing'; there is trecx"),
        (["build", "kws", "--method", "trecx"], "--method: these belong to a training"),
        (["build", "ic", "--train", "--data", "empty", "--exits", "low"], "no tap 'low'"),
        (["build", "kws", "--name", "mine"], "--name belongs to --model"),
        (["train", "run", "--task", "nothing"], "no task 'nothing'"),
        (["build", "kws", "--data", "empty"], "speech_commands"),
        (["build", "ic", "--data", "empty"], "cifar-10-batches-py"),
        (["build", "vww", "--data", "empty"], "vw_coco2014_96"),
        (["build", "vww", "--train", "--data", "empty"], "vw_coco2014_96"),
        (["build", "ic", "--train", "--data", "empty", "--tap", "low"], "no tap 'low'"),
        (["train", "run", "--task", "ic", "--data", "empty"], "cifar-10-batches-py"),
    ],
)
def test_options_that_cannot_be_meant_are_told_and_leave_nothing(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    (tmp_path / "empty").mkdir()
    result = invoke(*arguments)
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit)
    assert told in result.output
    assert {path.name for path in tmp_path.iterdir()} <= {"mine.py", "__pycache__", "empty"}
