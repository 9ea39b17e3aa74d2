"""Tasks: those that are registered, and one of the user's own in a file of theirs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mlperf_tiny
from mlperf_tiny.task import Data, Task
from trecx.console import Report, Step
from trecx.errors import TrecxError
from trecx.subjects import own_task

# The names of the classes, and samples of them.
Labelled = tuple[tuple[str, ...], Data]
# Yields the samples without labels below a folder, some at a time: float32 `(m, *shape)`.
Reader = Callable[[Path, Report], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Registered:
    """A task that comes with trecx."""

    spec: str

    @property
    def task(self) -> Task:
        """The task; TrecxError where there is none of this name."""
        known = {t.name: t for t in mlperf_tiny.TASKS}
        if self.spec not in known:
            hint = f"Tasks: {', '.join(known)}. For one of your own: --task FILE.py:NAME, or --model MODEL."
            raise TrecxError(f"There is no task {self.spec!r}.", hint)
        return known[self.spec]

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells it from others."""
        return (self.spec,)

    def __str__(self) -> str:
        return f"a task ({self.spec})"

    def read(self, folder: Path, progress: Report, training: bool) -> Labelled:
        """Its classes and its data in a folder; without `training` only what is judged on."""
        chosen = self.task
        return chosen.classes, chosen.load(folder, progress, training=training)

    @property
    def unlabelled(self) -> Reader | None:
        """What reads its samples without labels, if anything does."""
        return self.task.unlabelled

    def fetched(self, step: Step) -> Path:
        """The folder where its official data lie, found in the usual places or downloaded."""
        chosen = self.task
        if chosen.fetch is None:
            raise TrecxError(f"{chosen.name} needs data.", "Name its folder with --data.")
        with step.progress("fetching data") as progress:
            return chosen.fetch(progress)


@dataclass(frozen=True)
class OwnTask(Registered):
    """A task of the user's own, `FILE.py:NAME`; the file is run."""

    @property
    def file(self) -> Path:
        """Where it is written."""
        return Path(self.spec.rpartition(":")[0])

    @property
    def task(self) -> Task:
        """The task; TrecxError with everything that is wrong with it but its backbone."""
        return own_task.load(self.spec)

    @property
    def identity(self) -> tuple[object, ...]:
        """Its name, and the file."""
        return (self.spec.rpartition(":")[2], self.file.resolve())

    def read(self, folder: Path, progress: Report, training: bool) -> Labelled:
        """The same, checked."""
        chosen = self.task
        return chosen.classes, own_task.read(chosen, self.spec, folder, progress, training)

    @property
    def unlabelled(self) -> Reader | None:
        """The same, checked."""
        chosen = self.task
        if chosen.unlabelled is None:
            return None
        return lambda folder, progress: own_task.unlabelled(chosen, self.spec, folder, progress)


def task_of(spec: str) -> Registered | OwnTask:
    """The task of this name, or in `FILE.py:NAME`."""
    return OwnTask(spec) if ":" in spec else Registered(spec)


def task(spec: str) -> Task:
    """The task itself."""
    return task_of(spec).task
