"""The figures of a comparison, from finished runs: each seed's, and what they say together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trecx import pipeline
from trecx.compiler.ops.product import Product
from trecx.decision import exit_taken
from trecx.judge.calibrate import calibrate
from trecx.judge.losses import paired_interval
from trecx.judge.report import Report
from trecx.judge.sweep import rights, sweep
from trecx.judge.trace import Trace
from trecx.run import Run
from trecx.settings import Settings
from trecx.steps import counting, judging
from trecx.steps import pair as pairs
from trecx.steps.judging import BACKBONE_TEST, TEST
from trecx.steps.pair import BACKBONE_VALIDATION, VALIDATION, Pair
from trecx.studies.compare.plan import BACKBONE, BEHIND, Candidate
from trecx.studies.statistics import Summary, summary

# Confidence that takes the loss on validation as it was observed.
OBSERVED = 0.5
# Where curves are kept: shares that leave early.
RATES = tuple(round(0.02 * k, 2) for k in range(51))
OVER_SEEDS = ("accuracy", "loss", "exit_rate", "macs", "instructions", "macs_saved", "instructions_saved")


@dataclass(frozen=True)
class Costs:
    """What leaving at each exit costs, in MACs of the file and in counted instructions; None where nothing counted."""

    macs: tuple[int, ...]
    instructions: tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class Plain:
    """The backbone alone: what it costs, and which test samples it gets right, bool `(n,)`."""

    costs: Costs
    right: np.ndarray


@dataclass(frozen=True)
class Rule:
    """How thresholds are chosen: points that may be lost, and the one-sided confidence of that."""

    points: float
    confidence: float


def near_best(folders: Mapping[str, Path]) -> tuple[str, ...]:
    """The candidates that are at most a point behind the best on validation samples, at their thresholds."""
    found = {name: _validated(folder) for name, folder in folders.items()}
    best = max(found.values())
    return tuple(name for name, accuracy in found.items() if accuracy >= best - BEHIND - 1e-12)


def _validated(folder: Path) -> float:
    """Accuracy on validation samples at the calibrated thresholds."""
    model = Run(folder).folder(pipeline.folder("calibrate"))
    pair, trace = pairs.read(model), Trace.load(model / VALIDATION)
    return float(_answered(pair, trace, pair.limits)[1].mean())


def of(task: str, known: Sequence[Candidate], runs: Mapping[Candidate, Sequence[tuple[int, Path]]]) -> dict[str, Any]:
    """All figures of a comparison between `known` candidates, of those that have finished `runs`.

    Accuracies and savings are shares, losses are points.
    """
    alone = next(seeds for one, seeds in runs.items() if one.name == BACKBONE)
    plain = {seed: _plain(folder) for seed, folder in alone}
    first = plain[min(plain)]
    found = []
    for one, seeds in runs.items():
        each = [_seed(number, folder, plain.get(number, first), one) for number, folder in seeds]
        about = {"name": one.name, "title": one.title, "control": one.control}
        found.append({**about, "seeds": each, "summary": _summary(each)})
    opened = _opened(alone[0][1])
    return {
        "task": task,
        "split": _split(opened[1]),
        "rules": _rules(alone[0][1]),
        "candidates": _beside(found),
        "unfinished": list(_unfinished(known, runs)),
    }


def _plain(folder: Path) -> Plain:
    """The backbone alone of a seed."""
    return Plain(_costs(*_opened(folder)), Trace.load(Run(folder).folder("evaluate") / TEST).right()[:, -1])


def _unfinished(known: Sequence[Candidate], runs: Mapping[Candidate, Sequence[tuple[int, Path]]]) -> Iterator[str]:
    """Titles of candidates that were not trained, or have fewer seeds than others although they are near the best."""
    most = max(len(seeds) for seeds in runs.values())
    near = near_best({one.name: seeds[0][1] for one, seeds in runs.items()})
    for one in known:
        seeds = len(runs.get(one, ()))
        if not seeds:
            yield f"{one.title} (not trained)"
        elif seeds < most and (one.name in near or one.control):
            yield f"{one.title} ({seeds} of {most} seeds)"


def _opened(folder: Path) -> tuple[Pair, Report]:
    """The pair of a finished run, and its report."""
    run = Run(folder)
    settings = Settings.from_json(run.document["settings"])
    folders = {name: run.folder(pipeline.folder(name)) for name in pipeline.RULES}
    return pairs.read(folders["model"]), judging.assemble(settings, folders)


def _split(report: Report) -> dict[str, Any]:
    judged = report.accuracy.int8_with_exits
    assert judged is not None and report.calibration is not None
    return {"test": judged.split, "samples": judged.samples, "validation_samples": report.calibration.samples}


def _rules(folder: Path) -> list[dict[str, float]]:
    chosen = Settings.from_json(Run(folder).document["settings"])
    return [vars(rule) for rule in rules(chosen)]


def rules(chosen: Settings) -> tuple[Rule, ...]:
    """What is asked of every candidate: the promise of the run, and what the observed loss alone would allow."""
    return (Rule(chosen.points, chosen.confidence), Rule(chosen.points, OBSERVED), Rule(0.0, OBSERVED))


def _costs(pair: Pair, report: Report) -> Costs:
    counted = next((one.instructions for one in report.targets if one.name == counting.USUAL), None)
    return Costs(pair.macs, counted)


def _seed(number: int, folder: Path, plain: Plain, one: Candidate) -> dict[str, Any]:
    """One run: what it is, what it costs, and what its thresholds do to test samples by each rule."""
    pair, report = _opened(folder)
    run, costs = Run(folder), _costs(pair, report)
    chosen = Settings.from_json(run.document["settings"])
    model, judged = run.folder(pipeline.folder("calibrate")), run.folder("evaluate")
    validation, test = Trace.load(model / VALIDATION), Trace.load(judged / TEST)
    against = Trace.load(model / BACKBONE_VALIDATION) if (model / BACKBONE_VALIDATION).is_file() else None
    reference = None if against is None or chosen.against != "backbone" else against.right()[:, -1]
    # The backbone that a network without exits is compared with is the whole one, not its own.
    own = judged / BACKBONE_TEST
    baseline = plain.right if one.control or not own.is_file() else Trace.load(own).right()[:, -1]
    swept = sweep(test, pair.decisions)
    target = next((one for one in report.targets if one.name == counting.USUAL), None)
    return {
        "seed": number,
        "sha256": pair.exits.model_sha256,
        "criterion": report.criterion,
        "taps": (report.provenance or {}).get("taps") or [(report.provenance or {}).get("exit")],
        "parameters": parameters(pair),
        "flash": target and target.flash,
        "model_flash": target and target.model_flash,
        "ram": target and target.ram,
        "macs": list(costs.macs),
        "instructions": costs.instructions and list(costs.instructions),
        "accuracy_by_exit": [one.accuracy.value for one in report.exits if one.accuracy is not None],
        "auroc": [one.auroc for one in report.exits[:-1]],
        "validation_accuracy": float(_answered(pair, validation, pair.limits)[1].mean()),
        "judged": [
            _judged(pair, rule, (validation, reference), (test, baseline), costs, plain.costs) for rule in rules(chosen)
        ],
        "controls": _controls(report),
        "accuracy_by_exit_rate": _rounded(np.interp(RATES, swept.exit_rate, swept.accuracy)),
        "cost_by_exit_rate": _by_rate(swept.exit_rate, swept.mean_cost(costs.macs)),
        "instructions_by_exit_rate": costs.instructions
        and _by_rate(swept.exit_rate, swept.mean_cost(costs.instructions)),
    }


def parameters(pair: Pair) -> int:
    """Weights and biases of the model as in the file."""
    learned = [op.channels for op in pair.graph.ops if isinstance(op, Product)]
    return sum(one.weights.size + one.bias.size for one in learned)


def _answered(pair: Pair, trace: Trace, limits: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Where each sample's inference ends, and whether it is answered right."""
    early = trace.exits - 1
    within = trace.decided(pair.decisions)[:, :early]
    taken = exit_taken(within, tuple(limits)[:early], trace.exits)
    return taken, rights(trace, pair.decisions)[np.arange(len(trace)), taken]


