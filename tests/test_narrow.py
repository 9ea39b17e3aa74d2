"""`--width`: the same network with a share of its filters, trained from scratch, and built like any other."""

import json
from pathlib import Path

import branching_task
import numpy as np
import own_things
import pytest
from click.testing import CliRunner

pytest.importorskip("tf_keras")

import mlperf_tiny
from mlperf_tiny.keyword_spotting import KWS
from mlperf_tiny.task import Backbone, Task
from trecx.cli import main
from trecx.errors import TrecxError
from trecx.learn.cost import cost
from trecx.learn.exits import Choice, method
from trecx.learn.keras import keras
from trecx.learn.narrow import narrow, narrowed, whole
from trecx.learn.train import plain

SPEC = f"{Path(__file__).parent / 'branching_task.py'}:TASK"
TASKS = (*mlperf_tiny.TASKS, branching_task.TASK)
# Of the networks at half the width, counted by hand: rows x columns x kernel x channels read x channels made.
HALF = {
    "kws": 125 * 40 * 32 + 4 * 125 * (9 * 32 + 32 * 32) + 32 * 12,
    "ic": 1024 * 9 * (3 * 8 + 2 * 8 * 8)
    + 256 * (9 * (8 * 16 + 16 * 16) + 8 * 16)
    + 64 * (9 * (16 * 32 + 32 * 32) + 16 * 32)
    + 32 * 10,
    "branching": 64 * 9 * 8 + 2 * 16 * 9 * 8 * 8 + 16 * 9 * 8 * 16 + 64 * 10,
}


def macs(task: Task) -> int:
    model = plain(task)
    return cost(model, model.output)[0]


@pytest.mark.parametrize(
    ("count", "width", "expected"),
    [(64, 0.5, 32), (64, 0.4, 24), (64, 0.01, 4), (8, 0.25, 4), (10, 0.25, 3), (3, 0.01, 1), (30, 0.5, 15)],
)
def test_filters_are_rounded_and_stay_multiples_of_four(count, width, expected):
    assert narrowed(count, width) == expected


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("width", [0.25, 0.5, 0.75])
def test_a_narrow_network_is_the_same_graph_with_fewer_filters(task, width):
    wide, slim = plain(task), plain(narrow(task, width))
    assert [layer.name for layer in slim.layers] == [layer.name for layer in wide.layers]
    assert slim.output_shape == wide.output_shape
    whole_backbone, backbone = task.backbone(keras()), narrow(task, width).backbone(keras())
    assert list(backbone.taps) == list(whole_backbone.taps)
    for name, tap in whole_backbone.taps.items():
        found = backbone.taps[name]
        assert found._keras_history.layer.name == tap._keras_history.layer.name
        assert tuple(found.shape) == (*tap.shape[:-1], narrowed(tap.shape[-1], width))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_half_the_filters_are_about_a_quarter_of_the_macs(task):
    found = macs(narrow(task, 0.5))
    # What reads the image or has a filter for each channel halves, the rest falls to a quarter.
    assert macs(task) / 4 <= found <= macs(task) / 2
    assert found == HALF.get(task.name, found)


def test_full_width_is_the_task_itself():
    assert narrow(KWS, 1) is KWS
    assert whole(narrow(KWS, 0.5)).backbone is KWS.backbone and whole(KWS) is KWS


def task_of(build, shape=(8, 8, 4)) -> Task:
    """A task of four classes whose network `build(layers, image)` gives as (tap, features, logits)."""

    def backbone(keras) -> Backbone:
        image = keras.Input(shape, name="input")
        tap, features, logits = build(keras.layers, image)
        return Backbone(image, {"tap": tap}, features, lambda _: logits)

    return Task("other", "", shape, ("a", "b", "c", "d"), backbone, lambda *_: None)


