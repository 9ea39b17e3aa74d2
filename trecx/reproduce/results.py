"""results.json: every seed's figures and what they say together; results.md and the pictures are made of it alone."""

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from mlperf_tiny.task import Task
from trecx.errors import TrecxError
from trecx.reproduce import figures, instructions, markdown
from trecx.reproduce.plan import BACKBONE, OBSERVED, POINTS, TITLES, WITH, WITHOUT
from trecx.reproduce.seed import TRAIN
from trecx.reproduce.stage import alike, kept
from trecx.reproduce.statistics import Summary, summary, verdict
from trecx.run import write_json

FORMAT, FILE = "trecx-results/1", "results.json"
PUBLISHED = Path(__file__).with_name("published.json")
Entry = dict[str, Any]


def collect(task: Task, out: Path) -> Entry:
    """A task's entry of results.json, from the complete seeds in `out`; TrecxError where there is none."""
    found = {name: variant for name in TITLES if (variant := _variant(out / name, name)) is not None}
    if not found:
        raise TrecxError(f"{out} holds no complete seed.", "Leave out --report-only to train them.")
    about = next(iter(found.values()))["about"]
    trained = kept(out / BACKBONE)
    for variant in found.values():
        del variant["about"]
    return {
        "title": task.title,
        **about,
        "backbone": None if trained is None else trained["configuration"],
        "variants": found,
        "paired": paired(found, published(task.name)),
        "published": published(task.name),
    }


def _variant(folder: Path, name: str) -> Entry | None:
    """One variant: its configuration, seeds, and summary; None without a complete seed."""
    numbers = sorted(int(path.name.removeprefix("seed")) for path in folder.glob("seed*") if path.name[4:].isdecimal())
    trained = {n: kept(folder / f"seed{n}" / TRAIN) for n in numbers if figures.complete(folder / f"seed{n}")}
    groups: list[list[int]] = []
    for number, document in trained.items():
        group = next((g for g in groups if alike(_common(trained[g[0]]), _common(document))), None)
        groups.append([number]) if group is None else group.append(number)
    if not groups:
        return None
    chosen = max(groups, key=len)
    document = trained[chosen[0]]
    assert document is not None
    seeds = [figures.of(folder / f"seed{n}", n) for n in chosen]
    counted = kept(folder / instructions.FOLDER)
    return {
        "title": TITLES[name],
        "configuration": _common(document),
        "left_out": [n for n in trained if n not in chosen],
        "seeds": seeds,
        "instructions": None if counted is None else counted["about"],
        "summary": summarise(seeds),
        "about": document["about"],
    }


def _common(document: Entry | None) -> Entry:
    """The configuration of a training without its seed."""
    assert document is not None
    configuration: Entry = document["configuration"]
    settings = {key: value for key, value in configuration["settings"].items() if key != "seed"}
    return {**configuration, "settings": settings}


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
def updating(docs: Path) -> Iterator[dict[str, Any]]:
    """The results of all tasks, by name, to be changed; written back at the end, one process at a time."""
    try:
        docs.mkdir(parents=True, exist_ok=True)
        handle = os.open(docs, os.O_RDONLY)
    except OSError as error:
        raise TrecxError(
            f"{docs} cannot be written: {error.strerror}.", "Choose another folder with --docs."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        tasks = read(docs)
        yield tasks
        write(docs, tasks)
    finally:
        os.close(handle)


def read(docs: Path) -> dict[str, Any]:
    """The entries of results.json by task, none where there is no such file; TrecxError where it is another file."""
    path = docs / FILE
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TrecxError(
            f"{path} cannot be read: {error}.", "Move it away, and every task is reported anew."
        ) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT or not isinstance(document["tasks"], dict):
        raise TrecxError(f"{path} is not of format {FORMAT}.", "Move it away, and every task is reported anew.")
    return dict(document["tasks"])


def write(docs: Path, tasks: dict[str, Any]) -> None:
    """Write results.json, lists of numbers on one line, and results.md from it."""
    path = docs / FILE
    write_json(path, {"format": FORMAT, "tasks": tasks})
    text = re.sub(r"\[\s+((?:[-+.\deE]+|null)(?:,\s+(?:[-+.\deE]+|null))*)\s+\]", _one_line, path.read_text())
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    (docs / markdown.FILE).write_text(markdown.text(tasks, docs), encoding="utf-8")


def _one_line(found: "re.Match[str]") -> str:
    return "[" + ", ".join(part.strip() for part in found[1].split(",")) + "]"
