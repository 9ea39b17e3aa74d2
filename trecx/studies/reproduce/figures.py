"""The figures of one seed, from its answers to validation and test samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trecx import documents, pipeline
from trecx.decision import Criterion, exit_taken
from trecx.judge.losses import paired_interval
from trecx.judge.sweep import sweep
from trecx.judge.trace import Trace
from trecx.judge.verify import Verification
from trecx.learn.train import SCORES
from trecx.run import Run
from trecx.steps import pair as pairs
from trecx.steps.judging import BACKBONE_TEST, TEST
from trecx.steps.pair import BACKBONE_VALIDATION, VALIDATION
from trecx.steps.proof import RESULT
from trecx.studies.reproduce.plan import POINTS
from trecx.studies.reproduce.seed import CHOSEN
from trecx.studies.reproduce.together import THRESHOLDS

# Where curves are kept: shares that leave early, and points lost against the backbone.
RATES = tuple(round(0.02 * k, 2) for k in range(51))
LOST = tuple(round(0.1 * k, 1) for k in range(51))


def of(run: Run, number: int) -> dict[str, Any]:
    """All figures of a complete seed, for results.json; accuracies and savings are shares, losses are points."""
    trained, paired, tested = (run.folder(pipeline.folder(step)) for step in ("train", "calibrate", "evaluate"))
    stamp = run.stamp("train")
    assert stamp is not None
    pair, alone = pairs.read(paired), pairs.plain(paired / pairs.BACKBONE)
    names, macs, backbone_macs = [exit_.name for exit_ in pair.exits.exits], pair.macs, alone.macs[-1]
    trace, plain = Trace.load(tested / TEST), Trace.load(tested / BACKBONE_TEST)
    validation, validated = Trace.load(paired / VALIDATION), Trace.load(paired / BACKBONE_VALIDATION)
    again = f"Delete the folder {run.folder(THRESHOLDS)} and reproduce again."
    chosen = documents.required(run.folder(THRESHOLDS) / CHOSEN, again, "before_test", "chosen")
    reference = plain.right()[:, -1]
    scores = _float_scores(trained / SCORES)
    model = Model(pair.decisions, macs, backbone_macs)
    swept = sweep(trace, pair.decisions)
    curve = _Curve(swept.accuracy, swept.mean_cost(macs), swept.exit_rate)
    return {
        "seed": number,
        "sha256": {
            "training": stamp.sha256,
            "model": pair.exits.model_sha256,
            "backbone": alone.exits.model_sha256,
        },
        "proven_samples": _proven(run),
        "macs": {"backbone": backbone_macs, **dict(zip(names, macs, strict=True))},
        "float": {name: _share(scores[name].argmax(-1) == scores["labels"]) for name in ("backbone", *names)},
        "int8": _accuracies(names, trace, plain),
        "int8_validation": _accuracies(names, validation, validated),
        "chosen_before_test": chosen["before_test"],
        "calibrated": [_realised(one, trace, reference, model) for one in chosen["chosen"]],
        "chosen_on_test": {
            "int8": [curve.cheapest(_share(reference), points, backbone_macs) for points in POINTS],
            "float": _float_on_test(scores, names, macs, backbone_macs),
        },
        "accuracy_by_exit_rate": _rounded(np.interp(RATES, curve.rate, curve.accuracy)),
        "saved_by_points_lost": [
            None if one is None else round(one["saving"], 5)
            for one in (curve.cheapest(_share(reference), points, backbone_macs) for points in LOST)
        ],
    }


def _proven(run: Run) -> int:
    """How many test samples the C answered as the oracle did, bit by bit."""
    proven = documents.kept(tuple[Verification, ...], run.folder("verify") / RESULT) or ()
    return next(one.samples for one in proven if one.inputs == "test samples")


class _Curve:
    """Accuracy, mean MACs and share that leaves early at every threshold, arrays `(points,)`."""

    def __init__(self, accuracy: np.ndarray, macs: np.ndarray, rate: np.ndarray) -> None:
        self.accuracy, self.macs, self.rate = accuracy, macs, rate

    def cheapest(self, reference: float, points: float, backbone_macs: int) -> dict[str, float] | None:
        """The threshold with the fewest MACs that loses at most `points` on these samples; None where none does."""
        allowed = np.flatnonzero(self.accuracy >= reference - points / 100 - 1e-12)
        if not len(allowed):
            return None
        k = int(allowed[self.macs[allowed].argmin()])
        macs = float(self.macs[k])
        found = {"points": points, "exit_rate": float(self.rate[k]), "macs": macs, "saving": 1 - macs / backbone_macs}
        return found | {"accuracy": float(self.accuracy[k])}


@dataclass(frozen=True)
class Model:
    """How the early exits of a model decide, and the MACs to each exit's answer and of the backbone alone."""

    decisions: tuple[Criterion, ...]
    macs: tuple[int, ...]
    backbone_macs: int