def many_kinds(layers, image):
    """A model inside, a gate of channels, one layer at two places, and classes from a 1x1 convolution."""
    inside = keras().Input((8, 8, 4))
    x = keras().Model(inside, layers.Conv2D(16, 3, name="deep")(inside), name="nested")(image)
    squeezed = layers.Dense(8, activation="relu", name="squeeze")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    tap = layers.Multiply(name="gate")([x, layers.Dense(16, activation="sigmoid", name="excite")(squeezed)])
    twice = layers.SeparableConv2D(16, 3, padding="same", name="twice")
    features = layers.Add(name="sum")([twice(twice(tap)), tap])
    x = layers.Conv2D(4, 1, name="classes")(layers.LayerNormalization(name="norm")(features))
    return tap, features, layers.GlobalAveragePooling2D(name="pooled")(x)


def classes_inside(layers, image):
    """Classes from a Dense layer in a model inside, behind a hidden one."""
    tap = layers.Conv2D(16, 3, name="first")(image)
    inside = [
        keras().Input((8, 8, 4)),
        layers.Flatten(),
        layers.Dense(20, name="hidden"),
        layers.Dense(4),
        layers.ReLU(),
    ]
    return tap, tap, keras().Sequential(inside, name="nested")(image)


def test_layers_of_every_kind_follow():
    found = plain(narrow(task_of(many_kinds), 0.5))
    sizes = {name: int(found.get_layer(name).output_shape[-1]) for name in ("nested", "squeeze", "excite", "sum")}
    assert sizes == {"nested": 8, "squeeze": 4, "excite": 8, "sum": 8} and found.output_shape == (None, 4)
    assert [w.shape.as_list() for w in found.get_layer("twice").weights] == [[3, 3, 8, 1], [1, 1, 8, 8], [8]]
    inner = plain(narrow(task_of(classes_inside), 0.5))
    assert inner.get_layer("nested").get_layer("hidden").units == 12 and inner.output_shape == (None, 4)
    x = np.ones((2, 8, 8, 4), np.float32)
    assert found.predict_on_batch(x).shape == inner.predict_on_batch(x).shape == (2, 4)


def written_down(layers, image):
    x = layers.Conv2D(16, 3, padding="same", name="first")(image)
    return x, x, layers.Dense(4, name="out")(layers.Reshape((8 * 8 * 16,), name="row")(x))


def of_the_image(layers, image):
    x = layers.Add(name="sum")([image, layers.Conv2D(12, 3, padding="same", name="first")(image)])
    return x, x, layers.Dense(4, name="out")(layers.Flatten(name="row")(x))


def inside(layers, image):
    x = layers.Conv2D(16, 3, padding="same", name="first")(image)
    read = keras().Input((8, 8, 16))
    x = keras().Model(read, layers.Conv2D(12, 3, name="deep")(read), name="nested")(x)
    return x, x, layers.Dense(4, name="out")(layers.Flatten(name="row")(x))


@pytest.mark.parametrize(
    ("build", "shape"), [(written_down, (8, 8, 4)), (of_the_image, (8, 8, 12)), (inside, (8, 8, 4))]
)
def test_a_network_that_does_not_fit_together_is_refused(build, shape):
    with pytest.raises(TrecxError, match=r"(?s)does not fit together with 0\.25 of its filters.+without --width"):
        narrow(task_of(build, shape), 0.25).backbone(keras())


def test_an_exit_that_reads_more_channels_than_there_are_is_refused():
    with pytest.raises(TrecxError) as caught:
        method("trecx", narrow(KWS, 0.25), Choice("paper"))
    assert caught.value.problems == (
        "The exit 'paper' reads 32 channels of the tap 'block2', which has 16.",
        "The exit 'paper' reads 32 channels of the final map, which has 16.",
    )
    assert method("trecx", narrow(KWS, 0.25), Choice(taps=("block2",))).attachment.early.width == 16


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def build(folder: Path, name: str, *more):
    (folder / "data").mkdir(exist_ok=True)
    short = ("--epochs", 1, "--target", "host", "--samples", 20)
    arguments = ("--task", SPEC, "--data", folder / "data", *short, "--out", folder / name, *more)
    done = invoke("build", *arguments)
    assert done.exit_code == 0, done.output
    return folder / name


