"""Reader of the input files of MLPerf Tiny's benchmark runner: `.bin` files beside a `y_labels.csv`.

A row of `y_labels.csv` is `file,number of classes,label`; an optional `speakers.csv` has rows `file,speaker`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlperf_tiny import lists
from mlperf_tiny.task import DataError, capped

LABELS, SPEAKERS = "y_labels.csv", "speakers.csv"
_NUMBER = re.compile("[0-9]{1,6}")
_HINT = "Expected rows `file,classes,label` and one int8 input per .bin file, as MLPerf Tiny's runner reads them."


@dataclass(frozen=True)
class RunnerSet:
    """One folder of runner files: `x` int8 `(n, size)`, `y` int32 `(n,)`, speakers empty where unknown."""

    name: str
    files: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray
    speakers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)


def find(folders: Iterable[Path]) -> dict[str, Path]:
    """Return the runner's folders among the given ones, by name."""
    return {folder.name: folder for folder in sorted(folders) if (folder / LABELS).exists()}


def read(folder: Path, size: int, classes: int) -> RunnerSet:
    """Return the inputs of a folder, each `size` bytes long, with labels below `classes`.

    Raises one `DataError` for all bad rows, missing files and wrong sizes.
    """
    problems: list[str] = []
    labels = _labels(folder / LABELS, classes, problems)
    x = np.zeros((len(labels), size), np.int8)
    for row, name in enumerate(labels):
        try:
            if (there := lists.regular(folder / name)) != size:
                raise OSError(f"{there:,} bytes, expected {size:,}")
            x[row] = np.frombuffer((folder / name).read_bytes(), np.int8)
        except OSError as error:
            problems.append(f"{folder / name}: {error.strerror or error}.")
    speakers = _speakers(folder / SPEAKERS, set(labels), problems)
    if problems:
        raise DataError(capped(problems), _HINT)
    y = np.array(list(labels.values()), np.int32)
    return RunnerSet(folder.name, tuple(labels), x, y, tuple(speakers.get(name, "") for name in labels))


def _rows(path: Path, problems: list[str]) -> list[tuple[int, list[str]]]:
    """Return the rows of a table that are not empty, with their line numbers."""
    try:
        return [(line, [cell.strip() for cell in row]) for line, row in lists.rows(path)]
    except DataError as error:
        problems += error.problems
        return []


def _labels(path: Path, classes: int, problems: list[str]) -> dict[str, int]:
    """Return the label of every file, in the order of the rows."""
    labels: dict[str, int] = {}
    before = len(problems)
    for line, row in _rows(path, problems):
        where = f"{path}, line {line}"
        if len(row) != 3 or not all(_NUMBER.fullmatch(cell) for cell in row[1:]):
            problems.append(f"{where}: {','.join(row)!r} is not `file,classes,label`.")
        elif not _plain(row[0]):
            problems.append(f"{where}: {row[0]!r} is not the name of a file in the same folder.")
        elif int(row[1]) != classes:
            problems.append(f"{where}: {row[1]} classes, expected {classes}.")
        elif int(row[2]) >= classes:
            problems.append(f"{where}: label {row[2]} is outside 0..{classes - 1}.")
        elif row[0] in labels:
            problems.append(f"{where}: {row[0]} is listed twice.")
        else:
            labels[row[0]] = int(row[2])
    if not labels and len(problems) == before:
        problems.append(f"{path}: lists no files.")
    return labels


def _speakers(path: Path, files: set[str], problems: list[str]) -> dict[str, str]:
    """Return the speaker of every file, or nothing where there is no such list."""
    if not path.exists():
        return {}
    speakers: dict[str, str] = {}
    for line, row in _rows(path, problems):
        if len(row) != 2 or not row[1]:
            problems.append(f"{path}, line {line}: {','.join(row)!r} is not `file,speaker`.")
        elif row[0] not in files:
            problems.append(f"{path}, line {line}: {row[0]} is not in {LABELS}.")
        else:
            speakers[row[0]] = row[1]
    if not problems:
        problems += [f"{path}: no speaker for {name}." for name in sorted(files - set(speakers))]
    return speakers


def _plain(name: str) -> bool:
    """Tell whether a name is that of a file in the same folder, on any platform."""
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0")
