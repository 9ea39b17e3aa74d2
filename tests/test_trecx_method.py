"""T-RecX's attachment: its counts are the published tables', and the final exit owes the early one nothing."""

from dataclasses import replace

import numpy as np
import pytest

tf_keras = pytest.importorskip("tf_keras")

from mlperf_tiny import KWS, TASKS  # noqa: E402
from mlperf_tiny.attachment import Attachment, Block, EarlyExit  # noqa: E402
from trecx.errors import TrecxError  # noqa: E402
from trecx.learn.exits import Choice, method  # noqa: E402
from trecx.learn.exits.trecx import FILTER, VIEW, TRecX, attachment  # noqa: E402
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


# Parameters of the backbone, of the exit and of the early view; MACs of the backbone, to the early and the final exit.
PUBLISHED = {
    "kws": (24_908, 2_636, 704, 2_656_768, 1_501_536, 2_706_688),
    "ic": (78_666, 5_834, 5_280, 12_501_632, 5_723_136, 13_070_976),
    "vww": (221_794, 3_586, 896, 7_489_664, 3_309_696, 8_710_208),
}


def trecx(task, early_view: bool = True) -> TRecX:
    return TRecX(attachment(task, "paper", early_view))


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_parameters_equal_the_published_table(task):
    backbone, exit_parameters, view_parameters, *_ = PUBLISHED[task.name]
    assert plain(task).count_params() == backbone
    without, with_view = (trecx(task, v).attach(task.name, task.backbone(keras())) for v in (False, True))
    assert without.count_params() - backbone == exit_parameters
    assert with_view.count_params() - without.count_params() == view_parameters


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_macs_equal_the_published_table(task):
    model = trecx(task).attach(task.name, task.backbone(keras()))
    early, final = (keras().Model(model.input, output) for output in model.outputs)
    assert (macs(plain(task)), macs(early), macs(model)) == PUBLISHED[task.name][3:]
    exit_alone = macs(early) - macs(keras().Model(model.input, task_tap(task, model)))
    assert macs(final) == macs(model) - exit_alone  # nothing of the exit is on the final path


def task_tap(task, model):
    """The tensor that the exit attaches to."""
    first = next(layer for layer in model.layers if layer.name in ("early_channels", "early_point"))
    return first.input


@pytest.mark.parametrize("early_view", [True, False])
def test_perturbing_the_exit_leaves_the_final_scores_bit_identical(early_view):
    model = trecx(KWS, early_view).attach("kws", KWS.backbone(keras()))
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

    model = trecx(KWS).attach("kws", KWS.backbone(keras()))
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
    model = attach(KWS, trecx(KWS), backbone)
    x = np.random.default_rng(1).normal(0, 20, (8, *KWS.input_shape)).astype(np.float32)
    # The early view's weights are 0, yet longer sums are added up in another order: float32 rounding of scores up to 1.
    np.testing.assert_allclose(model.predict(x, verbose=0)[1], backbone.predict(x, verbose=0), atol=1e-6)


def test_unknown_exit_tap_and_method_are_named():
    with pytest.raises(TrecxError, match="has no exit 'none'"):
        attachment(KWS, "none")
    elsewhere = replace(KWS.attachments[0], early=replace(KWS.attachments[0].early, tap="elsewhere"))
    with pytest.raises(TrecxError, match="no tap 'elsewhere'"):
        TRecX(elsewhere).attach("kws", KWS.backbone(keras()))
    with pytest.raises(TrecxError, match="no exit method 'nothing'"):
        method("nothing", KWS)
    with pytest.raises(TrecxError, match="no tap 'elsewhere'"):
        method("trecx", KWS, Choice(taps=("elsewhere",)))
    with pytest.raises(TrecxError, match="attaches to 1 of the taps, 2 are named") as refusal:
        method("trecx", KWS, Choice(taps=("block1", "block2")))
    assert all(f"block{number} (25, 5, 64)" in refusal.value.hint for number in (1, 2, 3, 4))
    assert isinstance(method("trecx", KWS), TRecX)


def test_separable_blocks_take_the_place_of_the_filter():
    early = EarlyExit("block1", blocks=(Block(64, 2), Block(32, 1)))
    built = TRecX(Attachment("deep", early, None, "he_normal", 0.5)).attach("kws", KWS.backbone(keras()))
    assert built.get_layer("early_pool").pool_size == (13, 3)  # the whole map
    assert built.get_layer("early_pool").output_shape == (None, 1, 1, 32)
    assert FILTER not in [layer.name for layer in built.layers]


def test_a_head_on_the_input_may_begin_with_full_convolutions_of_any_kernel():
    fast = attachment(KWS, "fast")
    built = TRecX(fast).attach("kws", KWS.backbone(keras()))
    shapes = [built.get_layer(f"early_block{k}_conv").output_shape[1:] for k in (1, 2, 3, 4)]
    assert shapes == [(15, 1, 32), (15, 1, 48), (8, 1, 64), (8, 1, 64)]
    assert built.get_layer("early_block1_conv").kernel_size == (6, 10)
    on_the_way = {layer.name for layer in keras().Model(built.input, built.get_layer("early").output).layers}
    assert not on_the_way & {layer.name for layer in plain(KWS).layers} - {"input"}  # nothing of the backbone
