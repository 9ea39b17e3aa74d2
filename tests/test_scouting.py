"""Where exits go and which, found out before a training: by what the core executes, on frozen features."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import own_things
import pytest
from click.testing import CliRunner

pytest.importorskip("tf_keras")

from branching_task import DATA, TASK
from interruptions import Stop

from mlperf_tiny import pretrained
from mlperf_tiny.task import Backbone, Data, Split, Task
from trecx import pipeline
from trecx.cli import main
from trecx.console import Console
from trecx.errors import AnswerIsNo, TrecxError
from trecx.files import write_json
from trecx.judge import choice
from trecx.run import Run
from trecx.settings import Settings
from trecx.steps import counting, scouting
from trecx.steps import pair as pairs

TASK_FILE = f"{Path(__file__).parent / 'branching_task.py'}:TASK"


def test_a_part_of_the_samples_has_every_class_its_share_and_is_drawn_by_seed():
    labels = np.repeat([0, 1, 2], [600, 300, 100]).astype(np.int32)
    split = Split("train", "", np.arange(1000, dtype=np.float32)[:, None], labels, labels.astype(str))
    few = scouting.part(split, 200, 1)
    assert np.bincount(few.y).tolist() == [120, 60, 20] and np.array_equal(few.source, few.y.astype(str))
    assert np.array_equal(np.sort(few.x[:, 0]), few.x[:, 0])
    assert np.array_equal(scouting.part(split, 200, 1).x, few.x)
    assert not np.array_equal(scouting.part(split, 200, 2).x, few.x)
    assert scouting.part(split, 1000, 1) is split


def test_large_maps_are_made_of_fewer_samples(monkeypatch):
    taps = ("input", "one", "two", "three")
    row = 4 * (64 + 64 * 16 + 16 * 16 + 16 * 16)
    monkeypatch.setattr(scouting, "LEAST_TRAINING", 100)
    monkeypatch.setattr(scouting, "MOST_BYTES", 300 * row)
    few = scouting.few_of(DATA, TASK, taps, 1)
    assert (len(few.train), len(few.validation)) == (300, 400)
    assert few.test is few.validation  # nobody looks at the test samples


def lopsided(keras) -> Backbone:
    """Two thirds of the MACs are in `wide`, whose channels but one are constant, and nobody computes them."""
    layers = keras.layers
    image = keras.Input((16, 16, 1), name="input")

    def one_channel(shape, dtype=None):
        kernel = np.zeros(shape, np.float32)
        kernel[..., 0] = 0.1
        return kernel

    x = a = layers.Conv2D(8, 3, padding="same", activation="relu", name="a")(image)
    x = b = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="b")(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu", kernel_initializer=one_channel, name="wide")(x)
    c = x
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="last")(x)

    def head(features):
        return layers.Dense(3, name="out")(layers.Flatten()(layers.AveragePooling2D(4)(features)))

    return Backbone(image, {"a": a, "b": b, "c": c}, x, head)


def noise(name, count):
    rng = np.random.default_rng(count)
    x = rng.uniform(0, 1, (count, 16, 16, 1)).astype(np.float32)
    return Split(name, "", x, np.arange(count, dtype=np.int32) % 3)


LOPSIDED = Task("lopsided", "", (16, 16, 1), ("x", "y", "z"), lopsided, lambda *_, **__: None)
INSTALLED = shutil.which("qemu-system-arm") and shutil.which("arm-none-eabi-gcc")


@pytest.mark.parametrize(
    "cost",
    ["macs", pytest.param(None, marks=pytest.mark.skipif(not INSTALLED, reason="needs an emulated Cortex-M4"))],
)
def test_exits_are_placed_by_what_is_computed(cost):
    from trecx.learn.exits.method import macs_to, placed
    from trecx.learn.keras import keras, seed

    seed(1)
    macs = macs_to(lopsided(keras()))
    settings = Settings("lopsided", "kws", train=True, method="sdn", cost=cost)
    few = Data(noise("train", 30), noise("validation", 6), noise("test", 3))
    with Console(quiet=True).step("scout") as step:
        by, plain, shares = scouting.shares_of(settings, LOPSIDED, few, step)
    assert by == (cost or "instructions:cortex-m4") and plain > 0
    assert list(shares) == ["a", "b", "c"] and list(shares.values()) == sorted(shares.values())
    assert macs["b"] < 0.4 < 0.5 < shares["b"]
    assert placed(macs, 1) == ("c",) and placed(shares, 1) == ("b",)


@pytest.mark.skipif(not INSTALLED, reason="needs an emulated Cortex-M4")
def test_what_the_usual_target_is_too_small_for_is_judged_by_macs(monkeypatch):
    pair = pairs.read(pretrained.folder("kws"))
    small = tuple(replace(one, ram_size=1024) if one.name == counting.USUAL else one for one in counting.TARGETS)
    monkeypatch.setattr(counting, "TARGETS", small)
    assert counting.costs(pair, None) == ("macs", pair.costs)
    with pytest.raises(AnswerIsNo, match="bytes of RAM"):
        counting.costs(pair, "instructions:cortex-m4")


def test_a_choice_holds_for_what_left_it_open(tmp_path):
    auto = Settings("b", "b", train=True, method="auto")
    found = scouting.Scouted("auto", "dyce", ("one",), ("one:conv",), "macs", 1.0, "so", "backbone/backbone.keras")
    write_json(tmp_path / "choice.json", asdict(found))
    made = scouting.chosen(auto, tmp_path)
    assert (made.method, made.taps, made.heads) == ("dyce", ("one",), ("one:conv",))
    assert made.weights == str(tmp_path / "backbone/backbone.keras") and not scouting.needed(made)
    named = replace(auto, weights="/somewhere/else.h5")  # what a person names goes before what was trained for it
    assert scouting.chosen(named, tmp_path).weights == named.weights
    write_json(tmp_path / "choice.json", asdict(replace(found, weights="../other.keras")))
    with pytest.raises(TrecxError, match="names weights outside its folder"):
        scouting.chosen(auto, tmp_path)
    write_json(tmp_path / "choice.json", asdict(found))
    for other in (replace(auto, method="sdn"), replace(auto, train=False), replace(auto, method="dyce", taps=("two",))):
        assert scouting.chosen(other, tmp_path) == other
    write_json(tmp_path / "choice.json", asdict(replace(found, asked="dyce", heads=(), weights=None)))
    heads = replace(auto, method="dyce", heads=("mlp",))
    assert scouting.chosen(heads, tmp_path) == replace(heads, taps=("one",))
    assert [one for one in ("trecx", "none", "auto", "sdn") if scouting.needed(replace(auto, method=one))] == [
        "auto",
        "sdn",
    ]


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def arguments(folder: Path, *more):
    (folder / "data").mkdir(exist_ok=True)
    short = ("--epochs", 3, "--target", "host", "--samples", 20, "--cost", "macs", "--points", 60)
    named = ("build", "--task", TASK_FILE, "--method", "auto", "--data", folder / "data")
    return (*named, *short, "--out", folder / "run", *more)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A run whose scouting was stopped once, after heads had been trained; and when that was."""
    folder = tmp_path_factory.mktemp("auto")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scouting, "few_of", few)
        patch.setattr(scouting.effort, "oracle", stopped)
        assert isinstance(invoke(*arguments(folder)).exception, Stop)
    (partial,) = (folder / "run").glob(".scout.*.partial")
    trained = (partial / "train" / "model.keras").stat().st_mtime_ns
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scouting, "few_of", few)
        done = invoke(*arguments(folder))
    assert done.exit_code == 0, done.output
    return folder, trained, done.output


