"""Every method from a training on real digits to firmware that is proven, with thresholds of their own."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tf_keras")

from branching_task import CLASSES, DATA, TASK

from trecx import decision, files
from trecx import exits as door
from trecx.compiler.target import CORTEX_M4, HOST
from trecx.console import Console
from trecx.device.build import build
from trecx.judge import execution
from trecx.judge.calibrate import calibrate
from trecx.judge.trace import Trace
from trecx.learn.exits.branchynet import BranchyNet
from trecx.learn.exits.dyce import DyCE
from trecx.learn.exits.dynexit import DynExit
from trecx.learn.exits.eenet import EENet
from trecx.learn.exits.pteenet import PTEENet
from trecx.learn.exits.sdn import SDN
from trecx.learn.exits.softcond import SoftCond
from trecx.learn.quantize import quantize
from trecx.learn.settings import QuantizeSettings, TrainSettings
from trecx.learn.train import train
from trecx.steps import counting, proof
from trecx.steps import pair as pairs
from trecx.steps.answers import answer
from trecx.steps.data import quantized
from trecx.steps.firmware import compile_for

SETTINGS = TrainSettings(backbone_epochs=4, epochs=8, batch=20, learning_rate=5e-3, schedule="cosine")


MADE = (
    BranchyNet(("one", "two")),
    SDN(("one", "two")),
    SDN(("one", "two"), heads_only=True),
    DynExit(("one", "two")),
    EENet(("two", "three")),
    SoftCond(("one", "two")),
    PTEENet(("one", "two")),
    DyCE(("two", "three"), heads_at=("two:linear", "two:mlp", "three:conv")),
)


@pytest.fixture(scope="module", params=MADE, ids=lambda m: m.name + "-heads" * getattr(m, "heads_only", False))
def found(request, tmp_path_factory):
    """The method, its calibrated pair, and its answers to the test samples with no exit open."""
    method, folder = request.param, tmp_path_factory.mktemp(request.param.name)
    train(TASK, DATA, method, SETTINGS, folder / "train", lambda done, total: None)
    quantize(TASK, DATA, method, folder / "train", folder, QuantizeSettings(samples=50), lambda done, total: None)
    model = folder / "branching.tflite"
    spec = door.Exits(
        TASK.name,
        method.name,
        model.name,
        files.sha256(model),
        TASK.classes,
        method.exit_specs(),
        otherwise=method.otherwise,
    )
    pair = pairs.bind(model, spec)
    with Console(quiet=True).step("answers") as step:
        answered = answer(pair, DATA.validation, pair.limits, step, "validation")
    # SDN's first exit, which sees a map of 4x4, loses so little that at 2 points all would leave there.
    points = 0.5 if method.name == "sdn" else 2
    chosen = calibrate(answered, pair.decisions, points=points, confidence=0.5)
    thresholds = {n: t for n, t in zip(method.exits, chosen.thresholds, strict=False) if t is not None}
    spec = replace(spec, operating_points=(door.OperatingPoint("calibrated", thresholds),))
    spec.write(folder / "exits.json")
    return method, pairs.read(folder), answered


def test_exits_json_names_criteria_gates_and_who_answers_otherwise(found):
    method, pair, _ = found
    early = pair.exits.exits[:-1]
    gates = [f"{name}_gate" if method.gated else None for name in method.exits[:-1]]
    assert [(e.criterion, e.gate) for e in early] == [(method.criterion, gate) for gate in gates]
    assert pair.exits.method == method.name
    assert pair.exits.otherwise == ("most_confident" if method.name == "sdn" else "final")
    deciding = len(early) + (pair.exits.otherwise == "most_confident")
    assert [type(one).name for one in pair.decisions] == [method.criterion] * deciding


def test_no_sample_leaves_at_the_strictest_threshold_all_at_the_loosest_and_never_fewer_between(found):
    method, pair, trace = found
    statistics, exits = trace.statistics, len(method.exits)
    # Entropy leaves below its threshold, a score and a gate above: from strict to loose.
    grid = np.linspace(0, np.log(CLASSES) + 0.01, 30) if method.criterion == "entropy" else np.linspace(0.999, 1e-3, 30)
    rates = []
    for threshold in grid:
        early = decision.limits(pair.decisions, [float(threshold)] * (exits - 1))
        rates.append(float(np.any(statistics[:, : exits - 1] <= early[: exits - 1], axis=1).mean()))
    assert rates == sorted(rates) and rates[-1] > rates[0]
    never, always = ((limit,) * len(pair.decisions) for limit in (decision.NEVER, decision.ALWAYS))
    taken = decision.exit_taken(statistics, never, exits)
    if method.otherwise == "final":
        assert (taken == exits - 1).all()
    else:
        assert (taken == exits - 1 - statistics[:, ::-1].argmin(axis=1)).all()
    assert (decision.exit_taken(statistics, always, exits) == 0).all()
    if method.criterion == "entropy":
        assert rates[0] == 0 and rates[-1] == 1


# Mean MACs on the digits, at most, as a share of those of the last exit; the others are close to what they were.
SHARES = {"branchynet": 0.6, "sdn": 0.6, "dynexit": 0.6}


def test_on_real_digits_exits_save_computing_and_who_leaves_is_right_more_often(found):
    method, pair, _ = found
    with Console(quiet=True).step("answers") as step:
        answered = answer(pair, DATA.test, pair.limits, step, "test")
    right, taken = answered.right(), answered.exit_taken
    final, leaving = right[:, -1].mean(), taken < len(method.exits) - 1
    answering = right[np.arange(len(taken)), taken]
    everywhere = right[:, :-1][leaving].mean(), right[:, :-1].mean()
    assert final > 0.85
    assert answering.mean() > final - 0.06
    assert everywhere[0] > everywhere[1]
    assert np.array(pair.macs)[taken].mean() / pair.macs[-1] < SHARES.get(method.name, 0.99)


# By entropy and by gates: their mixes of exits are counted as well, each once.
COUNTED = ("branchynet", "eenet")
CLOSE = 0.05  # what the cost model promises


def takes_what_is_predicted(pair: pairs.Pair, actual: Trace) -> None:
    """The mean over real samples agrees with the cost model of serial execution, and is not the whole way's."""
    paths = execution.serial(counting.instructions(pair, CORTEX_M4))
    shares = (np.bincount(actual.exit_taken, minlength=actual.exits) / len(actual)).tolist()
    predicted, counted = execution.mean(paths, shares).time, actual.instructions.mean()
    assert predicted == pytest.approx(counted, rel=CLOSE)
    assert counted < (1 - 2 * CLOSE) * paths[-1].time


@pytest.mark.parametrize("target", [HOST, CORTEX_M4], ids=lambda t: t.name)
def test_the_firmware_is_bit_exact_at_every_exit_and_at_the_calibrated_thresholds(found, target, tmp_path):
    method, pair, _ = found
    if not shutil.which(target.compiler) or (target.emulator and not shutil.which(target.emulator[0])):
        pytest.skip(f"needs {target.compiler}")
    samples = quantized(DATA.test.x, pair.graph)
    with Console(quiet=True).step("proof") as step:
        chosen = proof.Inputs("test samples", samples)
        program = build(compile_for(pair, pair.optimised, target, tmp_path / "c", "time"), target, tmp_path / "out")
        actual, _ = proof.answers(pair, program, chosen, step)
        expected = proof.oracle(pair, chosen, step)
        verdict = proof.compare(pair, program, chosen, expected, actual)
    assert (verdict.mismatches, verdict.message) == (0, "")
    assert len(set(actual.exit_taken.tolist())) > 1  # some leave early, some do not
    if target is CORTEX_M4 and method.name in COUNTED:
        takes_what_is_predicted(pair, actual)
