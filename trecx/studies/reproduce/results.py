"""results.json: every seed's figures and what they say together; results.md and the pictures are made of it alone."""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from mlperf_tiny.task import Task
from trecx import documents
from trecx.errors import TrecxError
from trecx.files import held, write_text
from trecx.learn.train import BACKBONE as BACKBONE_WEIGHTS
from trecx.run import Run
from trecx.stamp import Stamp
from trecx.studies.reproduce import figures, first_version, instructions, markdown, together
from trecx.studies.reproduce.plan import (
    BACKBONE,
    OBSERVED,
    POINTS,
    TITLES,
    WITH,
    WITHOUT,
    Options,
    as_written,
    variants,
)
from trecx.studies.reproduce.together import ANOTHER
from trecx.studies.statistics import Summary, summary, verdict

FORMAT, FILE = "trecx-results/1", "results.json"
PUBLISHED = Path(__file__).with_name("published.json")
OTHER_SETTINGS = "trained with another configuration"
Entry = dict[str, Any]


def collect(task: Task, out: Path, name: str) -> Entry:
    """A task's entry of results.json, from the complete seeds in `out`; `name` is what a person calls the task.

    Raises TrecxError where there is none, where something is damaged, and where the seeds are not one experiment.
    """
    seeds = together.seeds(out)
    if any(first_version.left(seed.folder, "train") for seed in seeds):
        problem = f"{out} holds trainings of trecx 0.1, and what this version makes of them is not there yet."
        raise TrecxError(problem, "Leave out --report-only: they are gone on with, not trained again.")
    beside = [out / BACKBONE, *(out / variant / instructions.FOLDER for variant in TITLES)]
    if wrong := together.damage([*beside, *together.folders(seeds)]):
        raise TrecxError(wrong, "Without --report-only it is made again; a training only after you have deleted it.")
    reasons = {seed: together.unfinished(seed.run) for seed in seeds}
    complete = [seed for seed in seeds if reasons[seed] is None]
    if not complete:
        raise TrecxError(f"{out} holds no complete seed.", "Leave out --report-only to train them.")
    terms = together.require_one(complete)
    if terms["task"] != task.name:
        raise TrecxError(f"{out} holds trainings of {terms['task']}, not of {task.name}.", "Choose another --out.")
    groups = {v: of for v in TITLES if (of := {s.number: s.run for s in complete if s.variant == v})}
    found = {variant: _variant(out / variant, variant, of) for variant, of in groups.items()}
    _require_one_recipe(found)
    reasons |= {s: OTHER_SETTINGS for s in complete if s.number in found[s.variant]["left_out"]}
    trained = _trained_backbone(Run(out), _trained(complete[0].run))
    return {
        "title": task.title,
        "commands": commands(task, name, found, terms, trained is not None),
        **_trained(complete[0].run).about,
        "backbone": trained,
        "variants": found,
        "left_out": [{"variant": s.variant, "seed": s.number, "reason": why} for s, why in reasons.items() if why],
        "paired": paired(found, published(task.name)),
        "published": published(task.name),
    }


def _trained(run: Run) -> Stamp:
    """The stamp of a complete seed's training."""
    found = run.stamp("train")
    assert found is not None
    return found


def _variant(folder: Path, name: str, of: dict[int, Run]) -> Entry:
    """One variant of complete seeds, by number: its configuration, the seeds of it, and their summary."""
    trained = {n: _trained(seed) for n, seed in of.items()}
    groups: list[list[int]] = []
    for number, stamp in trained.items():
        group = next((g for g in groups if _alike(_common(trained[g[0]]), _common(stamp))), None)
        groups.append([number]) if group is None else group.append(number)
    chosen = max(groups, key=len)
    seeds = [figures.of(of[n], n) for n in chosen]
    counted = Run(folder).stamp(instructions.FOLDER)
    current = counted is not None and counted.configuration["models"]["model"] in [
        seed["sha256"]["model"] for seed in seeds
    ]
    told = folder / instructions.FOLDER / instructions.COUNTED
    again = f"Delete the folder {told.parent} and reproduce again."
    return {
        "title": TITLES[name],
        "configuration": _common(trained[chosen[0]]),
        "left_out": [n for n in trained if n not in chosen],
        "seeds": seeds,
        "instructions": documents.required(told, again) if current else None,
        "summary": summarise(seeds),
    }