def stopped(*_):
    raise Stop


whole = scouting.few_of


def few(found, task, taps, seed):
    part = whole(found, task, taps, seed)
    return replace(part, train=scouting.part(part.train, 200, seed))


def test_the_choice_is_built_and_told_with_what_it_was_chosen_from(built):
    folder, _, output = built
    found = json.loads((folder / "run/scout/choice.json").read_text())
    assert {(h["tap"], h["kind"]) for one in found["candidates"] for h in one["heads"]} == {
        (tap, kind) for tap in ("input", "one", "two", "three") for kind in ("linear", "mlp", "conv")
    }
    assert found["cost"] == "macs" and found["samples"] == 400 and found["weights"] == "backbone/backbone.keras"
    settings = pipeline.settings_of(Run(folder / "run"))
    assert (settings.method, list(settings.taps)) == ("dyce", found["taps"]) and found["taps"]
    assert pipeline.kept_by(Run(folder / "run")).method == "auto"
    exits = json.loads((folder / "run/model/exits.json").read_text())
    assert exits["method"] == "dyce" and len(exits["exits"]) == len(found["heads"]) + 1
    report = json.loads((folder / "run/report/report.json").read_text())
    assert report["choice"]["told"] == found["told"] and "thresholds are chosen on too" in found["told"]
    assert [v["mismatches"] for v in report["verification"]] == [0, 0]
    assert "two:conv" in output and "leave early" in output and "naming the most frequent class" in output
    assert output.index("naming the most frequent class") < output.index("two:conv")  # said first


