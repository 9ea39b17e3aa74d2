"""EENet's losses v1 to v4: their mathematics by hand, and each from real digits to C that is proven."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tf_keras")

from branching_task import DATA, TASK
from interruptions import quietly
from planted import plant
from test_method_proofs import outputs, random_outputs

from trecx import exits as door
from trecx.compiler.target import HOST
from trecx.console import Console
from trecx.device.build import build
from trecx.learn.exits import Choice, eenet_losses, method
from trecx.learn.exits.eenet import EENet
from trecx.learn.exits.eenet_losses import gate_shares, normalised, tagged
from trecx.learn.exits.method import gate
from trecx.learn.exits.mixture import expected
from trecx.learn.exits.none import Plain
from trecx.learn.keras import tensorflow
from trecx.learn.quantize import quantize
from trecx.learn.settings import QuantizeSettings, TrainSettings
from trecx.learn.train import attach, plain, train
from trecx.steps import proof
from trecx.steps.data import quantized
from trecx.steps.firmware import compile_for
from trecx.steps.learned import described
from trecx.steps.pair import bind

TAPS, EXITS, COSTS = ("two", "three"), ("early1", "early2", "final"), (0.3, 0.6, 1.1)
SETTINGS = TrainSettings(backbone_epochs=4, epochs=6, batch=20, learning_rate=5e-3, schedule="cosine")


def of(version: str | None) -> EENet:
    return method("eenet", TASK, Choice(taps=TAPS, loss=version))


def last_phase(one: EENet, settings: TrainSettings = TrainSettings(epochs=4)):  # noqa: B008  frozen
    return one.phases(attach(TASK, one, plain(TASK)), settings)[-1].loss


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_v1_is_the_default_and_what_it_was(share):
    """The numbers are those of the method before it had other losses."""
    values, target = random_outputs(EXITS[:-1])
    assert of(None) == of("v1") == EENet(TAPS)
    loss = last_phase(of("v1"), TrainSettings(epochs=4, distillation=share))
    total, (error, cost, prior) = loss.of(values, target, np.full_like(target, 0.1), 1.0)
    known = {0.0: (3.0700178, 2.3808174), 0.3: (3.1060686, 2.4168682)}[share]
    assert (float(total), float(error)) == pytest.approx(known, abs=1e-6)
    assert (float(cost), float(prior)) == pytest.approx((0.5166327, 0.6902733), abs=1e-6)


def test_v2_is_the_sum_of_the_losses_that_begin_at_each_exit():
    values, target = random_outputs(EXITS[:-1])
    one = replace(of("v2"), prior=0.0)
    costs = one.costs(attach(TASK, one, plain(TASK)))
    parts = [
        float(expected(EXITS[k:], gate, costs[k:], 1.0, TrainSettings()).of(values, target, None, 0.0)[0])
        for k in range(3)
    ]
    assert float(last_phase(one).of(values, target, None, 0.0)[0]) == pytest.approx(sum(parts), abs=1e-6)


def test_v3_weighs_exits_by_their_mean_gates_which_sum_to_one():
    values, target = random_outputs(EXITS[:-1])
    shares = gate_shares([values[gate(name)] for name in EXITS[:-1]]).numpy()
    means = np.array([*((1 / (1 + np.exp(-values[gate(name)]))).mean() for name in EXITS[:-1]), 1.0])
    assert shares.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(shares, means / means.sum(), atol=1e-6)
    scored = [tensorflow().nn.softmax(values[name]).numpy() for name in EXITS]
    errors = np.array([-np.log((one * target).sum(-1)).mean() for one in scored])
    by_hand = float((means / means.sum()) @ (errors + 0.7 * np.array(COSTS)))
    found = normalised(EXITS, gate, COSTS, 0.7, TrainSettings()).of(values, target, None, 0.0)[0]
    assert float(found) == pytest.approx(by_hand, abs=1e-6)


def test_v4_tags_samples_with_their_cheapest_exit_and_teaches_gates_their_tags():
    """Four samples of class 0: the first two are right at once, the third only at the end, the fourth nowhere."""
    right = {"early": [0.9, 0.8, 0.1, 0.2], "final": [0.95, 0.9, 0.9, 0.2]}
    outputs = {name: np.log(np.float32([[p, 1 - p] for p in ps])) for name, ps in right.items()}
    logits = np.float32([[2.0], [-1.0], [0.5], [0.0]])
    target = np.float32([[1, 0]] * 4)
    loss = tagged(("early", "final"), gate, (0.4, 1.0), 0.5, TrainSettings())
    total, (error, cost, gates) = loss.of(outputs | {"early_gate": logits}, target, None, 0.0)
    # Errors and half the cost: 0.305, 0.423, 2.503, 1.809 at the first exit; 0.551, 0.605, 0.605, 2.109 at the last.
    assert float(error) == pytest.approx(-np.log([0.9, 0.8, 0.9, 0.2]).mean(), abs=1e-6)
    assert float(cost) == pytest.approx((0.4 + 0.4 + 1.0 + 0.4) / 4, abs=1e-6)
    # Three of four are to leave, which count by the rate of the others, 1/4, and the one that is not by 3/4.
    opened = 1 / (1 + np.exp(-logits[:, 0].astype(float)))
    lost = -np.log([opened[0], opened[1], 1 - opened[2], opened[3]])
    assert float(gates) == pytest.approx((np.array([0.25, 0.25, 0.75, 0.25]) * lost).mean(), abs=1e-6)
    assert float(total) == pytest.approx(float(error) + 0.5 * float(cost) + float(gates), abs=1e-6)


def test_v4_has_no_prior_unless_it_is_asked_for():
    assert (of("v4").prior, of("v3").prior) == (0.0, 0.5)
    assert method("eenet", TASK, Choice(taps=TAPS, loss="v4", gate_prior=0.2)).prior == 0.2
    assert of("v4").about()["loss"] == "v4"


@pytest.mark.parametrize(
    ("function", "right", "wrong", "proof_of"),
    [
        (eenet_losses.gate_shares, "means / tf.reduce_sum(means)", "means / len(logits)", "v3"),
        (eenet_losses.tagged, "errors + price *", "errors - price *", "v4"),
        (
            eenet_losses.opposed,
            "truth * (1 - rate) + (1 - truth) * rate",
            "truth * rate + (1 - truth) * (1 - rate)",
            "v4",
        ),
    ],
)
def test_a_planted_bug_is_found(function, right, wrong, proof_of, monkeypatch):
    plant(function, right, wrong, monkeypatch)
    with pytest.raises(AssertionError):
        if proof_of == "v3":
            test_v3_weighs_exits_by_their_mean_gates_which_sum_to_one()
        else:
            test_v4_tags_samples_with_their_cheapest_exit_and_teaches_gates_their_tags()


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    train(TASK, DATA, Plain(()), SETTINGS, folder, quietly)
    return folder / "backbone.keras"


@pytest.mark.parametrize("version", ["v2", "v3", "v4"])
def test_what_is_trained_by_it_is_bit_exact_in_c_and_decides_by_its_gates(version, backbone, tmp_path):
    """Open above a half, v3's above 1/N, as the authors have it: the C agrees with the oracle and with the floats."""
    one = of(version)
    train(TASK, DATA, one, replace(SETTINGS, weights=backbone), tmp_path, quietly)
    quantize(TASK, DATA, one, tmp_path, tmp_path, QuantizeSettings(samples=50), quietly)
    model = tmp_path / "branching.tflite"
    spec = described(TASK, one, model)
    threshold = 1 / len(EXITS) if version == "v3" else 0.5
    at = dict.fromkeys(EXITS[:-1], threshold)
    pair = bind(model, replace(spec, operating_points=(door.OperatingPoint("authors", at),)))
    samples = quantized(DATA.test.x, pair.graph)
    with Console(quiet=True).step("proof") as step:
        chosen = proof.Inputs("test samples", samples)
        program = build(compile_for(pair, pair.optimised, HOST, tmp_path / "c", "time"), HOST, tmp_path / "out")
        actual, _ = proof.answers(pair, program, chosen, step)
        oracle = proof.oracle(pair, chosen, step)
        verdict = proof.compare(pair, program, chosen, oracle, actual)
    assert (verdict.mismatches, verdict.message) == (0, "")
    found = outputs(one, tmp_path, DATA.test.x)
    opened = [1 / (1 + np.exp(-found[gate(name)][:, 0])) > threshold for name in EXITS[:-1]]
    first = np.stack([*opened, np.ones(len(samples), bool)]).argmax(axis=0)
    # int8 gates are not the float ones: of those close to the threshold up to 1 % of the samples changed sides.
    assert (oracle.exit_taken == first).mean() > 0.97
    assert set(first.tolist()) == {"v2": {1, 2}, "v3": {1}, "v4": {0, 1, 2}}[version]
