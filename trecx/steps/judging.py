"""The evaluate and report steps: what the firmware is worth on test data, and what a person is told."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlperf_tiny.task import Split
from trecx import __version__, archives, documents
from trecx import exits as door
from trecx.console import Step
from trecx.device import run as device
from trecx.device import toolchain
from trecx.errors import TrecxError
from trecx.files import write_json
from trecx.judge import curve, growth, memory_map, report, summary
from trecx.judge.calibrate import BACKBONE as AGAINST_BACKBONE
from trecx.judge.calibrate import Calibration
from trecx.judge.choice import CHOICE, Scouted, shortlist
from trecx.judge.evaluate import Evaluation, accuracy, evaluate
from trecx.judge.record import record
from trecx.judge.second_opinion import SecondOpinion
from trecx.judge.trace import Trace
from trecx.judge.verify import Verification
from trecx.settings import Folders, Settings
from trecx.steps import pair as pairs
from trecx.steps.answers import answer
from trecx.steps.data import data, quantized
from trecx.steps.firmware import left_out, plan_of, programs
from trecx.steps.learning import STUDY
from trecx.steps.pair import BACKBONE, BACKBONE_VALIDATION, UNLABELLED, VALIDATION, Pair
from trecx.steps.proof import COSTS, NOT_RUN, OPINION, RESULT, Costs
from trecx.subjects import task

TEST, BACKBONE_TEST, SPLIT = "test.npz", "backbone_test.npz", "split.json"
UNLIKE = (
    "These are not the samples that the shipped pair was judged on. It may have been trained or calibrated on some of "
    "them (provenance.json says on which), and then their accuracy flatters it."
)


@dataclass(frozen=True)
class Samples:
    """What the test answers were given to, and what is known of the backbone alone on the same samples.

    `float_right` counts the right answers of the float backbone, `backbone_macs` are its multiply-accumulates; None
    where they are not known. `caution` is what a reader of the accuracy must know.
    """

    split: str
    samples: int
    float_right: int | None = None
    backbone_macs: int | None = None
    caution: str = ""


def judge(settings: Settings, folders: Folders, out: Path, step: Step) -> None:
    """Leave the test answers of the firmware and of the backbone alone, with the split's description.

    With data the host program answers the test split, once; without, the answers that were recorded when the shipped
    pair was judged are taken, and say so. A model without either leaves nothing.
    """
    found, model = data(settings, step), folders["model"]
    pair = pairs.read(model)
    if found is not None:
        _answer(settings, pair, found.test, folders, out, step)
    elif (model / TEST).is_file():
        for name in (TEST, BACKBONE_TEST, SPLIT):
            shutil.copyfile(model / name, out / name)
    judged = evaluation(pair, out)
    step.outcome = "no labelled data: no accuracy"
    if judged is not None:
        origin = "" if found is not None else "recorded answers, "
        step.outcome = (
            f"{origin}{judged.with_exits.value:.2%} of {judged.samples:,} ({judged.split}), "
            f"{judged.exit_rate:.1%} leave early, {judged.saving:.1%} of the MACs saved"
        )
        step.outcome += "".join(f"; WARNING: {one.rstrip('.')}" for one in report.at_chance(judged)[:1])


def _answer(settings: Settings, pair: Pair, test: Split, folders: Folders, out: Path, step: Step) -> None:
    model = folders["model"]
    host = next((p for p in programs(folders["compile"], settings) if p.target.emulator is None), None)
    if host is None:
        raise TrecxError("Evaluating needs the host program.", "Compile with --target host as well.")
    labels = test.y.astype(np.int32)
    samples = quantized(test.x, pair.graph)
    with step.progress("test samples") as progress:
        answers = record(
            lambda x, limits: device.run_host(host, x, limits, progress),
            samples,
            pair.limits,
            labels,
            len(pair.graph.exits),
        )
    answers.save(out / TEST)
    known = Samples(test.description, len(test), _float_right(folders["train"], labels))
    if (model / BACKBONE).is_file():
        plain = pairs.plain(model / BACKBONE)
        answer(plain, test, (), step, "test samples, backbone").save(out / BACKBONE_TEST)
        known = replace(known, backbone_macs=plain.macs[-1])
    elif (recorded := _samples(model)) is not None:
        # The shipped pair comes without its backbone, but with the backbone's cost and its answers to certain samples.
        known = replace(known, backbone_macs=recorded.backbone_macs, caution=UNLIKE)
        if _same_samples(answers, model):
            shutil.copyfile(model / BACKBONE_TEST, out / BACKBONE_TEST)
            known = recorded
    write_json(out / SPLIT, asdict(known))


def _same_samples(answers: Trace, model: Path) -> bool:
    """Whether a pair's recorded test answers are those that were just given, so to the same samples."""
    if not (model / TEST).is_file():
        return False
    recorded = Trace.load(model / TEST)
    return all(np.array_equal(getattr(answers, k), getattr(recorded, k)) for k in ("labels", "logits", "scores"))


