"""How a model is trained and quantized: everything that changes the result, validated in one go."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Task
from trecx.errors import TrecxError

SCHEDULES = ("steps", "cosine", "decay")
SHARES = ("release", "distillation", "mixup", "shift", "zoom")
SCHEMES = ("ptq", "qat")


@dataclass(frozen=True)
class TrainSettings(Recipe):
    """Settings of `train`: a recipe, and what it starts from. The defaults are T-RecX's recipe for keyword spotting.

    `weights`: reference weights of the backbone (SavedModel folder, .h5, .keras); None trains it from scratch first,
    for `backbone_epochs`. `teacher`: a trained plain backbone whose scores are mixed into the targets; None takes the
    backbone itself. `source_weights`: how often the samples of a source are drawn, 1 where it is not named; names that
    do not occur change nothing.
    """

    weights: Path | None = None
    teacher: Path | None = None
    seed: int = 1
    source_weights: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        """Raise TrecxError with every setting that is out of range."""
        least_one = ("batch", "backbone_epochs", "epochs")
        problems = [_range(self, name, "at least 1", lambda v: v >= 1) for name in least_one]
        if self.steps_per_epoch is not None:
            problems.append(_range(self, "steps_per_epoch", "at least 1", lambda v: v >= 1))
        problems += [_range(self, name, "0 to 1", lambda v: 0 <= v <= 1) for name in SHARES]
        problems.append(_range(self, "crop", "0 to below 1", lambda v: 0 <= v < 1))
        problems += [_range(self, name, "above 0", lambda v: v > 0) for name in ("learning_rate", "temperature")]
        if self.backbone_learning_rate is not None:
            problems.append(_range(self, "backbone_learning_rate", "above 0", lambda v: v > 0))
        problems += [
            _range(self, name, "at least 0", lambda v: v >= 0) for name in ("time_shift", "class_balance", "rotation")
        ]
        problems.append(_range(self, "seed", "0 to 2^32 - 1", lambda v: 0 <= v < 2**32))
        if self.early_weight is not None:
            problems.append(_range(self, "early_weight", "at least 0", lambda v: v >= 0))
        if self.schedule not in SCHEDULES:
            problems.append(f"schedule is {self.schedule!r}; it is one of {', '.join(SCHEDULES)}.")
        problems += [
            f"The weight of source {name!r} is {weight}; it must be finite and at least 0."
            for name, weight in self.source_weights
            if not (math.isfinite(weight) and weight >= 0)
        ]
        _raise(problems)


def settings_for(
    task: Task,
    weights: Path | None,
    source_weights: tuple[tuple[str, float], ...] = (),
    seed: int = 1,
    tuning: Recipe | None = None,
) -> TrainSettings:
    """The settings that a build takes on its own: the task's recipe, from scratch or from trained weights.

    From trained weights the recipe `tuning` of a method's own goes before the task's.
    """
    recipe = task.recipe if weights is None else tuning or task.tuning
    return TrainSettings(**asdict(recipe), weights=weights, seed=seed, source_weights=source_weights)


@dataclass(frozen=True)
class QuantizeSettings:
    """Settings of `quantize`.

    `scheme`: "ptq" quantizes the trained weights; "qat" fine-tunes them first with quantization in the loop, for
    `epochs` at `learning_rate` (cosine); "ptq" reads neither. `samples`: how many training samples fix
    the ranges of activations.
    """

    scheme: str = "ptq"
    seed: int = 1
    samples: int = 500
    epochs: int = 3
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        """Raise TrecxError with every setting that is out of range."""
        problems = [_range(self, name, "at least 1", lambda v: v >= 1) for name in ("samples", "epochs")]
        problems.append(_range(self, "learning_rate", "above 0", lambda v: v > 0))
        problems.append(_range(self, "seed", "0 to 2^32 - 1", lambda v: 0 <= v < 2**32))
        if self.scheme not in SCHEMES:
            problems.append(f"scheme is {self.scheme!r}; it is one of {', '.join(SCHEMES)}.")
        _raise(problems)


def _range(settings: object, name: str, allowed: str, holds: Callable[[float], bool]) -> str:
    value = getattr(settings, name)
    return "" if math.isfinite(value) and holds(value) else f"{name} is {value}; it must be {allowed}."


def _raise(problems: list[str]) -> None:
    found = [problem for problem in problems if problem]
    if found:
        raise TrecxError(found, "Correct these settings and start again.")
