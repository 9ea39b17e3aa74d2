"""Features on disk: made once, found again as long as the recordings and the way to make them are the same."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np


def cache_folder() -> Path:
    """Return the user's cache folder for trecx, `$XDG_CACHE_HOME/trecx` or `~/.cache/trecx`; it may not exist."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "trecx"


def key(files: Iterable[Path], recipe: str, sources: Iterable[Path]) -> str:
    """Return a hash of the files' names, sizes and times of change, of the recipe, and of the code's text.

    The times stand for the contents, so that a second run need not read gigabytes of audio again.
    """
    digest = hashlib.sha256(recipe.encode())
    for source in sources:
        digest.update(source.read_bytes())
    for file in files:
        digest.update(f"{file.parent.name}/{file.name}\0{_stamp(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:24]


def _stamp(file: Path) -> str:
    """Return size and time of change, nothing for a file whose reader will have to complain."""
    try:
        status = file.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def stored(folder: Path, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays stored as `name`, after making and storing them where they are missing or damaged.

    A cache that cannot be written costs time on the next run and nothing else.
    """
    path = folder / f"{name}.npz"
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError(path)
        with np.load(path, allow_pickle=False) as arrays:
            return {field: arrays[field] for field in arrays.files}
    except Exception:  # a missing or damaged cache of any kind (zip, zlib, npy header, disk) is made again
        arrays = make()
    temporary = folder / f".{name}.{os.getpid()}.npz"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return arrays
