"""Files that are whole or not there, and what tells the content of one from another's."""

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
    """A name beside `path`, of its ending, to write to; it becomes `path` at the end, and vanishes on any error.

    Readers see the old file or the new one, never a part. Raises TrecxError where the file system refuses.
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        partial.unlink(missing_ok=True)  # what a kill left, or somebody put there, is not written into
        yield partial
        partial.replace(path)
    except OSError as error:
        raise TrecxError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole; raises TrecxError as `whole` does."""
    with whole(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a file of UTF-8 whole."""
    write_bytes(path, text.encode())


def write_json(path: Path, document: object) -> None:
    """Write JSON as readable, deterministic text."""
    write_text(path, json.dumps(document, indent=2) + "\n")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
