"""Door 2: what a model answered, sample by sample. Reference, host build, QEMU and board all produce this type."""

import zipfile
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from trecx.errors import TrecxError
from trecx.judge.files import written_whole

# What numpy and zipfile raise on damaged files; NotImplementedError and RuntimeError: odd compression, encryption.
_UNREADABLE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, TypeError, LookupError, EOFError, AttributeError, SyntaxError),
    *(NotImplementedError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True, eq=False)
class Trace:
    """Answers of one model to `n` samples.

    `logits`, `scores`: int8 `(n, exits, classes)`, before and after softmax, every exit evaluated for every sample.
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
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: value[:count] for name, value in present.items() if value is not None})

    def save(self, path: Path) -> None:
        """Write an `.npz` with one array per field, absent ones left out; an older file stays whole until the end."""
        arrays = {name: value for name, value in vars(self).items() if value is not None}
        with written_whole(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Trace":
        """Read what `save` wrote; raise TrecxError where the file is not a trace."""
        try:
            with np.load(path, allow_pickle=False) as file:
                trace = cls(**{name: file[name] for name in file.files})
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            EOFError,
            AttributeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise TrecxError(f"{path} is not a trace: {error}.", "Run the step that writes it again.") from error
        problems = trace.problems()
        if problems:
            raise TrecxError([f"{path}: {p}." for p in problems], "Run the step that writes it again.")
        return trace

    def problems(self) -> list[str]:
        """What is wrong with the arrays' types and shapes, as sentence fragments."""
        samples = self.exit_taken.shape[:1]
        shape = self.logits.shape
        exits = shape[1:2]
        expected = (
            ("logits", np.int8, (*samples, *shape[1:]) if len(shape) == 3 else (*samples, -1, -1)),
            ("scores", np.int8, shape),
            ("exit_taken", np.uint8, samples),
            ("labels", np.int32, samples),
            ("instructions", np.uint32, samples),
            ("exit_instructions", np.uint32, (*samples, *exits)),
        )
        found = []
        for name, dtype, wanted in expected:
            array = getattr(self, name)
            if array is not None and (array.dtype != dtype or array.shape != wanted):
                found.append(f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {wanted}")
        if not found and len(self) and int(self.exit_taken.max()) >= self.exits:
            found.append(f"exit_taken names exit {int(self.exit_taken.max())} of {self.exits}")
        return found
