"""Which seeds are complete, and whether they are one experiment, that may be reported together."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trecx import pipeline, stamp
from trecx.errors import TrecxError
from trecx.run import Run
from trecx.studies.reproduce.plan import TITLES

ANOTHER = "Choose another folder with --out, or delete what shall be trained again."
# What differs between experiments, as it is told, with its value.
Terms = dict[str, str | float]
CONFIDENCE, REFERENCE = "confidence", "the reference of the thresholds"
ONE_EXPERIMENT = (
    "Seeds are reported together only where data, backbone, teacher, confidence and --against are the same. Thresholds "
    "are chosen again by naming all of these seeds, without --only; for other data or weights choose another --out."
)
THRESHOLDS = "thresholds"
# The folders that a finished seed has.
STEPS = ("train", "quantize", "calibrate", THRESHOLDS, "compile", "verify", "evaluate")


@dataclass(frozen=True)
class Seed:
    """The run of one seed of a variant."""

    variant: str
    number: int
    folder: Path

    @property
    def run(self) -> Run:
        """Its run directory."""
        return Run(self.folder)


def seeds(out: Path) -> list[Seed]:
    """Every seed in `out`, finished or not, by variant and number."""
    found = [(name, path) for name in TITLES for path in (out / name).glob("seed*") if path.name[4:].isdecimal()]
    of = [Seed(name, int(path.name[4:]), path) for name, path in found]
    return sorted(of, key=lambda seed: (list(TITLES).index(seed.variant), seed.number))


def damage(folders: Iterable[Path]) -> list[str]:
    """A sentence for every folder of a step that was finished and is not whole."""
    found = {folder: stamp.damage(folder) for folder in folders}
    return [f"{folder} is damaged: {'; '.join(lines)}." for folder, lines in found.items() if lines]


def folders(found: Iterable[Seed]) -> list[Path]:
    """The folders of all steps of these seeds."""
    return [seed.run.folder(pipeline.folder(name)) for seed in found for name in STEPS]


def unfinished(run: Run) -> str | None:
    """Why a seed without damage has nothing to report; None where it went all the way and its parts belong together."""
    stamps = {name: run.stamp(pipeline.folder(name)) for name in STEPS}
    missing = [name for name, one in stamps.items() if one is None]
    if missing:
        return f"not finished: no {', '.join(missing)}"
    read = [(step, sha256) for one in stamps.values() if one is not None for step, sha256 in one.reads.items()]
    agree = all(stamp.content(run.folder(pipeline.folder(step))) == sha256 for step, sha256 in read)
    return None if agree else "its steps do not belong together"


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


def agreed(run: Run) -> Terms:
    """All of this of a seed without damage, as far as it has got."""
    trained, thresholds = run.stamp("train"), run.stamp(THRESHOLDS)
    found = {} if trained is None else terms(trained.configuration)
    if thresholds is not None:
        asked = thresholds.configuration
        found |= chosen(asked["data"], asked["confidence"], asked["against"])
    return found


def require_one(found: Iterable[Seed]) -> Terms:
    """The terms that all of these complete seeds share; TrecxError naming those that differ from most."""
    of = {seed.folder: agreed(seed.run) for seed in found}
    usual = dict(Counter(tuple(one.items()) for one in of.values()).most_common(1)[0][0])
    _require_same(of, usual)
    return usual


def require_joinable(others: Sequence[Seed], wanted: Terms) -> None:
    """Raise TrecxError where seeds with the wanted terms could not be reported together with these others."""
    if wrong := damage(folders(others)):
        raise TrecxError(wrong, ANOTHER)
    _require_same({seed.folder: agreed(seed.run) for seed in others}, wanted)


def _require_same(found: Mapping[Path, Terms], wanted: Terms) -> None:
    wrong = []
    for folder, one in found.items():
        different = [key for key in one if key in wanted and one[key] != wanted[key]]
        if different:
            told = "; ".join(f"{key} is {one[key]}, not {wanted[key]}" for key in different)
            wrong.append(f"{folder} is of another experiment: {told}.")
    if wrong:
        raise TrecxError(wrong, ONE_EXPERIMENT)
