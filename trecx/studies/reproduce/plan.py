"""What a reproduction runs: variants of the exits and seeds, and what a person chose."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlperf_tiny.attachment import Attachment
from mlperf_tiny.task import Task
from trecx.errors import TrecxError
from trecx.learn.exits.trecx import attachment

# The attachment that repeats the paper's, and that of the best found, where a task names one.
PAPER, BEST = "paper", "best"
WITH, WITHOUT, FOUND = "with-early-view", "without-early-view", "trecx"
TITLES = {WITH: "with early view", WITHOUT: "without early view", FOUND: "trecx"}
# The folder of the backbone that all seeds start from, where none is given.
BACKBONE = "backbone"
# Points of accuracy that calibration may lose, and the confidence that takes the observed loss as it is.
POINTS = (0.0, 1.0, 2.0, 3.0)
OBSERVED = 0.5
BACKBONE_ALONE, OWN_FINAL = "backbone", "final"
MOST_SEEDS = 100


@dataclass(frozen=True)
class Options:
    """What a person chose for a reproduction.

    `data` None looks for the official data in the usual places. `weights` are a trained backbone that every seed starts
    from; without, one is trained first. `teacher`: a trained plain backbone whose scores guide trainings. `seeds` and
    `only` (the name of a variant) select what is trained, not what is reported. `out` None is `build/reproduce/TASK`.
    `docs` gets results.json, results.md and pictures. `report_only` trains nothing and needs no data. `confidence` is
    one-sided, of the bound that must stay within the target. `against`: what the loss is measured against while
    thresholds are chosen, "backbone", or "final" for the model's own final exit: where the given weights have seen the
    validation samples, the backbone's accuracy on them is no measure. Judged is always against the backbone.
    """

    data: Path | None = None
    weights: Path | None = None
    teacher: Path | None = None
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    out: Path | None = None
    docs: Path = Path("docs")
    only: str | None = None
    report_only: bool = False
    confidence: float = 0.9
    against: str = BACKBONE_ALONE


@dataclass(frozen=True)
class Variant:
    """One way to attach exits: an `exit` that the task names, None its first, with or without early view.

    `name` is its folder and its key in results.json.
    """

    name: str
    title: str
    attachment: Attachment
    exit: str | None = None
    early_view: bool = True


def variants(task: Task) -> tuple[Variant, ...]:
    """The paper's exit with and without early view, and the best found, where the task names it.

    A task that names no exit as the paper's is reproduced with its first; one without early view is one variant.
    """
    named = {one.name: one for one in task.attachments}
    exit_ = PAPER if PAPER in named else None
    base = attachment(task, exit_)
    found = [] if base.view is None else [Variant(WITH, TITLES[WITH], base, exit_)]
    found.append(Variant(WITHOUT, TITLES[WITHOUT], replace(base, view=None), exit_, early_view=False))
    if BEST in named and named[BEST] is not base:
        found.append(Variant(FOUND, TITLES[FOUND], attachment(task, BEST), BEST))
    return tuple(found)


def order(task: Task, options: Options) -> tuple[tuple[Variant, int], ...]:
    """What is trained, seed by seed, so that seeds are complete early; TrecxError for what cannot be."""
    known = variants(task)
    chosen = [variant for variant in known if options.only in (None, variant.name)]
    problems = []
    if not chosen:
        problems.append(f"{task.name} has no variant {options.only!r}; it has {', '.join(v.name for v in known)}.")
    if not options.seeds or len(set(options.seeds)) != len(options.seeds) or len(options.seeds) > MOST_SEEDS:
        problems.append(f"Seeds must be 1 to {MOST_SEEDS} different numbers.")
    problems += [f"The seed {seed} is not in 0 ... 4294967295." for seed in options.seeds if not 0 <= seed < 2**32]
    if not OBSERVED <= options.confidence < 1:
        problems.append(f"Confidence {options.confidence} is outside [0.5, 1).")
    if options.against not in (BACKBONE_ALONE, OWN_FINAL):
        problems.append(f"Thresholds are chosen against backbone or final, not {options.against!r}.")
    for path in (options.weights, options.teacher):
        if path is not None and not path.exists():
            problems.append(f"There are no weights at {path}.")
    if problems:
        raise TrecxError(problems)
    return tuple((variant, seed) for seed in options.seeds for variant in chosen)


def seeds(text: str) -> tuple[int, ...]:
    """Seeds as a person writes them: "5" is the first five; "1,3" and "4-6" name them."""
    try:
        if text.strip().isdecimal():
            return tuple(range(1, min(int(text), MOST_SEEDS) + 1))
        found: list[int] = []
        for part in text.split(","):
            first, dash, last = part.partition("-")
            found += range(int(first), min(int(last if dash else first), int(first) + MOST_SEEDS) + 1)
        return tuple(found)
    except ValueError as error:
        raise TrecxError(f"{text!r} are no seeds.", 'Give how many ("5"), or which ("1,3" or "4-6").') from error


def as_written(numbers: Sequence[int]) -> str:
    """Rising seeds in a person's words: what `seeds` reads as these."""
    if tuple(numbers) == tuple(range(1, len(numbers) + 1)):
        return str(len(numbers))
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    one = "{0}-{0}" if len(numbers) == 1 else "{0}"  # one number alone would be how many
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else one.format(part[0]) for part in parts)
