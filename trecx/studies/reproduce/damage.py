"""What the stages of a reproduction must have left, and what is wrong with what they did leave.

Their folders are kept for months, copied and cut off: none is believed before it was looked at.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trecx import archives
from trecx import exits as door
from trecx.errors import TrecxError
from trecx.judge.trace import Trace
from trecx.learn.train import BACKBONE as BACKBONE_WEIGHTS
from trecx.learn.train import MODEL, SCORES
from trecx.steps.pair import BACKBONE as PLAIN
from trecx.studies.reproduce.plan import BACKBONE, OBSERVED, POINTS

TRAIN, INT8, VALIDATION, TEST, INSTRUCTIONS = "train", "int8", "validation", "test", "instructions"
CONFIG, CALIBRATION, TRACE, BACKBONE_TRACE = "config.json", "calibration.json", "trace.npz", "backbone.npz"

# A shape is a type, a list of one shape, or the keys that an object must have with the shape of each.
Shape = Any
Document = dict[str, Any]
_NUMBER = int | float
_STAGE: Shape = {"sha256": str, "configuration": dict, "about": dict}
_TRAINED: Shape = {
    "splits": {s: {"description": str, "samples": int} for s in ("train", "validation", "calibration", "test")},
    "sources": dict,
    "calibration": list,
    "versions": {"tflite-micro": str},
}
_ANSWERED: Shape = {"exits": [str], "macs": [int], "backbone_macs": int, "scales": [_NUMBER], "proven": int}
_COUNTED: Shape = {"target": str, "samples": int, "seed": int, "exits": [_NUMBER], "backbone": _NUMBER}
_CHOSEN: Shape = {
    **dict.fromkeys(("points", "confidence", "bound", "loss", "exit_rate"), _NUMBER),
    **{"reference": str, "threshold": _NUMBER | None, "limit": int, "samples": int},
}
_CALIBRATED: Shape = {
    "from": {"validation": str, "confidence": _NUMBER, "points": [_NUMBER], "against": str},
    "before_test": bool,
    "chosen": [_CHOSEN],
}


def problems(folder: Path) -> list[str]:
    """What is wrong with a stage that was finished, as fragments; none where it is fine or was not finished yet."""
    left = STAGES[folder.name]
    if not (folder / CONFIG).exists():
        # A training removes its checkpoints when all of it is done: then only this file can have been lost.
        done = left.last and (folder / left.last).exists() and not any(folder.glob("checkpoint-*"))
        return [f"{CONFIG} is missing"] if done else []
    document = read(folder / CONFIG)
    if wrong := misshapen(document, _STAGE, CONFIG) or misshapen(document["about"], left.about, f"{CONFIG}: about"):
        return wrong
    if digest(document["configuration"]) != document["sha256"]:
        return [f"{CONFIG}: sha256 is not that of its configuration"]
    lost = [f"{name} is missing" for name in left.files if not (folder / name).is_file()]
    return lost or left.more(folder, document["about"])


def calibration_problems(path: Path) -> list[str]:
    """What is wrong with the chosen thresholds of a seed, as fragments; none where they are fine or not there yet."""
    if not path.exists():
        return []
    document = read(path)
    if wrong := misshapen(document, _CALIBRATED, path.name):
        return wrong
    rows = [(one["points"], one["confidence"]) for one in document["chosen"]]
    wanted = [(p, c) for c in dict.fromkeys((document["from"]["confidence"], OBSERVED)) for p in POINTS]
    return [] if rows == wanted else [f"{path.name}: chosen has not one threshold for each target"]


def read(path: Path) -> Any:
    """A JSON file's content; None where it is not one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def digest(configuration: Document) -> str:
    """SHA-256 of a configuration in plain JSON."""
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()


def misshapen(value: Any, shape: Shape, where: str) -> list[str]:
    """Where a JSON value does not have a shape, as fragments; `where` names it."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{where} is not an object"]
        lost = [f"{where}: {key} is missing" for key in shape if key not in value]
        inner = (misshapen(value[key], one, f"{where}: {key}") for key, one in shape.items() if key in value)
        return [*lost, *(line for lines in inner for line in lines)]
    if isinstance(shape, list):
        if not isinstance(value, list) or not value:
            return [f"{where} is not a list with something in it"]
        return [line for one in value for line in misshapen(one, shape[0], where)]
    return [] if isinstance(value, shape) else [f"{where} is {json.dumps(value)[:40]}"]


def _scores(folder: Path, _: Document) -> list[str]:
    """Float scores on test samples are read; the two models are Keras' archives."""
    found = [f"{name} is cut off" for name in (MODEL, BACKBONE_WEIGHTS) if not zipfile.is_zipfile(folder / name)]
    try:
        file = archives.read(folder / SCORES)
        labels, scores = file["test_labels"], [file["test_backbone"], file["test_final"]]
        fits = labels.ndim == 1 and all(one.ndim == 2 and len(one) == len(labels) for one in scores)
    except (archives.Unreadable, KeyError):
        fits = False
    return found if fits else [*found, f"{SCORES} has no scores of the test samples"]


def _models(folder: Path, about: Document) -> list[str]:
    """The int8 files are those that were written, as far as that was noted."""
    noted = about.get("models", {})
    if not isinstance(noted, dict) or not any(file.name != PLAIN for file in folder.glob("*.tflite")):
        return ["the int8 model is missing"]
    changed = (name for name, sha256 in sorted(noted.items()) if not _is(folder / name, sha256))
    return [f"{name} is not the file that was written" for name in changed]


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and door.sha256(path) == sha256


def _traces(folder: Path, about: Document) -> list[str]:
    """Both traces can be read, are of equal samples, and of the exits that the configuration names."""
    try:
        trace, plain = (Trace.load(folder / name) for name in (TRACE, BACKBONE_TRACE))
    except TrecxError as error:
        return [problem.removeprefix(f"{folder}/").rstrip(".") for problem in error.problems]
    exits = {len(about["exits"]), len(about["macs"]), len(about["scales"]) + 1, trace.exits}
    if len(exits) != 1 or plain.exits != 1 or about["backbone_macs"] <= 0:
        return [f"{CONFIG}: about is not of the exits in {TRACE}"]
    if trace.labels is None or plain.labels is None or not len(trace) or not np.array_equal(trace.labels, plain.labels):
        return [f"{TRACE} and {BACKBONE_TRACE} are not of the same labelled samples"]
    return []


def _nothing(_: Path, __: Document) -> list[str]:
    return []


@dataclass(frozen=True)
class Left:
    """What a finished stage leaves: the shape of what it is `about`, files, and `more` that is looked into.

    `last` is what a training writes when it has trained; empty for stages that are made again in minutes.
    """

    about: Shape
    files: tuple[str, ...] = ()
    more: Callable[[Path, Document], list[str]] = _nothing
    last: str = ""


STAGES = {
    BACKBONE: Left(_TRAINED, (BACKBONE_WEIGHTS,), last=BACKBONE_WEIGHTS),
    TRAIN: Left(_TRAINED, (MODEL, BACKBONE_WEIGHTS, SCORES), _scores, last=MODEL),
    INT8: Left({}, (PLAIN,), _models),
    VALIDATION: Left(_ANSWERED, (), _traces),
    TEST: Left(_ANSWERED, (), _traces),
    INSTRUCTIONS: Left(_COUNTED),
}