def _judged(
    pair: Pair,
    rule: Rule,
    validated: tuple[Trace, np.ndarray | None],
    tested: tuple[Trace, np.ndarray],
    costs: Costs,
    plain: Costs,
) -> dict[str, Any]:
    """Thresholds that were chosen by a rule on validation answers, and what they do to test samples."""
    found = calibrate(validated[0], pair.decisions, rule.points, rule.confidence, validated[1])
    trace, reference = tested
    taken, right = _answered(pair, trace, found.limits)
    lost, won = int((reference & ~right).sum()), int((right & ~reference).sum())
    low, high = paired_interval(lost, won, len(trace))
    macs = float(np.asarray(costs.macs)[taken].mean())
    counted = None if costs.instructions is None else float(np.asarray(costs.instructions)[taken].mean())
    base = plain.instructions
    return {
        **vars(rule),
        "validation_loss": found.loss,
        "bound": found.bound,
        "accuracy": float(right.mean()),
        "loss": 100 * (lost - won) / len(trace),
        "loss_interval": [100 * low, 100 * high],
        "exit_rate": float((taken < trace.exits - 1).mean()),
        "exit_rates": (np.bincount(taken, minlength=trace.exits) / len(trace)).tolist(),
        "macs": macs,
        "macs_saved": 1 - macs / plain.macs[-1],
        "instructions": counted,
        "instructions_saved": None if counted is None or base is None else 1 - counted / base[-1],
    }