def _require_one_recipe(variants: dict[str, Entry]) -> None:
    """Raise TrecxError where the two variants that are compared in pairs differ in more than the early view."""
    if WITH not in variants or WITHOUT not in variants:
        return
    one, other = (variants[name]["configuration"]["settings"] for name in (WITH, WITHOUT))
    different = [key for key in one if key in other and one[key] != other[key]]
    told = "; ".join(f"{key} is {one[key]} {TITLES[WITH]}, {other[key]} {TITLES[WITHOUT]}" for key in different)
    if told:
        raise TrecxError(f"Both variants of the pair need the same settings: {told}.", ANOTHER)


def _trained_backbone(out: Run, seed: Stamp) -> Entry | None:
    """The configuration of the backbone in `out`, where it is what a seed started from; None where it was given."""
    found = out.stamp(BACKBONE)
    own = found is not None and found.outputs.get(BACKBONE_WEIGHTS) == seed.configuration["weights"]["weights"]
    return found.configuration if found is not None and own else None


def commands(task: Task, name: str, found: dict[str, Entry], terms: together.Terms, from_scratch: bool) -> list[str]:
    """What gives these figures again: one command, or one per variant where they are not all there with equal seeds."""
    settings = next(iter(found.values()))["configuration"]["settings"]
    given = {"weights": None if from_scratch else settings["weights"], "teacher": settings["teacher"]}
    chosen = {"against": terms[together.REFERENCE], "confidence": terms[together.CONFIDENCE]}
    given |= {key: value for key, value in chosen.items() if value != getattr(Options, key)}
    options = "".join(f" --{key} {shlex.quote(str(value))}" for key, value in given.items() if value is not None)
    command = f"trecx reproduce {shlex.quote(Path(name).name)} --data DIR{options}"
    seeds = {name: as_written([seed["seed"] for seed in variant["seeds"]]) for name, variant in found.items()}
    if set(seeds) == {variant.name for variant in variants(task)} and len(set(seeds.values())) == 1:
        return [f"{command} --seeds {next(iter(seeds.values()))}"]
    return [f"{command} --only {name} --seeds {numbers}" for name, numbers in seeds.items()]


def _common(trained: Stamp) -> Entry:
    """The configuration of a training without its seed."""
    settings = {key: value for key, value in trained.configuration["settings"].items() if key != "seed"}
    return {**trained.configuration, "settings": settings}


def _alike(one: Any, other: Any) -> bool:
    """Whether two kept configurations are the same in all that both say."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_alike(one[key], other[key]) for key in set(one) & set(other))
    return bool(one == other)


def summarise(seeds: Sequence[Entry]) -> Entry:
    """Means, deviations and intervals over seeds."""
    names = list(seeds[0]["int8"])

    def over(pick: Callable[[Entry], float]) -> Summary:
        return summary([pick(seed) for seed in seeds])

    accuracies = {
        kind: {name: over(lambda s, k=kind, n=name: s[k][n]) for name in names}  # type: ignore[misc]
        for kind in ("float", "int8", "int8_validation")
    }
    rows = [(one["points"], one["confidence"]) for one in seeds[0]["calibrated"]]
    return {
        **accuracies,
        "calibrated": [calibrated(seeds, points, confidence) for points, confidence in rows],
        "chosen_on_test": {kind: [_on_test(seeds, kind, points) for points in POINTS] for kind in ("int8", "float")},
    }


def calibrated(seeds: Sequence[Entry], points: float, confidence: float) -> Entry:
    """What a calibration rule did over the seeds: target, bound, realised loss, and how many stayed within."""
    found = [
        one
        for seed in seeds
        for one in seed["calibrated"]
        if (one["points"], one["confidence"]) == (points, confidence)
    ]
    keys = ("bound", "validation_loss", "loss", "exit_rate", "macs", "saving", "accuracy")
    return {
        "points": points,
        "confidence": confidence,
        **{key: summary([one[key] for one in found]) for key in keys},
        "within": sum(one["loss"] <= points + 1e-9 for one in found),
        "never": sum(one["threshold"] is None for one in found),
        "seeds": len(found),
    }


def _on_test(seeds: Sequence[Entry], kind: str, points: float) -> Entry:
    """The paper's rule over the seeds that reach the target at all."""
    at = POINTS.index(points)
    found = [one for seed in seeds if (one := seed["chosen_on_test"][kind][at]) is not None]
    keys = ("exit_rate", "macs", "saving")
    summaries = {key: summary([one[key] for one in found]) for key in keys}
    return {"points": points, "reached": len(found), "seeds": len(seeds), **summaries}


