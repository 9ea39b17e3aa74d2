"""Which seeds are complete, and whether they are one experiment, that may be reported together."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trecx import exits as door
from trecx.errors import TrecxError
from trecx.judge.trace import Trace
from trecx.learn import train as training
from trecx.steps.pair import BACKBONE as PLAIN
from trecx.studies.reproduce.damage import (
    CALIBRATION,
    INT8,
    TEST,
    TRACE,
    TRAIN,
    VALIDATION,
    calibration_problems,
    problems,
    read,
)
from trecx.studies.reproduce.plan import TITLES
from trecx.studies.reproduce.stage import ANOTHER, kept

# What differs between experiments, as it is told, with its value.
Terms = dict[str, str | float]
CONFIDENCE, REFERENCE = "confidence", "the reference of the thresholds"
ONE_EXPERIMENT = (
    "Seeds are reported together only where data, backbone, teacher, confidence and --against are the same. Thresholds "
    "are chosen again by naming all of these seeds, without --only; for other data or weights choose another --out."
)


@dataclass(frozen=True)
class Seed:
    """The folder of one seed of a variant."""

    variant: str
    number: int
    folder: Path


def seeds(out: Path) -> list[Seed]:
    """Every seed in `out`, finished or not, by variant and number."""
    found = [(name, path) for name in TITLES for path in (out / name).glob("seed*") if path.name[4:].isdecimal()]
    of = [Seed(name, int(path.name[4:]), path) for name, path in found]
    return sorted(of, key=lambda seed: (list(TITLES).index(seed.variant), seed.number))


def damage(found: Iterable[Seed]) -> list[str]:
    """A sentence for everything of these seeds that was finished and is not whole."""
    told = []
    for seed in found:
        wrong = {seed.folder / name: problems(seed.folder / name) for name in (TRAIN, INT8, VALIDATION, TEST)}
        wrong[seed.folder] = calibration_problems(seed.folder / CALIBRATION)
        told += [f"{folder} is damaged: {'; '.join(lines)}." for folder, lines in wrong.items() if lines]
    return told


def unfinished(folder: Path) -> str | None:
    """Why a seed without damage has nothing to report; None where it went all the way and its parts belong together."""
    stages = {name: kept(folder / name) for name in (TRAIN, INT8, VALIDATION, TEST)}
    calibration = read(folder / CALIBRATION)
    missing = [name for name, stage in stages.items() if stage is None] + [CALIBRATION] * (calibration is None)
    if missing:
        return f"not finished: no {', '.join(missing)}"
    trained, int8, validation, test = (stage["configuration"] for stage in stages.values() if stage is not None)
    answered = stages[VALIDATION]
    assert answered is not None
    files = {name: folder / TRAIN / name for name in (training.MODEL, training.BACKBONE)}
    agree = (
        int8["trained"] == {name: door.sha256(file) for name, file in files.items()},
        _models(folder) == validation["models"] == test["models"],
        calibration["from"]["validation"] == answered["sha256"],
        test["data"] == trained["data"]["test"],
        _same_samples(folder),
    )
    return None if all(agree) else "its stages do not belong together"


def _models(folder: Path) -> dict[str, str]:
    model = next(file for file in sorted((folder / INT8).glob("*.tflite")) if file.name != PLAIN)
    return {"model": door.sha256(model), "backbone": door.sha256(folder / INT8 / PLAIN)}


def _same_samples(folder: Path) -> bool:
    """Whether float scores and int8 answers are of the same samples and exits."""
    document = kept(folder / TEST)
    assert document is not None
    labels = Trace.load(folder / TEST / TRACE).labels
    with np.load(folder / TRAIN / training.SCORES, allow_pickle=False) as file:
        exits, known = {f"test_{name}" for name in document["about"]["exits"]}, file["test_labels"]
        return exits <= set(file.files) and labels is not None and np.array_equal(known, labels)


def terms(configuration: dict[str, Any]) -> Terms:
    """What a training, by its configuration in plain JSON, must have in common with those it is reported with."""
    settings, weights, data = (configuration[key] for key in ("settings", "weights", "data"))
    files: Terms = {
        what: f"{settings[key]} ({weights[key][:16]}…)" if weights[key] else "none"
        for what, key in (("the backbone at the start", "weights"), ("the teacher", "teacher"))
    }
    return {
        "task": configuration["task"],
        **{f"the SHA-256 of the {name} data": f"{sha256[:16]}…" for name, sha256 in data.items()},
        **files,
    }


def chosen(samples: str, confidence: float, against: str) -> Terms:
    """The same of its thresholds; `samples` is the SHA-256 of the part of validation that they are chosen on."""
    on: Terms = {"the SHA-256 of the data that thresholds are chosen on": f"{samples[:16]}…"}
    return {**on, CONFIDENCE: confidence, REFERENCE: against}


def agreed(folder: Path) -> Terms:
    """All of this of a seed without damage, as far as it has got."""
    trained, answered, calibration = kept(folder / TRAIN), kept(folder / VALIDATION), read(folder / CALIBRATION)
    found = {} if trained is None else terms(trained["configuration"])
    if answered is not None and calibration is not None:
        made_from = calibration["from"]
        found |= chosen(answered["configuration"]["data"], made_from["confidence"], made_from["against"])
    return found


def require_one(found: Iterable[Seed]) -> Terms:
    """The terms that all of these complete seeds share; TrecxError naming those that differ from most."""
    of = {seed.folder: agreed(seed.folder) for seed in found}
    usual = dict(Counter(tuple(one.items()) for one in of.values()).most_common(1)[0][0])
    _require_same(of, usual)
    return usual


def require_joinable(others: Sequence[Seed], wanted: Terms) -> None:
    """Raise TrecxError where seeds with the wanted terms could not be reported together with these others."""
    if wrong := damage(others):
        raise TrecxError(wrong, ANOTHER)
    _require_same({seed.folder: agreed(seed.folder) for seed in others}, wanted)


def _require_same(found: Mapping[Path, Terms], wanted: Terms) -> None:
    wrong = []
    for folder, one in found.items():
        different = [key for key in one if key in wanted and one[key] != wanted[key]]
        if different:
            told = "; ".join(f"{key} is {one[key]}, not {wanted[key]}" for key in different)
            wrong.append(f"{folder} is of another experiment: {told}.")
    if wrong:
        raise TrecxError(wrong, ONE_EXPERIMENT)
