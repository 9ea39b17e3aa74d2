"""The data of a run: found once, read once, quantized as the model wants it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlperf_tiny import download
from mlperf_tiny.task import Data, Split
from trecx.compiler.graph import Graph
from trecx.console import Step
from trecx.errors import TrecxError
from trecx.settings import Settings
from trecx.stamp import digest
from trecx.subjects import OwnFile, subject
from trecx.subjects.tasks import Labelled, Reader

# By subject, folder, and whether it trains.
_held: dict[tuple[object, ...], Labelled] = {}


def data(settings: Settings, step: Step) -> Data | None:
    """The data of a run: from its folder, or where it trains found or fetched; None where it has none."""
    found = _found(settings, step)
    return None if found is None else found[1]


def classes(settings: Settings, step: Step) -> tuple[str, ...]:
    """The names of a run's classes: the task's, or of a model alone those of its data."""
    found = _found(settings, step)
    assert found is not None
    return found[0]


def _found(settings: Settings, step: Step) -> Labelled | None:
    about = subject(settings)
    if isinstance(about, OwnFile) or (settings.data is None and not settings.train):
        return None
    folder = Path(settings.data) if settings.data else about.fetched(step)
    key = (about, folder, settings.train)
    if key not in _held:
        _held.clear()
        with step.progress("reading data") as progress:
            _held[key] = about.read(folder, progress, settings.train)
    return _held[key]


def reader(settings: Settings) -> Reader:
    """What reads samples without labels; TrecxError where nothing does, or where there is no such folder."""
    about = subject(settings)
    found = None if isinstance(about, OwnFile) else about.unlabelled
    if found is None:
        hint = "Leave out --unlabelled; of a task of your own its Task says in 'unlabelled' how to read them."
        raise TrecxError(f"Samples without labels are not read for {about}.", hint)
    if not Path(settings.unlabelled or "").is_dir():
        raise TrecxError(f"{settings.unlabelled} is not a folder.", "Name a folder of samples with --unlabelled.")
    return found


def unlabelled(settings: Settings, step: Step) -> Iterator[np.ndarray]:
    """The samples without labels, some at a time, as the task's own: float32 `(m, *shape)`; TrecxError for none."""
    read, folder, none = reader(settings), Path(settings.unlabelled or ""), True
    with step.progress("samples without labels") as progress:
        for x in read(folder, progress):
            if len(x):
                none = False
                yield x
    if none:
        raise TrecxError(f"{folder} has no samples.", "Leave out --unlabelled, or name another folder.")


def identity(settings: Settings) -> str:
    """SHA-256 of names, sizes and times of the data's files: in their folder, or for a training in the usual places."""
    return digest(_listed(settings))


def listed(folder: Path) -> str:
    """SHA-256 of names, sizes and times of the files below a folder."""
    return digest(tuple(_listing(folder)))


def _listed(settings: Settings) -> tuple[tuple[str, int, int], ...]:
    if settings.data is None:
        places = [place.absolute() for place in download.usual_places()] if settings.train else []
        return tuple(
            (str(place / name), size, time)
            for place in dict.fromkeys(places)
            if place.is_dir()
            for name, size, time in _listing(place)
        )
    root = Path(settings.data)
    if not root.is_dir():
        raise TrecxError(f"{root} is not a folder.", "Name the folder with the data with --data.")
    return tuple(_listing(root))


def split_sha256(split: Split) -> str:
    """SHA-256 of a split's samples and labels."""
    found = hashlib.sha256(repr(split.x.shape).encode())
    for part in (split.x, split.y):
        found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()


def quantized(x: np.ndarray, graph: Graph) -> np.ndarray:
    """Samples of the data as the model's int8 input, `(n, *shape)`; TrecxError where it takes something else."""
    if len(graph.inputs) > 1 or graph.sample_shape != x.shape[1:]:
        shapes = ", ".join(str(one.tensor.shape[1:]) for one in graph.inputs)
        problem = f"The model takes {shapes}; samples of the data are {x.shape[1:]}."
        raise TrecxError(problem, "Name the data and the task that this model was made for.")
    model_input = graph.input
    scaled = np.rint(x.astype(np.float64) / model_input.scale) + model_input.zero_point
    return np.clip(scaled, -128, 127).astype(np.int8)


def _listing(root: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of every file below a folder, sorted by path."""
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        status = file.stat()
        yield str(file.relative_to(root)), status.st_size, status.st_mtime_ns