def _samples(folder: Path) -> Samples | None:
    found: Samples | None = documents.kept(Samples, folder / SPLIT)
    return found


def evaluation(pair: Pair, evaluated: Path) -> Evaluation | None:
    """Judge the test answers in `evaluated` at the pair's thresholds; None where there are none."""
    known = _samples(evaluated)
    if known is None or not (evaluated / TEST).is_file():
        return None
    answers = Trace.load(evaluated / TEST)
    plain = Trace.load(evaluated / BACKBONE_TEST) if (evaluated / BACKBONE_TEST).is_file() else None
    return evaluate(
        answers,
        pair.decisions,
        pair.limits,
        [e.name for e in pair.exits.exits],
        pair.macs,
        known.backbone_macs or pair.macs[-1],
        known.split,
        None if plain is None else plain.right()[:, -1],
        [e.logits.scale for e in pair.graph.exits if e.logits is not None],
    )


def write_report(settings: Settings, folders: Folders, out: Path, step: Step) -> None:
    """Write `report.json`, `report.txt` and the curve from what the steps before left."""
    document = assemble(settings, folders)
    report.write(document, out / "report.json")
    (out / "report.txt").write_text(summary.text(document), encoding="utf-8")
    curve.draw(document, out)
    if document.calibration is not None:
        growth.draw(document.promisable, document.calibration, document.title, out)
    for program in programs(folders["compile"], settings):
        if (plan := plan_of(folders["compile"], program.target)) is not None:
            memory_map.draw(plan, out, f"{settings.name} on {program.target.name}", f"memory-{program.target.name}")
    step.outcome = ", ".join(sorted(path.name for path in out.iterdir()))


def assemble(settings: Settings, folders: Folders) -> report.Report:
    """The report of a run as far as its steps have gone."""
    model = folders["model"]
    pair = pairs.read(model)
    names = [e.name for e in pair.exits.exits]
    macs = pair.macs
    known = _samples(folders["evaluate"])
    backbone = known.backbone_macs if known is not None else None
    judged = evaluation(pair, folders["evaluate"])
    calibration = calibration_of(model)
    whence = _provenance(model)
    base = report.Report(
        tool=__version__,
        task=settings.name,
        title=task(settings.task).title if settings.task else settings.name,
        method=pair.exits.method,
        criterion=", ".join(dict.fromkeys(e.criterion for e in pair.exits.exits if e.criterion)) or "none",
        model=report.ModelReport(pair.exits.model_file, pair.exits.model_sha256, len(pair.content)),
        exits=tuple(report.ExitReport(n, m) for n, m in zip(names, macs, strict=True)),
        macs=report.MacsReport(backbone, macs[-1]),
        break_even_rate=None,
        operating_point=tuple(
            report.ThresholdReport(n, t, k, d.name)
            for n, t, k, d in zip(names, pair.thresholds, pair.limits, pair.decisions, strict=False)
        ),
        operating_points=_operating_points(pair),
        calibration=calibration,
        promisable=_promisable(pair, model, calibration),
        choice=_choice(settings, folders["scout"]),
        verification=documents.kept(tuple[Verification, ...], folders["verify"] / RESULT) or (),
        second_opinion=documents.kept(SecondOpinion, folders["verify"] / OPINION),
        rewrites=tuple(report.RewriteReport(name, count) for name, count in pair.optimised.rewrites),
        targets=_targets(settings, folders, judged),
        provenance=whence,
        warnings=(
            *left_out(folders["compile"]),
            *(documents.kept(tuple[str, ...], folders["verify"] / NOT_RUN) or ()),
            *([known.caution] if known is not None and known.caution else []),
            *_chosen_among((whence or {}).get(STUDY)),
        ),
    )
    if judged is None or known is None:
        return base
    right = known.float_right
    whole = report.with_evaluation(base, judged, None if right is None else accuracy(right, known.samples, known.split))
    return whole if backbone else replace(whole, macs=replace(whole.macs, backbone=None))


def calibration_of(model: Path) -> Calibration | None:
    """How the thresholds of a pair were chosen; None where nobody says."""
    found: Calibration | None = documents.kept(Calibration, model / "calibration.json")
    return found