def paired(variants: dict[str, Entry], claims: Entry | None) -> list[Entry]:
    """With minus without early view, seed by seed: exits' accuracy and savings at one point, in points of per cent."""
    if WITH not in variants or WITHOUT not in variants:
        return []
    with_, without = ({s["seed"]: s for s in variants[name]["seeds"]} for name in (WITH, WITHOUT))
    common = sorted(set(with_) & set(without))
    if not common:
        return []
    confidence = next(c["confidence"] for c in with_[common[0]]["calibrated"])
    claim = None if claims is None else claims["paper"]["gain"]
    what: list[tuple[str, Callable[[Entry], float | None], float | None]] = [
        ("accuracy of the final exit, float", lambda s: s["float"]["final"], claim),
        ("accuracy of the final exit, int8", lambda s: s["int8"]["final"], claim),
        ("accuracy of the early exit, int8", lambda s: s["int8"]["early"], None),
        (f"MACs saved at one point, calibrated at {100 * confidence:g} % confidence", _saved(confidence), None),
        ("MACs saved at one point, calibrated as observed", _saved(OBSERVED), None),
        ("MACs saved at one point, threshold chosen on test", _saved_on_test, None),
    ]
    found = []
    for title, pick, claimed in what:
        pairs = [(pick(with_[n]), pick(without[n])) for n in common]
        differences = [100 * (a - b) for a, b in pairs if a is not None and b is not None]
        of = summary(differences)
        found.append({"what": title, "claimed": claimed, "values": differences, **of, "verdict": verdict(of)})
    return found


def _saved(confidence: float) -> Callable[[Entry], float | None]:
    def pick(seed: Entry) -> float | None:
        rows = (c for c in seed["calibrated"] if c["points"] == 1 and c["confidence"] == confidence)
        return next((float(c["saving"]) for c in rows), None)

    return pick


def _saved_on_test(seed: Entry) -> float | None:
    found = seed["chosen_on_test"]["int8"][POINTS.index(1.0)]
    return None if found is None else float(found["saving"])


@cache
def _published() -> Entry:
    document: Entry = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return document


def published(name: str) -> Entry | None:
    """The paper's and the authors' figures of a task, in per cent, with their sources; None where there are none."""
    found = _published()["tasks"].get(name)
    return None if found is None else {**found, "sources": _published()["sources"]}


@contextmanager
def updating(docs: Path, name: str) -> Iterator[dict[str, Any]]:
    """The results of all tasks, by name, of which one is to be changed; written at the end, one process at a time.

    Raises TrecxError before that where what is there of another task is not what a document can be made of.
    """
    try:
        docs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrecxError(
            f"{docs} cannot be written: {error.strerror}.", "Choose another folder with --docs."
        ) from error
    with held(docs):
        tasks = read(docs)
        _require_printable({task: entry for task, entry in tasks.items() if task != name}, docs)
        yield tasks
        write(docs, tasks)


def read(docs: Path) -> dict[str, Any]:
    """The entries of results.json by task, none where there is no such file; TrecxError where it is another file."""
    path = docs / FILE
    if not path.exists():
        return {}
    document = documents.required(path, "Move it away, and every task is reported anew.")
    shaped = isinstance(document, dict) and document.get("format") == FORMAT
    if not shaped or not isinstance(document.get("tasks"), dict):
        raise TrecxError(f"{path} is not of format {FORMAT}.", "Move it away, and every task is reported anew.")
    return dict(document["tasks"])


_UNPRINTABLE = (ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError, TemplateError)


def _require_printable(tasks: dict[str, Any], docs: Path) -> None:
    wrong = []
    for name, entry in tasks.items():
        try:
            markdown.text({name: entry}, docs)
        except _UNPRINTABLE as error:
            wrong.append(f"{docs / FILE}: what it says of {name} cannot be used ({type(error).__name__}: {error}).")
    if wrong:
        raise TrecxError(wrong, "Move it away, and every task is reported anew.")


def write(docs: Path, tasks: dict[str, Any]) -> None:
    """Write results.json, lists of numbers on one line, and results.md from it."""
    path = docs / FILE
    document = json.dumps({"format": FORMAT, "tasks": tasks}, indent=2) + "\n"
    text = re.sub(r"\[\s+((?:[-+.\deE]+|null)(?:,\s+(?:[-+.\deE]+|null))*)\s+\]", _one_line, document)
    write_text(path, text)
    write_text(docs / markdown.FILE, markdown.text(tasks, docs))


def _one_line(found: "re.Match[str]") -> str:
    return "[" + ", ".join(part.strip() for part in found[1].split(",")) + "]"
