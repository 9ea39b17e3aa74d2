"""Files that are there whole or not at all, what is in them, and who holds them."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trecx.errors import TrecxError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; it becomes `path` at the end, and vanishes where anything goes wrong.

    Raises TrecxError where the file system refuses.
    """
    unfinished = path.with_name(f".partial-{path.name}")
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        raise TrecxError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text so that readers see the old file or the new one, never a part."""
    with whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: Path, document: object) -> None:
    """The same with a document as JSON."""
    write_text(path, json.dumps(document, indent=2) + "\n")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def held(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold a folder, or a file that is made where there is none, against other processes.

    Raises BlockingIOError where another one holds it and `wait` is not. It goes with the process, however that ends.
    """
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)