def _promisable(pair: Pair, model: Path, asked: Calibration | None) -> tuple[growth.Promisable, ...]:
    """How the promise grows with labelled samples, by the answers that the thresholds were chosen on; none without."""
    if asked is None or not (model / VALIDATION).is_file():
        return ()
    right = Trace.load(model / BACKBONE_VALIDATION).right()[:, -1] if asked.reference == AGAINST_BACKBONE else None
    more = Trace.load(model / UNLABELLED) if asked.unlabelled else None
    return growth.promisable(Trace.load(model / VALIDATION), pair.decisions, asked, right, more)


def _choice(settings: Settings, scouted: Path) -> Scouted | None:
    """What scouting chose, where it is what was built, with the candidates that are worth reading."""
    found: Scouted | None = documents.kept(Scouted, scouted / CHOICE)
    if found is None or (found.method, found.taps) != (settings.method, settings.taps):
        return None
    if found.heads != settings.heads and found.candidates:
        return None
    return replace(found, candidates=shortlist(found))


def _operating_points(pair: pairs.Pair) -> tuple[report.PointReport, ...]:
    """The operating points that the firmware can change between; none where there is one."""
    points = pair.exits.operating_points if len(pair.exits.operating_points) > 1 else ()
    early = [e.name for e in pair.exits.exits[:-1]]
    found = [report.PointReport(point.name, tuple(map(point.thresholds.get, early))) for point in points]
    return tuple(_predicted(one, point.predicted) for one, point in zip(found, points, strict=True))


def _predicted(one: report.PointReport, known: door.Predicted | None) -> report.PointReport:
    """The point with what was predicted of it."""
    if known is None:
        return one
    name, count = next(iter((known.instructions or {}).items()), (None, None))
    told = {key: value for key, value in asdict(known).items() if key != "instructions"}
    return replace(one, **told, instructions=count, counted_on=name)


def _targets(settings: Settings, folders: Folders, judged: Evaluation | None) -> tuple[report.TargetReport, ...]:
    """Costs per target: sizes from the build, counted instructions from the verification's traces."""
    versions = {tool.name: tool.version or tool.name for tool in toolchain.tools()}
    found = []
    for program in programs(folders["compile"], settings):
        sizes, target = program.sizes, program.target
        entry = report.TargetReport(target.name, target.title, versions.get(target.compiler, target.compiler))
        if target.emulator is not None:
            entry = replace(entry, flash=sizes.flash, model_flash=sizes.network_flash, ram=sizes.ram, arena=sizes.arena)
            if (plan := plan_of(folders["compile"], target)) is not None:
                entry = replace(entry, optimize=plan.optimize, arena_bound=plan.lower_bound)
            entry = _counted(entry, folders["verify"], judged)
        found.append(entry)
    return tuple(found)


def _counted(entry: report.TargetReport, verified: Path, judged: Evaluation | None) -> report.TargetReport:
    """The entry with the costs that were counted while verifying; their mean at the exit rates of the test samples."""
    costs: Costs | None = (documents.kept(dict[str, Costs], verified / COSTS) or {}).get(entry.name)
    if costs is None:
        return entry
    shares = judged.ended if judged is not None else None
    mean = None if shares is None else sum(s * i for s, i in zip(shares, costs.instructions, strict=True))
    return replace(
        entry,
        inputs=costs.inputs,
        samples=costs.samples,
        instructions=tuple(costs.instructions),
        instructions_mean=mean,
        instructions_backbone=costs.backbone,
        stack=costs.stack,
    )


def _provenance(model: Path) -> dict[str, Any] | None:
    found: dict[str, Any] | None = documents.kept(dict, model / "provenance.json")
    return found


def _chosen_among(study: Any) -> Iterator[str]:
    """What a reader of the promise must know where a study chose the settings."""
    if isinstance(study, dict):
        name, trial, candidates, samples = (study.get(key) for key in ("study", "trial", "candidates", "samples"))
        yield (
            f"Taps, method and criterion are those of trial {trial} of the study {name}, chosen among {candidates} "
            f"candidates on the same {samples} validation samples as the threshold: what is promised of them, and "
            "predicted, is a little optimistic."
        )


def _float_right(trained: Path, labels: np.ndarray) -> int | None:
    """How many test samples the float backbone got right while training; None where it was not trained here."""
    try:
        scores = archives.read(trained / "float_scores.npz")
        return int((scores["test_backbone"].argmax(axis=-1) == labels).sum())
    except (archives.Unreadable, KeyError, ValueError):
        return None
