"""Models of the user's own: one in Keras, which learns, or an int8 one, which is taken as it is."""

from dataclasses import dataclass
from pathlib import Path

from trecx.console import Report, Step
from trecx.errors import TrecxError
from trecx.subjects.tasks import Labelled, OwnTask, Reader, Registered

PIXELS = "0..255"


@dataclass(frozen=True)
class OwnModel:
    """A Keras model that stands in for the backbone of a task, or has data of its own in one folder per class."""

    name: str
    path: Path
    base: Registered | OwnTask | None
    shape: tuple[int, ...]
    pixels: str | None

    @property
    def identity(self) -> tuple[object, ...]:
        """The model's file, and the task whose data it is given."""
        return (*(self.base.identity if self.base else (None,)), self.path.resolve())

    def __str__(self) -> str:
        return f"a model ({self.path})" + (f" with the data of {self.base.spec}" if self.base else "")

    def read(self, folder: Path, progress: Report, training: bool) -> Labelled:
        """Its classes and its data: the task's, or images or recordings in one folder per class."""
        from mlperf_tiny import class_folder

        if self.base is not None:
            return self.base.read(folder, progress, training)
        return class_folder.load(folder, self.shape, pixels=self.pixels or PIXELS, progress=progress)

    @property
    def unlabelled(self) -> Reader | None:
        """What reads its samples without labels: as the task does, or images or recordings in any folder."""
        from mlperf_tiny import class_folder

        if self.base is not None:
            return self.base.unlabelled
        pixels = self.pixels or PIXELS
        return lambda folder, progress: class_folder.unlabelled(folder, self.shape, pixels, progress=progress)

    def fetched(self, step: Step) -> Path:
        """The folder of the task's official data."""
        if self.base is None:
            raise TrecxError(f"{self.path} needs data.", "Name their folder with --data.")
        return self.base.fetched(step)


@dataclass(frozen=True)
class OwnFile:
    """An int8 model, which has no labelled data."""

    name: str

    @property
    def identity(self) -> tuple[object, ...]:
        """Its name."""
        return (None, self.name)

    def __str__(self) -> str:
        return f"a model ({self.name})"
