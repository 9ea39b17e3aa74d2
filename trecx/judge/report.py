"""`report.json`: everything that a build found out, with stable keys.

The document is the dataclass `Report` below, field for field, plus "schema" as its first key. What was not measured is
null, never a guess. `KEYS` documents every key; a test holds it to the dataclasses.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trecx import documents
from trecx.errors import TrecxError
from trecx.files import whole
from trecx.judge.calibrate import Calibration, break_even, break_even_warning
from trecx.judge.choice import Scouted
from trecx.judge.evaluate import Accuracy, Evaluation
from trecx.judge.growth import Promisable
from trecx.judge.quality import Quality
from trecx.judge.second_opinion import SecondOpinion
from trecx.judge.verify import Verification

SCHEMA = "trecx-report/2"
CURVE_POINTS = 201

KEYS = (
    ("schema", "name and version of this format; a new number means that a key changed its meaning or went away"),
    ("tool", "version of trecx"),
    ("task, title", "short name and readable name of the task"),
    ("method", "how exits were attached and trained"),
    ("criterion", "what the early exits decide by"),
    ("model.file, sha256, bytes", "the int8 .tflite"),
    ("exits[].name", "exits in the order in which they are taken; the last is the final exit"),
    ("exits[].macs", "multiply-accumulates from input to this exit's answer, earlier heads included"),
    ("exits[].accuracy", "int8 accuracy if every sample left here, or null"),
    ("exits[].taken, rate", "samples that leave here at the thresholds in force, and their share, or null"),
    ("exits[].accuracy_taken", "accuracy among those, or null"),
    ("exits[].auroc", "chance that a right answer here is surer than a wrong one, or null"),
    ("exits[].quality.nll, brier, ece", "log-likelihood in nats, negative, Brier score, calibration error in 15 bins"),
    ("exits[].quality.told[]", "for each criterion its name and the same chance by it, which may be null"),
    ("accuracy.float_without_exits", "the backbone alone before quantization, or null"),
    ("accuracy.int8_without_exits", "the backbone alone as int8, or null"),
    ("accuracy.int8_with_exits", "the compiled model at the thresholds in force, or null"),
    ("accuracy.most_frequent_class", "share of right answers of always naming the most frequent class, or null"),
    ("*.accuracy.value, low, high", "share of right answers and its 95 % Wilson interval"),
    ("*.accuracy.right, samples, split", "number of right answers, of samples, and which samples"),
    ("loss", "points of accuracy lost by the exits against the int8 backbone alone on the same samples, or null"),
    ("loss_interval", "its paired 95 % interval: lowest and highest, or null"),
    ("exit_rate", "share of samples that leave before the final exit, or null"),
    ("macs.backbone, worst", "MACs of the backbone alone (or null), and of a sample that goes to the final exit"),
    ("macs.mean, saving", "mean MACs per sample, and the share of the backbone's saved, or null"),
    ("break_even_rate", "exit rate from which on the exits save MACs, or null where they never do"),
    ("operating_point[].exit", "early exit"),
    ("operating_point[].criterion", "what it decides by"),
    ("operating_point[].threshold, limit", "its threshold (null: never) and its integer form"),
    ("operating_points[].name, thresholds[]", "what the firmware can change between, the default first; null: never"),
    ("operating_points[].samples", "on how many validation samples it was chosen, or null"),
    ("operating_points[].accuracy, exit_rates[], macs", "what it did to them: shares, mean MACs as compiled, or null"),
    ("operating_points[].instructions, counted_on", "mean instructions, predicted, and on which target, or null"),
    ("calibration", "how the threshold was chosen, or null: see trecx/judge/calibrate.py"),
    ("calibration.thresholds[], limits[]", "the choice, one for each early exit"),
    ("calibration.exit_rate", "what it does on the calibration samples"),
    ("calibration.loss, bound", "points lost there: observed, and at most so many at the confidence"),
    ("calibration.promise", "confidence, or mean: what is promised of the loss on new samples"),
    ("calibration.points, confidence, reference", "what was asked for (null: mean), and what loss is measured against"),
    ("calibration.samples", "number of calibration samples"),
    ("calibration.unlabelled", "number of samples without labels that narrowed the bound"),
    ("calibration.left_out", "how many of the samples are training data, by heads that were trained without them"),
    ("calibration.apart", "how unlike those leave: Kolmogorov and Smirnov's statistic; chance seldom exceeds 1.95"),
    ("calibration.unbounded_thresholds[], unbounded_exit_rate", "what the observed loss alone would have allowed"),
    ("calibration.warnings", "what the calibration could not show"),
    ("promisable[].samples", "a number of labelled samples to calibrate on"),
    (
        "promisable[].exit_rate, low, high",
        "what may leave early then, with the same promise: mean, 10 and 90 % of all",
    ),
    ("promisable[].extrapolated", "whether there are not that many: drawn with replacement from those there are"),
    ("choice", "how it was found out where exits go, where nobody said so, or null: see trecx/judge/choice.py"),
    ("choice.asked, method, taps[], heads[], told", "what left it open; what was chosen, and in words"),
    ("choice.cost, plain", "what was counted, and the count of the network alone"),
    ("choice.weights", "the network that was trained for it, in the folder scout/, or null"),
    ("choice.points, confidence", "what candidates were allowed to lose, or null where only taps were placed"),
    ("choice.samples, accuracy, most_frequent", "validation samples, and the shares of the network and of a guess"),
    ("choice.candidates[].heads[].tap, kind", "every head that was tried, and the best pairs: what it reads and is"),
    ("choice.candidates[].accuracy[]", "int8 accuracy of each if every sample left there"),
    ("choice.candidates[].thresholds[]", "those that calibration would give it, on these samples"),
    ("choice.candidates[].exit_rate, loss, bound", "what it does there: as for calibration"),
    ("choice.candidates[].cost, saving", "its mean cost, and the share of the network alone that it saves"),
    ("analysis.overthinking", "share of samples that an early exit gets right and the final one wrong"),
    ("analysis.oracle, oracle_macs", "accuracy and mean MACs if every sample left at its first right exit"),
    ("analysis.random_exit", "accuracy of leaving at random at the same exit rates"),
    ("verification[].target, oracle, inputs", "what was compared with what (name and version), on which inputs"),
    ("verification[].samples, mismatches", "samples compared, and samples with any difference"),
    (
        "verification[].of",
        "samples that there were, of which a slow model is compared on as many as time allows, or null",
    ),
    ("verification[].exit_mismatches", "per exit: samples whose logits or scores there differ"),
    ("verification[].taken_mismatches", "samples that left at another exit"),
    ("verification[].first_sample, message", "the first sample that differs, and how, or null and empty"),
    (
        "verification[].difference",
        "first differing operator: index, name, element (NHWC), expected, actual, differing, size, or null",
    ),
    ("second_opinion", "LiteRT's reference kernels against the oracle, operator by operator, or null"),
    ("second_opinion.interpreter, samples", "name and version, and samples compared"),
    ("second_opinion.compared, equal", "operator runs on equal inputs, and those with equal outputs"),
    (
        "second_opinion.fully_connected",
        "runs of FULLY_CONNECTED off by 1: LiteRT rounds it differently, a known difference",
    ),
    ("second_opinion.unexplained, message", "every other difference, and the first of them"),
    ("second_opinion.unavailable", "why it could not be had, or empty"),
    ("rewrites[].name, count", "exact rewrites of the graph, and how often each applied"),
    ("targets[].name, title, compiler", "target, its readable name, C compiler with version"),
    ("targets[].inputs, samples", "on what instructions were counted, and on how many samples, or null"),
    ("targets[].instructions[]", "mean executed instructions from input to each exit's answer, or null"),
    ("targets[].instructions_mean", "mean at the thresholds in force, or null"),
    ("targets[].instructions_backbone", "those of the backbone alone, or of the network without its exits, or null"),
    ("targets[].break_even_rate", "exit rate from which on the exits save instructions, or null where they never do"),
    ("targets[].flash, ram", "bytes of flash and of static RAM of the firmware, arena included, or null"),
    ("targets[].model_flash", "bytes of flash of the model alone (weights, tables, code), or null"),
    ("targets[].arena, stack", "bytes of the activation arena and of the deepest stack of one inference, or null"),
    ("targets[].arena_bound", "bytes below which no placement of the same buffers can come, or null"),
    ("targets[].optimize", "what kernels and memory plan were chosen for: time, ram or flash, or null"),
    ("curve[].thresholds[]", "one for each early exit; null is never"),
    ("curve[].exit_rate, accuracy, macs", "accuracy against mean MACs over all thresholds, thinned"),
    ("provenance", "where the weights come from: the provenance file as it is, or null"),
    ("warnings[]", "complete sentences"),
)


@dataclass(frozen=True)
class ModelReport:
    """The file that was compiled; size in bytes."""

    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class ExitReport:
    """One exit; what needs labels or samples is None without them."""

    name: str
    macs: int
    accuracy: Accuracy | None = None
    taken: int | None = None
    rate: float | None = None
    accuracy_taken: Accuracy | None = None
    auroc: float | None = None
    quality: Quality | None = None


@dataclass(frozen=True)
class AccuracyReport:
    """The three accuracies that matter, each with its samples and split."""

    float_without_exits: Accuracy | None = None
    int8_without_exits: Accuracy | None = None
    int8_with_exits: Accuracy | None = None
    most_frequent_class: float | None = None

    @property
    def comparable(self) -> bool:
        """Whether the backbone is shown to be better than naming the most frequent class, or nothing is known of it."""
        backbone, guess = self.int8_without_exits, self.most_frequent_class
        return backbone is None or guess is None or backbone.low > guess


@dataclass(frozen=True)
class MacsReport:
    """MACs per inference; `mean` and `saving` need samples, `backbone` a model without exits to compare with."""

    backbone: int | None
    worst: int
    mean: float | None = None
    saving: float | None = None


@dataclass(frozen=True)
class ThresholdReport:
    """The threshold in force at an early exit."""

    exit: str
    threshold: float | None
    limit: int
    criterion: str


@dataclass(frozen=True)
class AnalysisReport:
    """What the exits could do at best and at worst."""

    overthinking: float
    oracle: float
    oracle_macs: float
    random_exit: float


@dataclass(frozen=True)
class TargetReport:
    """Costs on one target; instructions are counted, never cycles, sizes are bytes."""

    name: str
    title: str
    compiler: str
    inputs: str | None = None
    samples: int | None = None
    instructions: tuple[float, ...] | None = None
    instructions_mean: float | None = None
    flash: int | None = None
    model_flash: int | None = None
    ram: int | None = None
    arena: int | None = None
    stack: int | None = None
    arena_bound: int | None = None
    optimize: str | None = None
    instructions_backbone: float | None = None
    break_even_rate: float | None = None


@dataclass(frozen=True)
class RewriteReport:
    """An exact rewrite of the graph, and how often it applied."""

    name: str
    count: int


@dataclass(frozen=True)
class CurvePoint:
    """One point of the curve; `macs` is the mean."""

    thresholds: tuple[float | None, ...]
    exit_rate: float
    accuracy: float
    macs: float


@dataclass(frozen=True)
class PointReport:
    """An operating point, with what it did to the samples that it was chosen on."""

    name: str
    thresholds: tuple[float | None, ...]
    samples: int | None = None
    accuracy: float | None = None
    exit_rates: tuple[float, ...] | None = None
    macs: float | None = None
    instructions: float | None = None
    counted_on: str | None = None


@dataclass(frozen=True)
class Report:
    """The whole of `report.json`; see `KEYS`."""

    tool: str
    task: str
    title: str
    method: str
    criterion: str
    model: ModelReport
    exits: tuple[ExitReport, ...]
    macs: MacsReport
    break_even_rate: float | None
    operating_point: tuple[ThresholdReport, ...]
    accuracy: AccuracyReport = AccuracyReport()
    loss: float | None = None
    loss_interval: tuple[float, ...] | None = None
    exit_rate: float | None = None
    calibration: Calibration | None = None
    promisable: tuple[Promisable, ...] = ()
    choice: Scouted | None = None
    analysis: AnalysisReport | None = None
    verification: tuple[Verification, ...] = ()
    second_opinion: SecondOpinion | None = None
    rewrites: tuple[RewriteReport, ...] = ()
    targets: tuple[TargetReport, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    operating_points: tuple[PointReport, ...] = ()
    provenance: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()


def with_evaluation(report: Report, evaluation: Evaluation, float_accuracy: Accuracy | None = None) -> Report:
    """The report with everything that a labelled split shows, and a warning where the exits do not pay."""
    known = {e.name: e for e in evaluation.exits}
    pays = evaluation.break_even < 1
    found = break_even_warning(evaluation.exit_rate, evaluation.break_even) if pays else _never_pays(evaluation)
    on_targets = [(target, _break_even_on(target, evaluation)) for target in report.targets]
    dear = [_dear(target.name, evaluation.exit_rate, rate) for target, rate in on_targets if rate is not None]
    return replace(
        report,
        exits=tuple(ExitReport(**vars(known[e.name])) for e in report.exits),
        accuracy=AccuracyReport(float_accuracy, evaluation.backbone, evaluation.with_exits, evaluation.most_frequent),
        loss=evaluation.loss,
        loss_interval=evaluation.loss_interval,
        exit_rate=evaluation.exit_rate,
        macs=MacsReport(evaluation.macs_backbone, evaluation.macs_worst, evaluation.macs_mean, evaluation.saving),
        break_even_rate=evaluation.break_even if pays else None,
        analysis=AnalysisReport(
            evaluation.overthinking, evaluation.oracle, evaluation.oracle_macs, evaluation.random_exit
        ),
        targets=tuple(replace(t, break_even_rate=r if r is not None and r < 1 else None) for t, r in on_targets),
        curve=_thinned(evaluation),
        warnings=(
            *report.warnings,
            *at_chance(evaluation),
            *((found,) if found else ()),
            *(sentence for sentence in dear if sentence),
        ),
    )


def _break_even_on(target: TargetReport, evaluation: Evaluation) -> float | None:
    """The exit rate from which on exits save a target's instructions; None where those were not counted."""
    if target.instructions is None or target.instructions_backbone is None:
        return None
    return max(break_even(target.instructions, target.instructions_backbone, evaluation.ended[:-1]), 0.0)


