"""How a model is trained and quantized: everything that changes the result, validated in one go."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trecx.errors import TrecxError

SCHEDULES = ("steps", "cosine")
SCHEMES = ("ptq", "qat")


@dataclass(frozen=True)
class TrainSettings:
    """Settings of `train`. The defaults are T-RecX's recipe for keyword spotting, on MLPerf Tiny's base recipe.

    `weights`: reference weights of the backbone (SavedModel folder, .h5, .keras); None trains it from scratch first,
    for `backbone_epochs`. `steps_per_epoch`: None means one pass over the training data.
    `schedule`: "steps" takes `learning_rate` for the first third, 1/5 of it for the second, 1/25 for the last; "cosine"
    falls to 0. `release`: share of the joint epochs after which copied filters get a life of their own; T-RecX copies
    for 30 of 36.
    `early_weight`: weight of the early exits' loss, None for the method's own.
    `distillation`: share of the backbone's scores on the same (augmented) input in the targets, 0 for labels only.
    `time_shift`: augmentation, at most so many frames either way. `mixup`: augmentation, the largest share of another
    sample that is mixed into inputs and labels. `class_balance`: classes are drawn in proportion to
    count^(1 - class_balance), 0.5 being 1/sqrt(count) per sample. `source_weights`: how often the samples of a source
    are drawn, 1 where it is not named; names that do not occur change nothing.
    """

    weights: Path | None = None
    seed: int = 1
    batch: int = 100
    backbone_epochs: int = 36
    epochs: int = 36
    steps_per_epoch: int | None = None
    learning_rate: float = 5e-4
    schedule: str = "steps"
    release: float = 5 / 6
    early_weight: float | None = None
    distillation: float = 0.0
    temperature: float = 1.0
    time_shift: int = 0
    mixup: float = 0.0
    class_balance: float = 0.0
    source_weights: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        """Raise TrecxError with every setting that is out of range."""
        least_one = ("batch", "backbone_epochs", "epochs")
        problems = [_range(self, name, "at least 1", lambda v: v >= 1) for name in least_one]
        if self.steps_per_epoch is not None:
            problems.append(_range(self, "steps_per_epoch", "at least 1", lambda v: v >= 1))
        problems += [
            _range(self, name, "0 to 1", lambda v: 0 <= v <= 1) for name in ("release", "distillation", "mixup")
        ]
        problems += [_range(self, name, "above 0", lambda v: v > 0) for name in ("learning_rate", "temperature")]
        problems += [_range(self, name, "at least 0", lambda v: v >= 0) for name in ("time_shift", "class_balance")]
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


def recipe(weights: Path | None, source_weights: tuple[tuple[str, float], ...] = (), seed: int = 1) -> TrainSettings:
    """The settings that a build takes on its own.

    Without reference weights, T-RecX's recipe. With them, the backbone knows more data than are at hand, so it is also
    the teacher: its scores on mixed samples make up most of the targets, which keeps its accuracy where labels are few
    or noisy, and the early exit counts more than in T-RecX. `source_weights` are the data's own.
    """
    if weights is None:
        return TrainSettings(seed=seed)
    return TrainSettings(
        weights=weights,
        seed=seed,
        epochs=80,
        steps_per_epoch=100,
        learning_rate=7e-4,
        schedule="cosine",
        release=0.9,
        early_weight=0.6,
        distillation=0.9,
        time_shift=4,
        mixup=0.5,
        class_balance=1.0,
        source_weights=source_weights,
    )


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
