"""The data of a run: found once, read once, quantized as the model wants it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import mlperf_tiny
from mlperf_tiny import download
from mlperf_tiny.task import Data, Split, Task
from trecx.compiler.ir import Tensor
from trecx.console import Step
from trecx.errors import TrecxError
from trecx.settings import Settings

_held: dict[tuple[str, Path, bool], Data] = {}  # by task, folder, and whether it trains


def task(name: str) -> Task:
    """The registered task of this name."""
    known = {t.name: t for t in mlperf_tiny.TASKS}
    if name not in known:
        raise TrecxError(f"There is no task {name!r}.", f"Tasks: {', '.join(known)}.")
    return known[name]


def data(settings: Settings, step: Step) -> Data | None:
    """The data of a run: from its folder, or where it trains found or fetched; None where it has none."""
    if settings.task is None or (settings.data is None and not settings.train):
        return None
    chosen = task(settings.task)
    folder = Path(settings.data) if settings.data else fetched(chosen, step)
    key = (chosen.name, folder, settings.train)
    if key not in _held:
        _held.clear()
        with step.progress("reading data") as progress:
            _held[key] = chosen.load(folder, progress, training=settings.train)
    return _held[key]


def fingerprint(settings: Settings) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the files in the data folder; where a run trains without one, in the usual places."""
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
