"""What a task is: its data and its backbone with named taps. Where exits attach is data, too."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlperf_tiny.attachment import Attachment
from mlperf_tiny.recipe import Recipe


class DataError(Exception):
    """Data that cannot be used. `problems` are complete sentences, `hint` says how to get what is missing."""

    exit_code = 2

    def __init__(self, problems: str | Iterable[str], hint: str = "") -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        self.hint = hint
        super().__init__("\n".join((*self.problems, hint) if hint else self.problems))


def capped(problems: Sequence[str], limit: int = 20) -> tuple[str, ...]:
    """Return at most `limit` problems and, where there are more, how many."""
    if len(problems) <= limit:
        return tuple(problems)
    return (*problems[:limit], f"… and {len(problems) - limit:,} more.")


@dataclass(frozen=True)
class Split:
    """Labelled samples: `x` float32 `(n, *input_shape)` in the units the model is fed with, `y` int32 `(n,)`.

    `source` is str `(n,)`, where each sample comes from, or None where a split has a single origin. `group` is str
    `(n,)`: samples of one group, such as a speaker's or copies of one recording, are not independent of each other;
    those whose group is empty, or all where it is None, are.
    """

    name: str
    description: str
    x: np.ndarray
    y: np.ndarray
    source: np.ndarray | None = None
    group: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)

    def of(self, sources: Sequence[str]) -> "Split":
        """The samples of some sources; all of them where `sources` is empty or the split has no sources."""
        if self.source is None or not sources:
            return self
        return self.rows(np.isin(self.source, sources))

    def rows(self, chosen: np.ndarray) -> "Split":
        """Some of the samples, by their places or by a bool `(n,)`."""
        kept = {name: getattr(self, name) for name in ("x", "y", "source", "group")}
        return replace(self, **{name: array[chosen] for name, array in kept.items() if array is not None})


@dataclass(frozen=True)
class Data:
    """The three splits of a task; thresholds and choices see `validation` only, `test` is judged once.

    `sources` says of each split where it comes from. `calibration` names the sources of validation that are most like
    the test data, on which thresholds are chosen; empty for all of them. `source_weights` says how often samples of a
    source are drawn in training, 1 where it is not named.
    """

    train: Split
    validation: Split
    test: Split
    sources: dict[str, str] = field(default_factory=dict)
    calibration: tuple[str, ...] = ()
    source_weights: tuple[tuple[str, float], ...] = ()


def provenance(counts: Mapping[str, int], *arrays: np.ndarray) -> str:
    """Return what a split is made of, samples by kind, with a hash of the arrays that hold inputs and labels."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    told = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    return f"{told}; sha256 {digest.hexdigest()[:16]}"


@dataclass(frozen=True)
class Backbone:
    """A Keras graph without its output head.

    `taps` are the tensors an exit may attach to, by name; `features` is the final map that exits' assistants
    may read, and `head(features)` builds the backbone's own head up to its logits.
    """

    input: Any
    taps: dict[str, Any]
    features: Any
    head: Callable[[Any], Any]


@dataclass(frozen=True)
class Task:
    """One problem: shapes, classes, data and backbone. `load(folder)` raises `DataError` with all problems."""

    name: str
    title: str
    input_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    backbone: Callable[[Any], Backbone]
    # (folder, progress=None, training=True); what else a task takes has defaults. Without `training` only the test
    # split is needed: training and validation may be missing in the folder, and come back empty.
    load: Callable[..., Data]
    # Finds the official data in the usual places or downloads it; returns the folder for `load`. (progress=None)
    fetch: Callable[..., Path] | None = None
    # (scale, zero point) of the benchmark's official int8 inputs; None leaves the choice to the converter.
    input_quant: tuple[float, int] | None = None
    # How it is trained from scratch, and how with a trained backbone to start from.
    recipe: Recipe = field(default_factory=Recipe)
    tuning: Recipe = field(default_factory=Recipe)
    # Early exits that suit it, the default first; without one, a person names a tap and T-RecX's exit takes its shape.
    attachments: tuple[Attachment, ...] = ()
    # What MLPerf Tiny's runner calls its model; empty for the task's own name.
    runner_name: str = ""
    # Yields the samples below a folder, some at a time and whatever their labels: (folder, progress=None) to float32
    # (m, *input_shape). None where a task's samples are not read without labels.
    unlabelled: Callable[..., Iterator[np.ndarray]] | None = None
