"""Archives of arrays (.npz) that were kept, copied or sent: read whole, or refused with one kind of error."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

# What numpy and zipfile raise on damaged files; NotImplementedError and RuntimeError: odd compression, encryption.
_UNREADABLE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, TypeError, LookupError, EOFError, AttributeError, SyntaxError),
    *(NotImplementedError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error),
)


class Unreadable(Exception):
    """A file is no archive of arrays; its text says why."""


def read(path: Path) -> dict[str, np.ndarray]:
    """Every array in an archive, by name; raises Unreadable whatever is wrong with the file."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is not a regular file")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except _UNREADABLE as error:
        raise Unreadable(str(error)) from error
