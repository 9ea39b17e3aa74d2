"""Door 2: what a model answered, sample by sample. Reference, host build, QEMU and board all produce this type."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from trecx import archives
from trecx.decision import Criterion, statistics
from trecx.errors import TrecxError
from trecx.files import whole


@dataclass(frozen=True)
class Reading:
    """What of a `.tflite` an interpreter must read to make a trace, by tensor index.

    `outputs` of each exit's answer; `logits` of each exit, none where answers are values or maps; `decides` are the
    values that each of `decisions` reads.
    """

    outputs: tuple[tuple[int, ...], ...]
    logits: tuple[int, ...]
    decisions: tuple[Criterion, ...]
    decides: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Trace:
    """Answers of one model to `n` samples, every exit evaluated for every sample.

    `logits`, `scores`: int8 `(n, exits, classes)`, before and after softmax. Where the answers are values or maps,
    `scores` are all of them, `(n, exits, values)`, and `logits` `(n, exits, 0)`.
    `statistics`: uint32 `(n, decisions)`, by what each exit decides (`trecx/decision/`); None in files of 0.1.
    `exit_taken`: uint8 `(n,)`, index of the exit that answered at the thresholds in force.
    `labels`: int32 `(n,)`, or None for samples without a label.
    `instructions`: uint32 `(n,)`, counted from input to answer at those thresholds; None where nothing counts.
    `exit_instructions`: uint32 `(n, exits)`, counted from input to each exit's answer, or None likewise.
    """

    logits: np.ndarray
    scores: np.ndarray
    exit_taken: np.ndarray
    labels: np.ndarray | None = None
    instructions: np.ndarray | None = None
    exit_instructions: np.ndarray | None = None
    statistics: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.exit_taken)

    @property
    def exits(self) -> int:
        """Number of exits, the final one included."""
        return int(self.logits.shape[1])

    def right(self) -> np.ndarray:
        """Whether each exit is right, bool `(n, exits)`; of equal logits the lower class answers, as on the device."""
        if self.labels is None:
            raise TrecxError("The samples of this trace have no labels.", "Accuracy needs a labelled split.")
        return np.asarray(self.logits.argmax(axis=-1) == self.labels[:, None])

    def first(self, count: int) -> "Trace":
        """The first `count` samples."""
        return self.of(slice(count))

    def of(self, rows: slice | np.ndarray) -> "Trace":
        """Some of the samples, by their numbers."""
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: value[rows] for name, value in present.items() if value is not None})

    @classmethod
    def joined(cls, parts: "Sequence[Trace]") -> "Trace":
        """Traces of the same model, one after the other."""
        arrays = {f.name: [getattr(one, f.name) for one in parts] for f in fields(cls)}
        together: dict[str, Any] = {
            name: None if any(one is None for one in many) else np.concatenate(many) for name, many in arrays.items()
        }
        return cls(**together)

    def save(self, path: Path) -> None:
        """Write an `.npz` with one array per field, absent ones left out; an older file stays whole until the end."""
        arrays = {name: value for name, value in vars(self).items() if value is not None}
        with whole(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Trace":
        """Read what `save` wrote; raise TrecxError where the file is not a trace."""
        try:
            trace = cls(**archives.read(path))
        except (archives.Unreadable, TypeError) as error:
            raise TrecxError(f"{path} is not a trace: {error}.", "Run the step that writes it again.") from error
        problems = trace.problems()
        if problems:
            raise TrecxError([f"{path}: {p}." for p in problems], "Run the step that writes it again.")
        return trace

    def decided(self, decisions: Sequence[Criterion]) -> np.ndarray:
        """The statistics of these decisions; of traces without them they are made of the logits."""
        if self.statistics is None and any(one.gate for one in decisions):
            raise TrecxError("This trace does not say what its gates were.", "Run the step that writes it again.")
        found = self.statistics
        if found is None:
            found = statistics(decisions, [self.logits[:, k] for k in range(len(decisions))], len(self))
        if found.shape[1] != len(decisions):
            raise TrecxError(
                f"The trace has {found.shape[1]} decisions, the model {len(decisions)}.", "Record it again."
            )
        return found

    def _decisions(self) -> tuple[int, ...]:
        """The number of decisions that the statistics are of: one for each exit, or each but the last."""
        if self.statistics is None or self.statistics.ndim != 2:
            return (-1,)
        return (min(max(self.statistics.shape[1], self.exits - 1), self.exits),)

    def problems(self) -> list[str]:
        """What is wrong with the arrays' types and shapes, as sentence fragments."""
        samples = self.exit_taken.shape[:1]
        shape = self.logits.shape
        exits = shape[1:2]
        expected = (
            ("logits", np.int8, (*samples, *shape[1:]) if len(shape) == 3 else (*samples, -1, -1)),
            ("scores", np.int8, (*samples, *exits, *self.scores.shape[2:3]) if shape[2:3] == (0,) else shape),
            ("exit_taken", np.uint8, samples),
            ("labels", np.int32, samples),
            ("instructions", np.uint32, samples),
            ("exit_instructions", np.uint32, (*samples, *exits)),
            ("statistics", np.uint32, (*samples, *self._decisions())),
        )
        found = []
        for name, dtype, wanted in expected:
            array = getattr(self, name)
            if array is not None and (array.dtype != dtype or array.shape != wanted):
                found.append(f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {wanted}")
        if not found and len(self) and int(self.exit_taken.max()) >= self.exits:
            found.append(f"exit_taken names exit {int(self.exit_taken.max())} of {self.exits}")
        return found