def test_interrupted_scouting_goes_on(built):
    folder, trained, _ = built
    assert (folder / "run/scout/train/model.keras").stat().st_mtime_ns == trained


def test_the_network_that_was_trained_for_scouting_is_the_one_that_is_built(built):
    from trecx.learn.keras import keras

    folder, _, _ = built
    one, other = (
        keras().models.load_model(folder / "run" / step / "backbone.keras", compile=False).get_weights()
        for step in ("scout/backbone", "train")
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_same_again_does_nothing_and_changed_data_are_scouted_again(built, monkeypatch):
    folder, _, _ = built
    monkeypatch.setattr(scouting, "few_of", few)
    again = invoke(*arguments(folder))
    assert again.exit_code == 0 and again.output.count("unchanged") == 8 and "again:" not in again.output
    (folder / "data" / "more").touch()
    stamp = (folder / "run/scout/.stamp").stat().st_mtime_ns
    again = invoke("scout", folder / "run")
    assert again.exit_code == 0 and "data is" in again.output, again.output
    assert (folder / "run/scout/.stamp").stat().st_mtime_ns != stamp


def test_a_model_of_ones_own_needs_no_tap_and_is_built_as_it_is_where_nothing_saves_anything(tmp_path, monkeypatch):
    from trecx.learn.keras import keras

    monkeypatch.setattr(choice, "WORTH", 2.0)
    own_things.plain(keras()).save(tmp_path / "m.keras")
    images = own_things.write_images(tmp_path / "images")
    short = ("--epochs", 1, "--target", "host", "--samples", 20, "--cost", "macs", "--pixels", "0..1")
    done = invoke("build", "--model", tmp_path / "m.keras", "--data", images, "--out", tmp_path / "run", *short)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "run/scout/choice.json").read_text())
    taps = {h["tap"] for one in found["candidates"] for h in one["heads"]}
    assert taps == {"input", "first", "early_filter"} and found["weights"] is None
    assert "the network alone: of 9 heads and 27 pairs of them, the best saves" in " ".join(done.output.split())
    exits = json.loads((tmp_path / "run/model/exits.json").read_text())
    assert found["method"] == exits["method"] == "none" and len(exits["exits"]) == 1
    assert "bit-exact" in done.output


def test_a_run_that_says_where_its_exits_go_is_not_scouted(tmp_path):
    run = Run(tmp_path)
    run.choose(Settings("kws", "kws", train=True, method="sdn", taps=("block1",), data=str(tmp_path)).as_json())
    refused = invoke("scout", tmp_path)
    assert refused.exit_code == 2 and "says where its exits go" in refused.output
