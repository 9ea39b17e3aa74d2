"""`trecx build --method`, through every step on real digits, and criteria that are chosen afterwards."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("tf_keras")

from trecx.cli import main
from trecx.steps import pair

TASK = f"{Path(__file__).parent / 'branching_task.py'}:TASK"


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def build(folder: Path, method: str, *more):
    (folder / "data").mkdir(exist_ok=True)
    short = ("--epochs", 1, "--target", "host", "--samples", 20)
    return invoke(
        "build", "--task", TASK, "--method", method, "--data", folder / "data", *short, "--out", folder / method, *more
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The run of a method, built when it is first asked for."""
    folder, runs = tmp_path_factory.mktemp("methods"), {}

    def of(method: str) -> Path:
        if method not in runs:
            done = build(folder, method)
            assert done.exit_code == 0, done.output
            runs[method] = folder / method
        return runs[method]

    return of


def test_the_plain_network_is_built_and_proven_like_the_others(made):
    report = json.loads((made("none") / "report" / "report.json").read_text())
    assert [one["name"] for one in report["exits"]] == ["final"]
    assert [one["mismatches"] for one in report["verification"]] == [0, 0]
    assert "Threshold" not in (made("none") / "report" / "report.txt").read_text()


def test_a_criterion_is_chosen_after_the_training(made):
    run = made("sdn")
    trained = (run / "train" / ".stamp").read_bytes(), (run / "quantize" / ".stamp").read_bytes()
    done = invoke("calibrate", run, "--criterion", "entropy")
    assert done.exit_code == 0, done.output
    exits = json.loads((run / "model" / "exits.json").read_text())
    assert [one.get("criterion") for one in exits["exits"]] == ["entropy", "entropy", None]
    assert exits["otherwise"] == "most_confident" and exits["method"] == "sdn"
    assert trained == ((run / "train" / ".stamp").read_bytes(), (run / "quantize" / ".stamp").read_bytes())
    verified = invoke("verify", run)
    assert verified.exit_code == 0 and "bit-exact" in verified.output


def test_a_model_with_gates_may_decide_by_its_scores_and_leaves_the_gates_out(made):
    run = made("pteenet")
    gated = pair.read(run / "model")
    assert [one.gate for one in gated.exits.exits] == ["early1_gate", "early2_gate", None]
    done = invoke("calibrate", run, "--criterion", "margin")
    assert done.exit_code == 0, done.output
    scored = pair.read(run / "model")
    assert [(one.criterion, one.gate) for one in scored.exits.exits[:-1]] == [("margin", None)] * 2
    assert len(scored.optimised.ops) == len(gated.optimised.ops) - 2  # the gates' Dense layers
    back = invoke("calibrate", run, "--criterion", "gate")
    assert back.exit_code == 0 and pair.read(run / "model").exits.exits == gated.exits.exits


@pytest.mark.parametrize(
    ("method", "options", "told"),
    [
        (
            "trecx",
            ("--price", 0.5),
            "--price does not apply to the method trecx; it belongs to eenet, softcond, pteenet",
        ),
        ("sdn", ("--gate-prior", 0), "--gate-prior does not apply to the method sdn"),
        ("branchynet", ("--heads-only",), "--heads-only does not apply to the method branchynet; it belongs to sdn"),
        ("eenet", ("--learn-from", "labels"), "--learn-from does not apply to the method eenet"),
        ("dyce", ("--learn-from", "pseudo"), "Exits of dyce do not learn from 'pseudo'; they learn from kl or labels"),
        ("dyce", ("--heads", "linear,cnn"), "--heads 'cnn' is no kind of head, nor one at a tap that has an exit"),
        ("dyce", ("--exits", "one", "--heads", "two:mlp"), "--heads says of no head that it reads the tap 'one'"),
        ("sdn", ("--heads", "conv"), "--heads does not apply to the method sdn; it belongs to dyce"),
        ("dyce", ("--heads", "mlp,mlp"), "--heads 'mlp,mlp' does not name kinds of heads, each once"),
        ("auto", ("--exits", "one"), "--method auto finds out itself what --exits says; leave one of them out"),
        ("auto", ("--exit", "paper"), "--method auto finds out itself what --exit says"),
        ("auto", ("--heads", "conv", "--no-early-view"), "itself what --heads says"),
        ("auto", ("--price", 0.5), "itself what --price says"),
        ("auto", ("--width", 0.5), "--method auto does not try heads on a narrower network"),
        ("auto", ("--quantize", "qat"), "--quantize qat: --method auto leaves the backbone as it is"),
        ("auto", ("--criterion", "gate"), "The heads that --method auto tries have no gates"),
        (
            "pteenet",
            ("--mac-budget", 0.5),
            "--mac-budget does not apply to the method pteenet; it belongs to eenet, soft",
        ),
        ("softcond", ("--price", 1, "--mac-budget", 0.5), "--mac-budget takes the place of --price; give one of them"),
        ("eenet", ("--mac-budget", 0.1), "leaving at early1 costs 29.3%, the whole way 100.2%"),
        ("softcond", ("--loss", "v2"), "--loss does not apply to the method softcond; it belongs to eenet"),
        (
            "eenet",
            ("--loss", "v3", "--mac-budget", 0.5),
            "--mac-budget is a budget of the mixture, --loss v1; --loss v3",
        ),
        ("sdn", ("--criterion", "gate"), "The method sdn has no gates that --criterion gate could read"),
        ("sdn", ("--criterion", "margin"), "lets the surest exit answer, which margin does not tell; max_score"),
        ("none", ("--quantize", "qat"), "--quantize qat: The plain network is quantized after training"),
        ("sdn", ("--heads-only", "--quantize", "qat"), "with --heads-only the backbone stays as it is"),
        ("pteenet", ("--quantize", "qat"), "pteenet leaves the backbone as it is, and fine-tuning would change it"),
        (
            "none",
            ("--operating-points", 5),
            "has no early exit: none of --criterion, --operating-points and --folds apply",
        ),
        ("sdn", ("--operating-points", 5), "lets the surest exit answer; --operating-points are limits only"),
        ("none", ("--exits", "one"), "The method none attaches to 0 of the taps, 1 are named"),
    ],
)
def test_what_a_method_has_no_use_for_is_refused_before_anything_is_written(method, options, told, tmp_path):
    done = build(tmp_path, method, *options)
    assert done.exit_code == 2 and told in " ".join(done.output.split()), done.output
    assert not (tmp_path / method).exists()


def test_a_criterion_without_a_training_is_refused(tmp_path):
    done = invoke("build", "kws", "--criterion", "margin", "--out", tmp_path / "kws")
    assert done.exit_code == 2 and "--criterion: these belong to a training" in done.output
