"""Photographs with and without persons, 96x96, in the layout of `vw_coco2014_96`: a folder of images per class.

A `labels.csv` (file,label,source,split) beside the class folders may say where each image comes from and which are
validation; without it a tenth is, chosen by the file's name. The test is MLPerf Tiny's `vww01` in the same layout.
"""

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlperf_tiny import image_folder
from mlperf_tiny.task import Data, DataError, Split

SHAPE = (96, 96, 3)
CLASSES = ("non_person", "person")
CORPORA = ("vw_coco2014_96", "vww_train_96")
TEST_SET = "vww01"
LABELS = "labels.csv"
HINT = f"Expected: {' or '.join(f'{name}/' for name in CORPORA)} and {TEST_SET}/, each with person/ and non_person/."

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Photo:
    path: Path
    label: int
    source: str
    validation: bool


def load(folder: Path, progress: Progress | None = None, training: bool = True) -> Data:
    """Return the splits below a folder: pixels as shares of 255, float32 `(n, 96, 96, 3)`.

    Without `training` only the test is read. Raises `DataError` with all problems.
    """
    corpus = next((folder / name for name in CORPORA if (folder / name).is_dir()), None)
    test = folder if (folder / CLASSES[1]).is_dir() and not corpus else folder / TEST_SET
    problems = [f"{folder}: no {what}." for what, found in ((TEST_SET, test.is_dir()),) if not found]
    if training and corpus is None:
        problems.insert(0, f"{folder}: no {' or '.join(CORPORA)}.")
    if problems:
        raise DataError(problems, HINT)
    judged = [_Photo(path, label, TEST_SET, False) for path, label in image_folder.listed(test, CLASSES)]
    photos = _photos(corpus) if training and corpus else []
    total = len(judged) + len(photos)
    read: list[Split] = []
    kinds = {
        "train": ("photographs", [p for p in photos if not p.validation]),
        "validation": ("held-out photographs", [p for p in photos if p.validation]),
        "test": (f"MLPerf Tiny's {TEST_SET}" if test.name == TEST_SET else test.name, judged),
    }
    for name, (about, members) in kinds.items():
        read.append(_split(name, about, members, _after(progress, sum(map(len, read)), total)))
    train, validation, tested = read
    return Data(train, validation, tested, {split.name: _provenance(split) for split in read if len(split)})


def _photos(corpus: Path) -> list[_Photo]:
    """The corpus' images, with what its labels.csv says of them."""
    listed = image_folder.listed(corpus, CLASSES)
    known = _table(corpus / LABELS) if (corpus / LABELS).is_file() else {}
    photos = []
    for path, label in listed:
        source, validation = known.get(path.relative_to(corpus).as_posix(), (corpus.name, held_out(path.name)))
        photos.append(_Photo(path, label, source, validation))
    if not any(p.validation for p in photos):
        raise DataError(f"{corpus}: no image is validation.", f"Mark a tenth of them so in {LABELS}, or remove it.")
    return photos


def held_out(name: str) -> bool:
    """Tell whether an image that nobody assigned is validation: one in ten, by its name."""
    return int(hashlib.sha1(name.encode()).hexdigest()[:8], 16) % 10 == 0


def _table(path: Path) -> dict[str, tuple[str, bool]]:
    """Source and whether it is validation of each file in a labels.csv; raises `DataError`."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["file"]: (row["source"], row["split"] == "val") for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a table of file,label,source,split: {error}.", HINT) from error


def _split(name: str, about: str, photos: list[_Photo], progress: Progress | None) -> Split:
    pixels = image_folder.read([p.path for p in photos], SHAPE, progress)
    y = np.array([p.label for p in photos], np.int32)
    return Split(name, about, pixels.astype(np.float32) / 255, y, np.array([p.source for p in photos], str))


def _after(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Progress of one split as progress of all of them."""
    return None if progress is None else lambda done, _: progress(before + done, total)


def _provenance(split: Split) -> str:
    """How many of which source, with a hash of pixels and labels."""
    assert split.source is not None
    names, counts = np.unique(split.source, return_counts=True)
    digest = hashlib.sha256(np.rint(split.x * 255).astype(np.uint8).tobytes() + split.y.tobytes()).hexdigest()
    return ", ".join(f"{n:,} {name}" for name, n in zip(names, counts, strict=True)) + f"; sha256 {digest[:16]}"
