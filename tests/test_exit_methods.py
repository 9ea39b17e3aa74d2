"""Methods with several exits and with gates: what they attach, what they minimise, what is kept and refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tf_keras")

from branching_task import CLASSES, DATA, TAPS, TASK
from interruptions import Stop, quietly, stopping_at, weights_of

from mlperf_tiny import KWS, TASKS
from mlperf_tiny.attachment import Block
from trecx.errors import TrecxError
from trecx.learn.cost import leaving
from trecx.learn.exits import METHODS, Choice, method
from trecx.learn.exits.branchynet import BranchyNet
from trecx.learn.exits.eenet import EENet
from trecx.learn.exits.layers import blocks, pooled
from trecx.learn.exits.method import Head, Loss, exit_names, gate, joined
from trecx.learn.exits.mixture import expected, mixtures, price_limit
from trecx.learn.exits.softcond import SoftCond
from trecx.learn.flatbuffer import describe
from trecx.learn.fuse import fuse
from trecx.learn.keras import keras, tensorflow
from trecx.learn.loop import Checkpoints, Stage, fit
from trecx.learn.quantize import convert, quantize, representative
from trecx.learn.settings import QuantizeSettings, TrainSettings
from trecx.learn.train import attach, plain, train

SHORT = TrainSettings(backbone_epochs=1, epochs=3, steps_per_epoch=2, batch=16, distillation=0.5, schedule="cosine")
BRANCHES, GATES = BranchyNet(("one", "two")), EENet(("one", "three"))


@pytest.fixture(scope="module", params=[BRANCHES, GATES], ids=lambda m: m.name)
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param.name)
    train(TASK, DATA, request.param, SHORT, folder, quietly)
    return request.param, folder


def test_one_early_exit_is_called_early_and_several_are_numbered():
    assert exit_names(1) == ("final",)
    assert EENet(("one",)).exits == ("early", "final")
    assert EENet(("one",)).outputs == ("early", "early_gate", "final")
    assert GATES.exits == ("early1", "early2", "final")
    assert GATES.outputs == ("early1", "early1_gate", "early2", "early2_gate", "final")
    assert BRANCHES.outputs == BRANCHES.exits


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.name)
def test_taps_that_cannot_be_are_refused_and_all_taps_listed(kind):
    cases = {
        ("two", "elsewhere"): "has no tap 'elsewhere'",
        ("two", "two"): "'two' is named twice",
        ("three", "one"): "not in the order",
        tuple(TAPS) * 4: "attaches to",
    }
    for taps, reason in cases.items():
        with pytest.raises(TrecxError, match=reason) as refusal:
            method(kind.name, TASK, Choice(taps=taps))
        assert all(f"{tap} (" in refusal.value.hint for tap in TAPS)


def test_too_few_taps_and_choices_of_another_method_are_refused():
    with pytest.raises(TrecxError, match="attaches to 2 to 8 of the taps, 1 are named"):
        method("branchynet", TASK, Choice(taps=("one",)))
    with pytest.raises(TrecxError, match="attaches to 0 of the taps, 1 are named"):
        method("none", TASK, Choice(taps=("one",)))
    with pytest.raises(TrecxError) as refusal:
        method("eenet", KWS, Choice(exit="paper", early_view=False, taps=("block1",)))
    assert [option in told for option, told in zip(("--exit", "--no-early-view"), refusal.value.problems, strict=True)]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
@pytest.mark.parametrize("kind", [BranchyNet, EENet], ids=lambda kind: kind.name)
def test_every_head_costs_less_than_going_on(task, kind):
    taps = list(task.backbone(keras()).taps)[:2]
    made = method(kind.name, task, Choice(taps=tuple(taps)))
    model = made.attach(task.name, task.backbone(keras()))
    costs = leaving(model, [[name for name in made.outputs if name.startswith(one)] for one in made.exits])
    assert list(costs) == sorted(costs)
    assert costs[-1] - 1 < 0.2  # both heads together
    assert costs[0] < costs[1] < 1


def test_a_training_leaves_scores_of_exits_only_and_every_phase_in_its_history(trained):
    made, folder = trained
    with np.load(folder / "float_scores.npz") as scores:
        exits = {f"{split}_{name}" for split in ("validation", "test") for name in (*made.exits, "backbone", "labels")}
        assert set(scores.files) == exits
        assert scores["test_early1"].shape == (len(DATA.test), CLASSES)
    history = json.loads((folder / "history.json").read_text())
    phases = {"branchynet": {"joint": 3}, "eenet": {"exits": 2, "mixture": 1}}[made.name]
    assert {name: len(history[name]) for name in phases} == phases
    assert all(f"validation_{name}" in history[next(iter(phases))][0] for name in made.exits)
    assert not list(folder.glob("checkpoint*"))


# Steps 1 and 2 are the backbone's, 3 to 8 those of the exits; eenet's mixture begins with step 7.
@pytest.mark.parametrize("step", [6, 8])
def test_an_interrupted_training_ends_bit_equal_to_an_uninterrupted_one(trained, tmp_path, step):
    made, folder = trained
    with pytest.raises(Stop):
        train(TASK, DATA, made, SHORT, tmp_path, stopping_at(step))
    seen = []
    train(TASK, DATA, made, SHORT, tmp_path, lambda done, total: seen.append(done))
    assert 1 not in seen
    assert all(np.array_equal(a, b) for a, b in zip(weights_of(folder), weights_of(tmp_path), strict=True))
    assert (folder / "history.json").read_bytes() == (tmp_path / "history.json").read_bytes()


@pytest.mark.parametrize("made", [BRANCHES, GATES, SoftCond(("one", "two"), prior=0.0)], ids=lambda m: m.name)
def test_the_first_exit_teaches_the_stem(made):
    tf = tensorflow()
    model = made.attach("branching", TASK.backbone(keras()))
    loss = made.phases(model, TrainSettings(epochs=4))[-1].loss
    ends = [model.get_layer(name) for name in made.outputs]
    logits = keras().Model(model.input, [e.input if e.name in made.exits else e.output for e in ends])
    target = np.eye(CLASSES, dtype=np.float32)[DATA.train.y[:32]]
    with tf.GradientTape() as tape:
        found = dict(zip(made.outputs, logits(DATA.train.x[:32], training=True), strict=True))
        first = loss.of(found | {"early2": tf.stop_gradient(found["early2"])}, target, None, 0.0)[0]
    stem, head = model.get_layer("one_conv"), model.get_layer("early1_logits")
    gradients = tape.gradient(first, [stem.kernel, head.kernel])
    assert all(float(tf.reduce_max(tf.abs(g))) > 1e-4 for g in gradients)


def test_a_frozen_backbone_keeps_every_weight(trained, tmp_path):
    made, folder = trained
    settings = replace(SHORT, weights=folder / "backbone.keras", frozen=True)
    train(TASK, DATA, made, settings, tmp_path, quietly)
    before, after = (
        {w.name: w.numpy() for w in keras().models.load_model(path, compile=False).weights}
        for path in (folder / "backbone.keras", tmp_path / "model.keras")
    )
    assert all(np.array_equal(value, after[name]) for name, value in before.items())


def test_outputs_of_the_int8_model_carry_the_names_of_exits_and_gates(trained, tmp_path):
    made, folder = trained
    quantize(TASK, DATA, made, folder, tmp_path, QuantizeSettings(samples=20), quietly)
    found = describe((tmp_path / "branching.tflite").read_bytes())
    assert found.outputs == tuple(sorted(made.outputs))
    assert found.activations == ("INT8",)
    assert found.operators.count("SOFTMAX") == 3 and "LOGISTIC" not in found.operators


def test_fine_tuning_goes_on_with_the_methods_loss_or_is_refused(trained, tmp_path):
    made, folder = trained
    settings = QuantizeSettings(scheme="qat", samples=20, epochs=1)
    if made.untunable:
        with pytest.raises(TrecxError, match="eenet is not fine-tuned") as refusal:
            quantize(TASK, DATA, made, folder, tmp_path / "out", settings, quietly)
        assert "--quantize ptq" in refusal.value.hint and not (tmp_path / "out").exists()
        return
    quantize(TASK, DATA, made, folder, tmp_path / "out", settings, quietly)
    (record,) = json.loads((tmp_path / "out" / "qat-history.json").read_text())
    assert {"loss_early1", "loss_early2", "loss_final", "validation_early2"} <= set(record)


def test_fused_convolutions_and_gates_live_together():
    def layers(name: str, gated: bool):
        def head(tap, classes):
            x = keras().layers.Conv2D(6, 1, name=f"{name}_point")(tap)
            x = pooled(keras().layers.DepthwiseConv2D(2, strides=2, activation="relu", name=f"{name}_filter")(x), name)
            dense = keras().layers.Dense
            gates = [dense(1, name=gate(name))(x)] if gated else []
            return dense(classes, name=f"{name}_logits")(x), *gates

        return head

    heads = [Head(name, tap, layers(name, name == "early2")) for name, tap in (("early1", "one"), ("early2", "two"))]
    model = joined("several", TASK.backbone(keras()), heads)
    fused, names = fuse(model)
    assert names == ("early1_point_early1_filter", "early2_point_early2_filter")
    assert fused.output_names == model.output_names == ["early1", "early2", "early2_gate", "final"]
    for ours, theirs in zip(fused(DATA.test.x), model(DATA.test.x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)  # float32 sums in another order
    samples = representative(TASK, DATA.train, QuantizeSettings(samples=10))
    assert len(describe(convert(fused, TASK, tuple(fused.output_names), samples)).outputs) == 4


def test_separable_blocks_are_named_after_their_exit():
    x = keras().Input((8, 8, 4))
    model = keras().Model(x, blocks(x, (Block(6, 2), Block(5, 1)), "he_normal", "early2"))
    assert next(layer.name for layer in model.layers if layer.weights) == "early2_block1_dw"
    assert model.output_shape == (None, 4, 4, 5)


# Mixtures.


def test_mixtures_are_the_explicit_sums_over_exits():
    rng = np.random.default_rng(1)
    gates, values = rng.uniform(0, 1, (3, 50, 1)), rng.dirichlet(np.ones(5), (4, 50))
    left, total = np.ones((50, 1)), np.zeros((50, 5))
    for g, y in zip((*gates, np.ones((50, 1))), values, strict=True):
        total, left = total + left * g * y, left * (1 - g)
    found = mixtures(list(gates), list(values))
    np.testing.assert_allclose(found[0], total, atol=1e-12)
    assert np.array_equal(found[-1], values[-1]) and len(found) == 4


def best_gate(early: np.ndarray, final: np.ndarray, a: float) -> np.ndarray:
    """The gate that minimises the loss for scores of the true class."""
    gap = final - early
    inside = np.clip((final - gap / a) / np.where(gap == 0, 1, gap), 0, 1)
    return np.where(gap <= a * early, 1.0, np.where(gap >= a * final, 0.0, inside))


def trained_gates(early: np.ndarray, final: np.ndarray, price: float, cost: float) -> np.ndarray:
    """Gates of samples whose scores are fixed, after minimising the loss over the gates alone."""
    tf = tensorflow()
    loss = expected(("early", "final"), gate, (cost, 1.0), price, TrainSettings())
    outputs = {
        name: np.log(np.stack([y, 1 - y], -1)).astype(np.float32) for name, y in (("early", early), ("final", final))
    }
    target = np.tile(np.float32([1, 0]), (len(early), 1))
    logit = tf.Variable(tf.zeros((len(early), 1)))
    optimizer = keras().optimizers.Adam(0.1)
    optimizer.build([logit])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            total = loss.of(outputs | {"early_gate": logit}, target, None, 0.0)[0]
        optimizer.apply_gradients([(tape.gradient(total, logit), logit)])

    for _ in range(1500):
        step()
    return tf.sigmoid(logit).numpy()[:, 0]


@pytest.mark.parametrize("price", [0.25, 0.7, 1.2])
def test_a_gate_alone_learns_its_closed_optimum(price):
    early, final = np.random.default_rng(2).uniform(0.02, 0.98, (2, 60))
    found, best = trained_gates(early, final, price, 0.4), best_gate(early, final, price * 0.6)
    # A sigmoid never reaches 0 and 1; where the two exits are alike the loss is flat.
    clear = np.abs(final - early) > 0.05
    assert np.abs(found - best)[clear].max() < 0.05
    assert {0.0, 1.0} <= set(best)


def test_what_is_computed_falls_with_its_price():
    early, final = np.random.default_rng(3).uniform(0.02, 0.98, (2, 60))
    gates = [trained_gates(early, final, price, 0.4).mean() for price in (0.0, 0.25, 0.5, 1.0)]
    assert gates == sorted(gates) and gates[-1] > gates[0] + 0.2


def test_a_price_at_which_no_gate_is_ever_shut_is_refused_unless_forced():
    assert price_limit((0.41, 1.0)) == pytest.approx(1.695, abs=1e-3)
    with pytest.raises(TrecxError, match="no gate is ever shut") as refusal:
        method("eenet", TASK, Choice(taps=("one",), price=5.0))
    assert "below 1." in refusal.value.hint
    forced = method("eenet", TASK, Choice(taps=("one",), price=5.0, forced=True))
    assert forced.phases(attach(TASK, forced, plain(TASK)), SHORT)
    with pytest.raises(TrecxError, match="must be 0 or more"):
        method("eenet", TASK, Choice(taps=("one",), price=-1.0))
    early, final = np.random.default_rng(4).uniform(0.02, 0.98, (2, 40))
    a = 2.0 * (1 - 0.4)
    assert trained_gates(early, final, 2.0, 0.4).min() > 1 - 1 / a - 0.02


def test_weights_of_the_losss_own_learn_and_survive_an_interruption(tmp_path):
    """DynExit's way: a weight that a sigmoid keeps in (0, 1), against a term that keeps it from 0."""
    tf = tensorflow()

    def run(folder, stop: int | None):
        keras().utils.set_random_seed(1)
        folder.mkdir(exist_ok=True)
        theta = tf.Variable(0.0)
        epochs = []

        def of(outputs, target, teacher, epoch):
            error = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, outputs["final"]))
            epochs.append(epoch)
            return tf.sigmoid(theta) * error - 0.3 * tf.math.log_sigmoid(theta) + 0 * epoch, [error, epoch]

        loss = Loss(("error", "epoch"), of, (theta,))
        stage = Stage("joint", 1, plain(TASK), ("final",), loss, 4)
        checkpoints = Checkpoints(folder / "checkpoint.npz", "same")
        settings = replace(SHORT, learning_rate=0.02)
        return theta, fit(stage, DATA.train, settings, checkpoints, dict, stopping_at(stop) if stop else quietly)

    theta, history = run(tmp_path / "whole", None)
    assert float(theta) < -0.02
    assert [record["loss_epoch"] for record in history] == [0, 1, 2, 3]
    with pytest.raises(Stop):
        run(tmp_path / "cut", 5)
    again, continued = run(tmp_path / "cut", None)
    assert continued == history and float(again) == float(theta)
