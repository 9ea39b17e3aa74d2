"""What is compared: candidates, seeds, and what a person chose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlperf_tiny.task import Task
from trecx.errors import TrecxError
from trecx.learn.exits import METHODS
from trecx.learn.exits.method import macs_to, placed
from trecx.learn.exits.trecx import TRecX
from trecx.learn.keras import keras
from trecx.settings import Settings
from trecx.steps.answers import PROVEN

BACKBONE, TRECX = "none", TRecX.name
# Networks without exits that a narrower backbone makes, as shares of its width: what a person would build instead.
WIDTHS = (0.75, 0.5)
# One point of accuracy behind the best on validation samples: who is further behind is trained with one seed.
BEHIND = 0.01


@dataclass(frozen=True)
class Candidate:
    """One way to answer: its name (a folder), its title, and its settings beside those that all have.

    `control` is a network without exits, which shows what exits are worth.
    """

    name: str
    title: str
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    control: bool = False


@dataclass(frozen=True)
class Options:
    """What a person chose for a comparison.

    `weights`: the trained backbone that every candidate starts from. `only`: names of candidates that are trained.
    `seeds`: how many each candidate near the best gets. `epochs` replaces those of every recipe. `against`,
    `confidence` and `cost` are as in a build. `report_only` trains nothing.
    """

    data: Path | None = None
    weights: Path | None = None
    only: tuple[str, ...] = ()
    seeds: int = 3
    epochs: int | None = None
    against: str = "backbone"
    confidence: float = 0.9
    out: Path | None = None
    docs: Path = Path("docs")
    report_only: bool = False


def candidates(task: Task) -> tuple[Candidate, ...]:
    """Every candidate of a task: its backbone alone, each exit that it names, the other methods, narrower backbones."""
    return (
        Candidate(BACKBONE, "backbone alone", {"method": BACKBONE}, control=True),
        *_of_trecx(task),
        *_of_methods(),
        *(_narrow(width) for width in WIDTHS),
    )


def _of_trecx(task: Task) -> list[Candidate]:
    """T-RecX with the exits that the task names, or at half of the computation."""
    if not task.attachments:
        return [Candidate(TRECX, TRECX, {"method": TRECX, "taps": placed(macs_to(task.backbone(keras())), 1)})]
    return [
        Candidate(f"{TRECX}-{one.name}", f"{TRECX}, exit {one.name}", {"method": TRECX, "exit": one.name})
        for one in task.attachments
    ]


def _of_methods() -> list[Candidate]:
    """The other methods as they are, and with the backbone as it is where a method leaves the choice."""
    found = []
    for method in METHODS:
        if method.name in (BACKBONE, TRECX):
            continue
        found.append(Candidate(method.name, method.name, {"method": method.name}))
        if "heads_only" in method.options:
            own = {"method": method.name, "heads_only": True}
            found.append(Candidate(f"{method.name}-heads", f"{method.name}, heads only", own))
    return found


def _narrow(width: float) -> Candidate:
    share = f"{100 * width:g}"
    return Candidate(f"static-{share}", f"backbone of {share} % width", {"method": BACKBONE, "width": width}, True)


def chosen(task: Task, options: Options) -> tuple[Candidate, ...]:
    """The candidates that are trained, always the backbone that all are compared with.

    TrecxError for names that are none, and for numbers that cannot be.
    """
    known = candidates(task)
    names = [one.name for one in known]
    wrong = [
        f"There is no candidate {name!r}; there are {', '.join(names)}." for name in options.only if name not in names
    ]
    if not 1 <= options.seeds <= 20:
        wrong.append(f"{options.seeds} seeds; give 1 to 20.")
    if options.weights is not None and not options.weights.exists():
        wrong.append(f"There are no weights at {options.weights}.")
    if wrong:
        raise TrecxError(wrong, "See trecx compare --help.")
    return tuple(one for one in known if not options.only or one.name in (BACKBONE, *options.only))


def settings(base: Settings, candidate: Candidate, options: Options, seed: int) -> Settings:
    """The settings of a candidate's run. A narrower backbone has no weights to start from, but a teacher."""
    narrow = candidate.settings.get("width", 1) < 1
    start = {"teacher" if narrow else "weights": options.weights}
    how = {"epochs": options.epochs, "against": options.against, "confidence": options.confidence}
    return base.changed({**start, **how, "seed": seed, "samples": PROVEN, **candidate.settings})
