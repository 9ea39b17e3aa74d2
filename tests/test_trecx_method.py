"""T-RecX's attachment: its counts are the published tables', and the final exit owes the early one nothing."""

import numpy as np
import pytest

tf_keras = pytest.importorskip("tf_keras")

from mlperf_tiny import KWS  # noqa: E402
from mlperf_tiny.task import Backbone  # noqa: E402
from trecx.errors import TrecxError  # noqa: E402
from trecx.learn.exits import METHODS, method  # noqa: E402
from trecx.learn.exits.trecx import FILTER, VIEW, TRecX  # noqa: E402
from trecx.learn.keras import keras  # noqa: E402
from trecx.learn.train import attach, plain  # noqa: E402


def macs(model) -> int:
    """Multiply-accumulates of convolutions and dense layers, padding counted as in the published table."""
    total = 0
    for layer in model.layers:
        kind = type(layer).__name__
        out = int(np.prod(layer.output_shape[1:])) if kind in ("Conv2D", "DepthwiseConv2D", "Dense") else 0
        if kind == "Conv2D":
            total += out * int(np.prod(layer.kernel.shape[:3]))
        elif kind == "DepthwiseConv2D":
            total += out * int(np.prod(layer.depthwise_kernel.shape[:2]))
        elif kind == "Dense":
            total += out * layer.kernel.shape[0]
    return total


def stub(tap: str, tap_shape: tuple[int, ...], features: tuple[int, ...], pool: int, classes: int) -> Backbone:
    """A backbone of the right shapes and few parameters: an exit needs nothing else."""
    layers = keras().layers
    image = keras().Input((96, 96, 3))

    def to(shape: tuple[int, ...], x):
        return layers.Conv2D(shape[-1], 1)(layers.Resizing(*shape[:2])(x))

    tapped = to(tap_shape, image)
    last = to(features, tapped)

    def head(x):
        return layers.Dense(classes)(layers.Flatten()(layers.AveragePooling2D(pool)(x)))

    return Backbone(image, {tap: tapped}, last, head)


SHAPES = {
    "kws": (("block2", (25, 5, 64), (25, 5, 64), (24, 5), 12), 2636, 704),
    "ic": (("stack1", (32, 32, 16), (8, 8, 64), 8, 10), 5834, 5280),
    "vww": (("block3", (24, 24, 32), (3, 3, 256), 3, 2), 3586, 896),
}


def test_kws_parameters_equal_the_published_table():
    backbone = plain(KWS)
    assert backbone.count_params() == 24_908
    assert TRecX().attach("kws", KWS.backbone(keras())).count_params() == 28_248
    assert TRecX(early_view=False).attach("kws", KWS.backbone(keras())).count_params() == 27_544


def test_kws_macs_equal_the_published_table():
    model = TRecX().attach("kws", KWS.backbone(keras()))
    early, final = (keras().Model(model.input, output) for output in model.outputs)
    assert macs(plain(KWS)) == 2_656_768
    assert macs(early) == 1_501_536
    assert macs(model) == 2_706_688
    assert macs(final) == 2_706_688 - 13_536  # nothing of the exit is on the final path


@pytest.mark.parametrize("task", SHAPES)
def test_exit_and_early_view_have_the_published_parameters_on_every_task(task):
    shapes, exit_parameters, view_parameters = SHAPES[task]
    graph = stub(*shapes)
    alone = keras().Model(graph.input, graph.head(graph.features)).count_params()
    without = TRecX(early_view=False).attach(task, stub(*shapes)).count_params()
    with_view = TRecX().attach(task, stub(*shapes)).count_params()
    assert without - alone == exit_parameters
    assert with_view - without == view_parameters


@pytest.mark.parametrize("early_view", [True, False])
def test_perturbing_the_exit_leaves_the_final_scores_bit_identical(early_view):
    model = TRecX(early_view).attach("kws", KWS.backbone(keras()))
    x = np.random.default_rng(0).normal(0, 20, (8, *KWS.input_shape)).astype(np.float32)
    early, final = model.predict(x, verbose=0)
    changed = 0
    for layer in model.layers:
        if layer.name.startswith("early_") and layer.weights and layer.name != VIEW:
            layer.set_weights([w + 0.5 for w in layer.get_weights()])
            changed += 1
    after_early, after_final = model.predict(x, verbose=0)
    assert changed == 2
    assert not np.array_equal(early, after_early)
    assert np.array_equal(final, after_final)


def test_final_loss_gives_the_early_filter_no_gradient():
    import tensorflow as tf

    model = TRecX().attach("kws", KWS.backbone(keras()))
    x = tf.random.stateless_normal((4, *KWS.input_shape), (1, 2))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x)[1][:, 0])
    own = model.get_layer(FILTER).trainable_variables
    view = model.get_layer(VIEW).trainable_variables
    gradients = tape.gradient(loss, own + view)
    assert gradients[:2] == [None, None]
    assert all(np.any(np.asarray(g)) for g in gradients[2:])


def test_training_starts_from_the_final_scores_of_the_backbone():
    backbone = plain(KWS)
    model = attach(KWS, TRecX(), backbone)
    x = np.random.default_rng(1).normal(0, 20, (8, *KWS.input_shape)).astype(np.float32)
    # The early view's weights are 0, yet longer sums are added up in another order: float32 rounding of scores up to 1.
    np.testing.assert_allclose(model.predict(x, verbose=0)[1], backbone.predict(x, verbose=0), atol=1e-6)


def test_unknown_task_tap_and_method_are_named():
    with pytest.raises(TrecxError, match="no attachment for the task 'ad'"):
        TRecX().attach("ad", KWS.backbone(keras()))
    graph = stub("elsewhere", (25, 5, 64), (25, 5, 64), (24, 5), 12)
    with pytest.raises(TrecxError, match="no tap 'block2'"):
        TRecX().attach("kws", graph)
    with pytest.raises(TrecxError, match="no exit method 'none'"):
        method("none")
    assert isinstance(method("trecx"), METHODS)
