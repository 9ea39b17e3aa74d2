"""Keras models of the user's own: plain ones get an exit, those with exits are taken as they are; all are proven."""

import json

import numpy as np
import own_things
import pytest
from click.testing import CliRunner

pytest.importorskip("tf_keras")

from trecx.cli import main
from trecx.learn import own_model
from trecx.learn.keras import keras


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return own_things.write_images(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="module")
def built(images, tmp_path_factory):
    """A plain model, saved as a SavedModel, and what was built of it."""
    folder = tmp_path_factory.mktemp("plain")
    own_things.plain(keras()).save(folder / "Colour-Net")
    arguments = ("build", "--model", folder / "Colour-Net", "--tap", "first", "--data", images, "--out", folder / "run")
    result = invoke(*arguments, "--epochs", 1, "--target", "host", "--samples", 20, "--json")
    assert result.exit_code == 0, result.output
    return folder, json.loads(result.stdout), arguments


def test_a_plain_model_gets_an_exit_and_ends_in_proven_firmware(built):
    folder, report, _ = built
    assert [v["mismatches"] for v in report["verification"]] == [0, 0]
    assert report["task"] == "colour_net"
    assert report["macs"]["backbone"] == 64 * 27 * 8 + 64 * 72 * 16 + 16 * 144 * 24 + 72
    assert report["accuracy"]["int8_without_exits"] is not None
    exits = json.loads((folder / "run/model/exits.json").read_text())
    assert exits["classes"] == ["blue", "green", "red"]
    assert (folder / "run/firmware/host/colour_net.c").is_file()
    history = json.loads((folder / "run/train/history.json").read_text())
    assert history["backbone"] == [] and history["settings"]["distillation"] == own_model.RECIPE.distillation


def test_building_again_does_no_work_and_a_changed_model_is_trained_again(built):
    folder, _, arguments = built
    trained = folder / "run/train/history.json"
    before = trained.stat().st_mtime_ns
    more = (*arguments, "--epochs", 1, "--target", "host", "--samples", 20)
    assert invoke(*more).exit_code == 0
    assert trained.stat().st_mtime_ns == before
    own_things.plain(keras()).save(folder / "Colour-Net")
    assert invoke(*more).exit_code == 0
    assert trained.stat().st_mtime_ns != before


@pytest.mark.parametrize("kind", ["activation", "layer", "logits", "sequential"])
@pytest.mark.parametrize("suffix", [".h5", ".keras", ""])
def test_a_backbone_scores_as_the_model_that_it_was_made_of(kind, suffix, tmp_path):
    from mlperf_tiny.task import Task
    from trecx.learn import weights
    from trecx.learn.train import plain

    model = own_things.sequential(keras()) if kind == "sequential" else own_things.plain(keras(), kind)
    for layer in model.layers:
        layer.set_weights([np.random.default_rng(3).uniform(0, 0.1, w.shape) for w in layer.get_weights()])
    path = tmp_path / f"m{suffix}"
    model.save(path)
    x = np.random.default_rng(0).uniform(0, 1, (5, *own_things.SHAPE)).astype(np.float32)
    expected = model.predict_on_batch(x)
    if kind in ("logits", "sequential"):
        expected = np.exp(expected - expected.max(-1, keepdims=True))
        expected /= expected.sum(-1, keepdims=True)
    task = Task("t", "", own_things.SHAPE, ("a", "b", "c"), own_model.backbone(path), lambda *_: None)
    found = plain(task)
    np.testing.assert_allclose(found.predict_on_batch(x), expected, atol=1e-5)
    weights.load_into(found, path)
    np.testing.assert_allclose(found.predict_on_batch(x), expected, atol=1e-5)


@pytest.mark.parametrize("method", ["none", "sdn", "pteenet", "dyce"])
def test_other_methods_find_their_layers_in_a_model_of_ones_own(method, images, tmp_path):
    own_things.plain(keras()).save(tmp_path / "plain.h5")
    arguments = ("build", "--model", tmp_path / "plain.h5", "--data", images, "--out", tmp_path / "run")
    short = ("--method", method, "--epochs", 1, "--target", "host", "--samples", 20, "--cost", "macs")
    result = invoke(*arguments, *short)
    assert result.exit_code == 0, result.output
    assert "bit-exact" in result.output and f"method {method}" in result.output


def test_layers_are_listed_with_shapes_and_cost_where_trecxs_method_is_named_and_none_of_them(images, tmp_path):
    own_things.plain(keras()).save(tmp_path / "m.h5")
    arguments = ("build", "--model", tmp_path / "m.h5", "--data", images, "--method", "trecx")
    result = invoke(*arguments, "--out", tmp_path / "run")
    assert result.exit_code == 2 and "--method auto" in result.output
    whole = 64 * 27 * 8 + 64 * 72 * 16 + 16 * 144 * 24 + 72
    assert f"first (8, 8, 8), {64 * 27 * 8 / whole:.0%} of the MACs" in result.output
    assert "early_filter (8, 8, 16)" in result.output and "last_map" not in result.output
    assert "first_bn" not in result.output and not (tmp_path / "run").exists()