def _realised(chosen: dict[str, Any], trace: Trace, reference: np.ndarray, model: Model) -> dict[str, Any]:
    """A calibrated threshold, and what it does on test samples."""
    decisions = model.decisions
    taken = exit_taken(trace.decided(decisions), (chosen["limit"],) * len(decisions), trace.exits)
    right = trace.right()[np.arange(len(trace)), taken]
    only_reference, only_exits = int((reference & ~right).sum()), int((right & ~reference).sum())
    low, high = paired_interval(only_reference, only_exits, len(trace))
    macs = float(np.asarray(model.macs)[taken].mean())
    keys = ("points", "confidence", "reference", "threshold", "limit", "bound", "samples")
    return {key: chosen[key] for key in keys} | {
        "validation_loss": chosen["loss"],
        "validation_exit_rate": chosen["exit_rate"],
        "loss": 100 * (only_reference - only_exits) / len(trace),
        "loss_interval": [100 * low, 100 * high],
        "accuracy": _share(right),
        "exit_rate": _share(taken < trace.exits - 1),
        "macs": macs,
        "saving": 1 - macs / model.backbone_macs,
    }


def _float_on_test(
    scores: dict[str, np.ndarray], names: Sequence[str], macs: Sequence[int], backbone_macs: int
) -> list[dict[str, float] | None]:
    """The same as the int8 sweep on float scores; for one early exit, else nothing."""
    if len(names) != 2:
        return [None for _ in POINTS]
    early, final = (scores[name] for name in names)
    rights = [scores[name].argmax(-1) == scores["labels"] for name in names]
    confidence = early.max(-1)
    order = np.argsort(-confidence, kind="stable")
    cut = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True)) + 1  # only between different scores
    leaving = np.concatenate([[0], cut])
    gained = np.concatenate([[0], np.cumsum(rights[0][order].astype(np.int64) - rights[1][order])])[leaving]
    accuracy = (rights[1].sum() + gained) / len(final)
    rate = leaving / len(final)
    curve = _Curve(accuracy, rate * macs[0] + (1 - rate) * macs[1], rate)
    reference = _share(scores["backbone"].argmax(-1) == scores["labels"])
    return [curve.cheapest(reference, points, backbone_macs) for points in POINTS]


def _accuracies(names: Sequence[str], trace: Trace, plain: Trace) -> dict[str, float]:
    right = trace.right()
    return {"backbone": _share(plain.right()[:, -1])} | {name: _share(right[:, k]) for k, name in enumerate(names)}


def _float_scores(path: Path) -> dict[str, np.ndarray]:
    """Float scores `(n, classes)` of every exit and of the backbone on test samples, and their labels."""
    with np.load(path, allow_pickle=False) as file:
        return {name.removeprefix("test_"): file[name] for name in file.files if name.startswith("test_")}


def _share(right: np.ndarray) -> float:
    return float(np.mean(right))


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in values]