def read(path: Path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """The plain network with half of the filters."""
    return build(tmp_path_factory.mktemp("narrow"), "half", "--method", "none", "--width", 0.5)


def test_a_narrow_network_is_built_proven_and_told(half):
    report = read(half / "report" / "report.json")
    assert [one["mismatches"] for one in report["verification"]] == [0, 0]
    assert report["macs"]["backbone"] == report["exits"][-1]["macs"] == HALF["branching"]
    assert report["provenance"]["width"] == 0.5 and report["provenance"]["starting_weights"] is None
    assert "method none with 0.5 of the filters" in (half / "report" / "report.txt").read_text()


def test_another_width_is_another_training(half):
    assert invoke("train", half, "--width", 0.5).exit_code == 0
    assert read(half / "model" / "provenance.json")["width"] == 0.5
    changed = invoke("train", half, "--width", 0.75)
    assert changed.exit_code == 0 and "again: width is 0.5, now 0.75" in " ".join(changed.output.split())
    again = invoke("quantize", half)
    assert again.exit_code == 0 and "quantize   again:" in again.output
    assert read(half / "quantize" / "provenance.json")["width"] == 0.75


def test_methods_attach_to_a_narrow_network_and_a_whole_one_teaches_it(tmp_path):
    teacher = build(tmp_path, "whole", "--method", "none") / "train" / "backbone.keras"
    run = build(tmp_path, "taught", "--method", "dyce", "--exits", "two", "--width", 0.5, "--teacher", teacher)
    report = read(run / "report" / "report.json")
    assert [one["mismatches"] for one in report["verification"]] == [0, 0]
    assert report["macs"]["backbone"] == HALF["branching"]
    told = report["provenance"]["training"]
    assert told["teacher"] == "backbone.keras" and told["distillation"] == 0.9
    assert len(read(run / "train" / "history.json")["backbone"]) == 1


def test_a_narrow_network_of_a_model_of_ones_own_learns_from_the_model(tmp_path):
    own_things.plain(keras()).save(tmp_path / "plain.h5")
    images = own_things.write_images(tmp_path / "images")
    arguments = ("build", "--model", tmp_path / "plain.h5", "--data", images, "--method", "none", "--width", 0.5)
    done = invoke(*arguments, "--epochs", 1, "--target", "host", "--samples", 20, "--out", tmp_path / "run")
    assert done.exit_code == 0 and "float accuracy" in done.output, done.output
    report = read(tmp_path / "run" / "report" / "report.json")
    assert report["macs"]["backbone"] == 64 * 27 * 4 + 64 * 36 * 8 + 16 * 72 * 12 + 36
    told = report["provenance"]
    assert told["starting_weights"] is None and told["training"]["teacher"] == "plain.h5"
    assert len(read(tmp_path / "run" / "train" / "history.json")["backbone"]) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--train", "--width", 0.5, "--weights", "w.h5"), "--weights do not fit a network with 0.5 of the filters"),
        (("--width", 0.5), "--width: these belong to a training"),
        (("--train", "--width", 0), "0.0 is not in the range 0.01<=x<=1"),
        (("--train", "--width", 1.5), "1.5 is not in the range"),
        (("--train", "--width", 0.25), "The exit 'paper' reads 32 channels of the tap 'block2'"),
    ],
)
def test_a_width_that_cannot_be_is_refused_before_anything_is_written(options, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.h5").write_bytes(b"")
    done = invoke("build", "kws", "--data", tmp_path, "--out", "run", *options)
    assert done.exit_code == 2 and told in " ".join(done.output.split()), done.output
    assert [path.name for path in tmp_path.iterdir()] == ["w.h5"]
