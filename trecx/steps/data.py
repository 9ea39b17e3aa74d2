"""The data of a run: found once, read once, quantized as the model wants it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import mlperf_tiny
from mlperf_tiny import download
from mlperf_tiny.task import Data, Split, Task
from trecx.compiler.ir import Tensor
from trecx.console import Report, Step
from trecx.errors import TrecxError
from trecx.settings import Settings
from trecx.stamp import digest
from trecx.steps import own_task

PIXELS = "0..255"
# By task or model, folder, range of pixels, and whether it trains; with the classes that the data have.
_held: dict[tuple[object, ...], tuple[tuple[str, ...], Data]] = {}


def task(name: str) -> Task:
    """The registered task of this name, or one of the user's own, by `FILE.py:NAME`."""
    if ":" in name:
        return own_task.load(name)
    known = {t.name: t for t in mlperf_tiny.TASKS}
    if name not in known:
        hint = f"Tasks: {', '.join(known)}. For one of your own: --task FILE.py:NAME, or --model MODEL."
        raise TrecxError(f"There is no task {name!r}.", hint)
    return known[name]


def data(settings: Settings, step: Step) -> Data | None:
    """The data of a run: from its folder, or where it trains found or fetched; None where it has none."""
    found = _found(settings, step)
    return None if found is None else found[1]


def classes(settings: Settings, step: Step) -> tuple[str, ...]:
    """The names of a run's classes: the task's, or of a model alone those of its data."""
    if settings.task is not None:
        return task(settings.task).classes
    found = _found(settings, step)
    assert found is not None
    return found[0]


def _found(settings: Settings, step: Step) -> tuple[tuple[str, ...], Data] | None:
    alone = settings.task is None
    if (alone and settings.model is None) or (settings.data is None and not settings.train):
        return None
    folder = Path(settings.data) if settings.data else fetched(task(settings.task or ""), step)
    key = (settings.task or settings.model, settings.own_files, settings.pixels, folder, settings.train)
    if key not in _held:
        _held.clear()
        with step.progress("reading data") as progress:
            _held[key] = _labelled(settings, folder, progress) if alone else _of_task(settings, folder, progress)
    return _held[key]


def _of_task(settings: Settings, folder: Path, progress: Report) -> tuple[tuple[str, ...], Data]:
    assert settings.task is not None
    chosen = task(settings.task)
    if ":" in settings.task:
        return chosen.classes, own_task.read(chosen, settings.task, folder, progress, settings.train)
    return chosen.classes, chosen.load(folder, progress, training=settings.train)


def _labelled(settings: Settings, folder: Path, progress: Report) -> tuple[tuple[str, ...], Data]:
    """Images or recordings in one folder per class, for a model of the user's own."""
    from mlperf_tiny import class_folder

    return class_folder.load(folder, settings.shape, pixels=settings.pixels or PIXELS, progress=progress)


def identity(settings: Settings) -> str:
    """SHA-256 of names, sizes and times of the data's files: in their folder, or for a training in the usual places."""
    return digest(_listed(settings))


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


def quantized(split: Split, model_input: Tensor) -> np.ndarray:
    """The samples of a split as the model's int8 input, `(n, *shape)`."""
    scaled = np.rint(split.x.astype(np.float64) / model_input.scale) + model_input.zero_point
    return np.clip(scaled, -128, 127).astype(np.int8)


def _listing(root: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of every file below a folder, sorted by path."""
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        status = file.stat()
        yield str(file.relative_to(root)), status.st_size, status.st_mtime_ns


def fetched(chosen: Task, step: Step) -> Path:
    """The folder where a task's official data lie, found in the usual places or downloaded."""
    if chosen.fetch is None:
        raise TrecxError(f"{chosen.name} needs data.", "Name its folder with --data.")
    fetch: Callable[..., Path] = chosen.fetch
    with step.progress("fetching data") as progress:
        return fetch(progress)