def _controls(report: Report) -> dict[str, float] | None:
    """Leaving at random at the same rates, and leaving at the first right exit."""
    if report.analysis is None or len(report.exits) < 2:
        return None
    told = report.analysis
    return {"random_exit": told.random_exit, "oracle": told.oracle, "oracle_macs": told.oracle_macs}


def _summary(seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and intervals over seeds, by rule."""

    def over(values: Sequence[float | None]) -> Summary | None:
        known = [value for value in values if value is not None]
        return summary(known) if len(known) == len(values) else None

    rules_ = range(len(seeds[0]["judged"]))
    judged = [{key: over([seed["judged"][k][key] for seed in seeds]) for key in OVER_SEEDS} for k in rules_]
    for k, one in enumerate(judged):
        points = seeds[0]["judged"][k]["points"]
        one["within"] = sum(seed["judged"][k]["loss"] <= points + 1e-9 for seed in seeds)
    return {"judged": judged, "validation_accuracy": over([seed["validation_accuracy"] for seed in seeds])}


def _beside(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each candidate with exits, with the accuracy that a network without exits has at its mean instructions."""
    static = sorted(point for one in found if one["control"] and (point := _point(one)) is not None)
    return [one | {"static_at_equal_cost": None if one["control"] else _between(static, _point(one))} for one in found]


def _point(one: dict[str, Any]) -> tuple[float, float] | None:
    """Mean instructions and accuracy of a candidate at the thresholds of the first rule."""
    judged = one["summary"]["judged"][0]
    cost = judged["instructions"]
    return None if cost is None else (cost["mean"], judged["accuracy"]["mean"])


def _between(static: list[tuple[float, float]], point: tuple[float, float] | None) -> float | None:
    """The accuracy at a cost, in a straight line between the nearest networks; None where it is beyond all of them."""
    if point is None or len(static) < 2 or not static[0][0] <= point[0] <= static[-1][0]:
        return None
    costs, accuracies = (np.array(column) for column in zip(*static, strict=True))
    return float(np.interp(point[0], costs, accuracies))


def _by_rate(rate: np.ndarray, cost: np.ndarray) -> list[float]:
    return [round(float(value), 1) for value in np.interp(RATES, rate, cost)]


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in values]
