"""Fusing a 1x1 convolution with the depthwise one behind it: the same float outputs, and a model that compiles."""

import hashlib

import numpy as np
import pytest

pytest.importorskip("tf_keras")

from test_rewrites import verdict

from mlperf_tiny import KWS
from mlperf_tiny.attachment import Attachment, EarlyExit, EarlyView
from mlperf_tiny.task import Backbone, Data, Split, Task
from trecx import exits as door
from trecx.learn import fuse as fusing
from trecx.learn.exits.trecx import TRecX
from trecx.learn.fuse import fuse
from trecx.learn.keras import keras
from trecx.learn.quantize import quantize
from trecx.learn.settings import QuantizeSettings, TrainSettings
from trecx.learn.train import attach, plain, train
from trecx.steps import pair

SHAPE = (16, 12, 3)
NAME = "early_point_early_filter"


def backbone(keras) -> Backbone:
    layers = keras.layers
    image = keras.Input(SHAPE, name="input")
    tap = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv")(image)
    features = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="last")(tap)

    def head(features):
        pooled = layers.AveragePooling2D((4, 3), name="pool")(features)
        return layers.Dense(4, name="out")(layers.Flatten(name="flat")(pooled))

    return Backbone(image, {"tap": tap}, features, head)


def split(name: str, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, 40).astype(np.int32)
    x = rng.normal(0, 1, (40, *SHAPE)).astype(np.float32)
    x[:, :, :, 0] += y[:, None, None]
    return Split(name, "random", x, y)


DATA = Data(split("train", 1), split("validation", 2), split("test", 3))
TASK = Task("small", "A small task", SHAPE, tuple("abcd"), backbone, lambda folder: DATA)
METHOD = TRecX(Attachment("paper", EarlyExit("tap", 8, 2, 2, 2, 8), EarlyView(2), "he_normal", 0.5))


def randomized(model, seed: int):
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.5, w.shape).astype(np.float32) for w in model.get_weights()])
    return model


def chain(size=(8, 6), stride=2, kernel=2, padding="same", activation=None, **options):
    """A 1x1 convolution and a depthwise one, alone."""
    layers = keras().layers
    x = keras().Input((*size, 5))
    y = layers.Conv2D(7, 1, activation=activation, name="point", **options)(x)
    y = layers.DepthwiseConv2D(kernel, strides=stride, padding=padding, activation="relu", name="filter")(y)
    return keras().Model(x, y)


def furthest(a, b, seed: int) -> float:
    """Largest difference of two models' outputs, relative to their largest output."""
    x = np.random.default_rng(seed).normal(0, 1, (6, *a.input_shape[1:])).astype(np.float32)
    ours, theirs = (np.concatenate([np.ravel(o) for o in _outputs(m, x)]) for m in (a, b))
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def _outputs(model, x):
    found = model.predict_on_batch(x)
    return found if isinstance(found, list) else [found]


# Sums of at most 6 * 4 products of float32, ordered otherwise: a few units of 2^-24 each, and the weights' rounding.
TOLERANCE = 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_an_exit_with_a_fused_convolution_gives_the_same_floats(seed):
    model = randomized(METHOD.attach("small", backbone(keras())), seed)
    fused, names = fuse(model)
    assert names == (NAME,)
    assert not {"early_point", "early_filter"} & {layer.name for layer in fused.layers}
    assert [output.name.split("/")[0] for output in fused.outputs] == ["early", "final"]
    assert furthest(model, fused, seed) < TOLERANCE
    assert model.get_layer("early_point")  # the trained model stays as the method has it


@pytest.mark.parametrize(
    "options",
    [{}, {"use_bias": False}, {"padding": "valid", "size": (7, 5)}, {"kernel": 1}, {"size": (9, 6), "stride": 3}],
)
def test_pairs_whose_windows_stay_inside_are_fused(options):
    model = randomized(chain(**options), 1)
    fused, names = fuse(model)
    assert names == ("point_filter",)
    assert furthest(model, fused, 2) < TOLERANCE


@pytest.mark.parametrize(
    "options",
    [{"size": (7, 6)}, {"kernel": 3}, {"stride": 1}, {"activation": "relu"}],
    ids=["odd size", "padding", "overlapping windows", "activation between"],
)
def test_other_pairs_stay_as_they_are(options):
    model = chain(**options)
    assert fuse(model) == (model, ())


def test_a_convolution_that_somebody_else_reads_stays():
    layers = keras().layers
    x = keras().Input((8, 8, 3))
    point = layers.Conv2D(4, 1)(x)
    model = keras().Model(x, [layers.DepthwiseConv2D(2, strides=2)(point), layers.Flatten()(point)])
    assert fuse(model)[1] == ()
    assert fuse(keras().Model(x, [model.outputs[0], point]))[1] == ()


def test_kws_has_nothing_to_fuse():
    model = attach(KWS, TRecX(KWS.attachments[0]), plain(KWS))
    assert fuse(model) == (model, ())


@pytest.mark.parametrize("bug", ["the bias of the 1x1 convolution", "the kernel"])
def test_a_planted_bug_shows(bug, monkeypatch):
    def wrong(point, depthwise):
        kernel, bias = right(point, depthwise)
        return [kernel, depthwise.bias.numpy()] if "bias" in bug else [kernel[::-1], bias]

    right = fusing._weights
    monkeypatch.setattr(fusing, "_weights", wrong)
    model = randomized(chain(), 1)
    assert furthest(model, fuse(model)[0], 2) > 100 * TOLERANCE


@pytest.mark.parametrize("scheme", ["ptq", "qat"])
def test_the_fused_model_compiles_into_what_the_oracle_computes(scheme, tmp_path):
    settings = TrainSettings(backbone_epochs=3, epochs=3, steps_per_epoch=10, batch=20, learning_rate=1e-2)
    train(TASK, DATA, METHOD, settings, tmp_path, lambda done, total: None)
    chosen = QuantizeSettings(scheme=scheme, samples=20, epochs=2, learning_rate=1e-3)
    out = tmp_path / "out"
    assert quantize(TASK, DATA, METHOD, tmp_path, out, chosen, lambda done, total: None) == (NAME,)
    content = (out / "small.tflite").read_bytes()
    specs = (door.ExitSpec("early", "early", "max_score"), door.ExitSpec("final", "final"))
    exits = door.Exits("small", "trecx", "small.tflite", hashlib.sha256(content).hexdigest(), tuple("abcd"), specs)
    found = pair.bind(out / "small.tflite", exits)
    shapes = [op.channels.weights.shape for op in found.graph.ops if op.name == "CONV_2D"]
    assert (8, 2, 2, 6) in shapes and not any(shape[1:3] == (1, 1) for shape in shapes)
    assert sum(op.name == "DEPTHWISE_CONV_2D" for op in found.graph.ops) == 1  # the early view's
    outcome = verdict(found, tmp_path)
    assert (outcome.mismatches, outcome.message) == (0, "")