def _dear(target: str, exit_rate: float, needed: float) -> str | None:
    """A sentence where so few samples leave early that a target executes more than for the backbone alone."""
    if needed >= 1:
        return f"On {target} exits never pay: leaving early executes no less than the backbone; choose an earlier tap."
    found = break_even_warning(exit_rate, needed)
    return found and f"On {target}, by executed instructions: {found[0].lower()}{found[1:]}"


def at_chance(evaluation: Evaluation) -> tuple[str, ...]:
    """A sentence where the backbone or an exit is not shown to be better than naming the most frequent class."""
    alone = [("The backbone alone", evaluation.backbone)] if evaluation.backbone is not None else []
    judged = [*alone, *((f"The exit {e.name!r}", e.accuracy) for e in evaluation.exits)]
    low = [
        f"{what} ({a.value:.1%}, 95 % interval {a.low:.1%} to {a.high:.1%})"
        for what, a in judged
        if a.low <= evaluation.most_frequent
    ]
    if not low:
        return ()
    guess = f"always naming the most frequent class ({evaluation.most_frequent:.1%} of {evaluation.samples:,} samples)"
    more = (
        "" if not alone or alone[0][1].low > evaluation.most_frequent else " No gain or loss against it says anything."
    )
    return tuple(f"{one} is not shown to be better than {guess}.{more if k == 0 else ''}" for k, one in enumerate(low))


