"""Lists that data come with, of files and what is known of them: regular files of UTF-8, no larger than lists are."""

import csv
import io
from pathlib import Path

from mlperf_tiny.task import DataError

MOST_BYTES = 2**26


def regular(path: Path) -> int:
    """The size of a file in bytes; raises OSError for pipes, devices and folders, which must not be opened."""
    if path.exists() and not path.is_file():
        raise OSError("not a regular file")
    return path.stat().st_size


def text(path: Path) -> str:
    """All of a list; raises OSError or UnicodeDecodeError."""
    size = regular(path)
    if size > MOST_BYTES:
        raise OSError(f"{size:,} bytes; a list has {MOST_BYTES:,} at most")
    with path.open(newline="", encoding="utf-8-sig") as file:
        return file.read()


def rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a table in CSV that are not empty, with their line numbers; raises `DataError`."""
    try:
        reader = csv.reader(io.StringIO(text(path), newline=""))
        return [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({getattr(error, 'strerror', None) or error}).") from error