def two_inputs(k):
    a, b = k.Input((None, None, 3), name="a"), k.Input((4,), name="b")
    pooled = k.layers.GlobalAveragePooling2D()(k.layers.Conv2D(4, 3)(a))
    return k.Model([a, b], k.layers.Dense(1, activation="sigmoid")(k.layers.Concatenate()([pooled, b])))


def coded(k):
    x = image = k.Input(own_things.SHAPE)
    x = k.layers.Lambda(lambda v: v * 2, name="twice")(x)
    return k.Model(image, k.layers.Dense(3, activation="softmax")(k.layers.Flatten()(k.layers.Conv2D(4, 3)(x))))


def flat(k):
    return k.Sequential([k.layers.Flatten(input_shape=own_things.SHAPE), k.layers.Dense(3)])


def swish(k):
    model = own_things.plain(k)
    model.get_layer("first_conv").activation = k.activations.swish
    return model


@pytest.mark.parametrize(
    ("make", "more", "told"),
    [
        (two_inputs, [], ["2 inputs", "(None, None, 3)", "shape (4,)", "two classes and softmax instead of sigmoid"]),
        (coded, [], ["Lambda layer: Python code inside the file"]),
        (flat, [], ["no layer before its last"]),
        (lambda k: own_things.plain(k, "sigmoid"), [], ["ends in sigmoid; supported: softmax"]),
        (
            lambda k: own_things.plain(k, units=4),
            ["--tap", "first"],
            ["scores 4 classes, the data have 3: blue, green"],
        ),
        (own_things.plain, ["--tap", "nothing"], ["no tap 'nothing'", "first (8, 8, 8)"]),
        (swish, ["--tap", "first"], ["operators that are not compiled", "Supported are"]),
        (own_things.plain, ["--weights", "m.h5", "--tap", "first"], ["--weights does not apply"]),
        (own_things.plain, ["--name", "a b"], ["cannot name C"]),
        (
            own_things.complete,
            ["--tap", "x", "--epochs", "2", "--no-early-view"],
            ["--tap does", "--epochs", "--no-ear"],
        ),
        (own_things.complete, ["--quantize", "qat"], ["--quantize qat does not apply"]),
        (own_things.complete, ["--width", "0.5"], ["--width does not apply"]),
    ],
)
def test_a_model_that_cannot_be_used_is_told_and_leaves_nothing(make, more, told, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(keras()).save(tmp_path / "m.h5")
    result = invoke("build", "--model", "m.h5", "--data", images, *more)
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
    for part in told:
        assert part in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["m.h5"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("m.h5", b"no model", "cannot be read as a Keras model"),
        ("m.keras", b"PK no archive", "cannot be read as a Keras model"),
        ("m.onnx", b"x", "neither a .h5 nor a .keras file"),
        ("folder", None, "no saved_model.pb"),
        ("none.h5", None, "There is no"),
    ],
)
def test_a_file_that_is_no_model_is_told(name, content, told, images, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    elif name == "folder":
        (tmp_path / name).mkdir()
    result = invoke("build", "--model", tmp_path / name, "--data", images, "--out", tmp_path / "run")
    assert result.exit_code == 2 and told in result.output and isinstance(result.exception, SystemExit), result.output


def test_a_model_needs_data_and_pixels_need_a_model():
    assert "--model needs --data" in invoke("build", "--model", "m.h5").output


@pytest.mark.parametrize("suffix", [".keras", ""])
def test_a_model_with_exits_is_taken_ordered_by_cost_and_proven(suffix, images, tmp_path):
    model = own_things.complete(keras())
    model.save(tmp_path / f"two{suffix}")
    arguments = ["--model", tmp_path / f"two{suffix}", "--data", images, "--out", tmp_path / "run"]
    result = invoke("build", *arguments, "--target", "host", "--samples", 20, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [v["mismatches"] for v in report["verification"]] == [0, 0]
    early, final = report["exits"]
    assert (early["name"], final["name"]) == ("early", "final") and early["macs"] < final["macs"]
    assert report["calibration"]["reference"] == "its own final exit"
    assert report["accuracy"]["int8_without_exits"] is None
    with np.load(tmp_path / "run/train/float_scores.npz") as scores:
        assert set(scores) == {f"{s}_{n}" for s in ("validation", "test") for n in ("early", "final", "labels")}
    again = invoke("quantize", tmp_path / "run", "--quantize", "qat")
    assert again.exit_code == 2 and "does not apply" in again.output


def test_a_model_of_other_shape_than_the_tasks_is_refused(tmp_path):
    own_things.complete(keras()).save(tmp_path / "two.keras")
    (tmp_path / "data").mkdir()
    arguments = ["--model", tmp_path / "two.keras", "--data", tmp_path / "data", "--out", tmp_path / "run"]
    result = invoke("build", "kws", *arguments)
    assert result.exit_code == 2 and "(16, 16, 3), kws has (49, 10, 1)" in result.output
    assert "scores 3 classes, kws has 12" in result.output