def _never_pays(evaluation: Evaluation) -> str | None:
    """A sentence where a sample that leaves early costs no less than the backbone alone; None without an early exit."""
    early = evaluation.exits[:-1]
    if not early:
        return None
    taken = [exit_.taken for exit_ in early]
    cost = np.average([exit_.macs for exit_ in early], weights=taken if any(taken) else None)
    share = f"{cost / evaluation.macs_backbone:.1%} of the backbone's MACs"
    return f"Exits never pay: leaving early takes {share}; choose an earlier tap."


def to_json(report: Report) -> str:
    """The document as text: two spaces, keys in the order of the dataclasses, deterministic."""
    document = {"schema": SCHEMA, **asdict(report)}
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write(report: Report, path: Path) -> None:
    """Write `report.json`; an older one stays whole until the new one is."""
    with whole(path) as unfinished:
        unfinished.write_text(to_json(report), encoding="utf-8")


def read(path: Path) -> Report:
    """Read what `write` wrote; raise TrecxError where the file is not such a report."""
    try:
        document = documents.read(path)
        schema = document.pop("schema")
        if schema != SCHEMA:
            raise ValueError(f"schema {schema!r}, expected {SCHEMA!r}")
        report: Report = documents.typed(Report, document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrecxError(f"{path} is not a report: {error}.", "Run `trecx report` to write it again.") from error
    return report


def _thinned(evaluation: Evaluation) -> tuple[CurvePoint, ...]:
    """At most `CURVE_POINTS` points, evenly spread over the exit rate, both ends kept."""
    curve = evaluation.curve
    wanted = [k / (CURVE_POINTS - 1) for k in range(CURVE_POINTS)]
    kept = sorted({min(int(curve.exit_rate.searchsorted(rate)), len(curve.limits) - 1) for rate in wanted})
    return tuple(
        CurvePoint(curve.thresholds(k), float(curve.exit_rate[k]), float(curve.accuracy[k]), float(curve.macs[k]))
        for k in kept
    )
