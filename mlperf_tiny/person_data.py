"""Photographs with and without persons, 96x96, in the layout of `vw_coco2014_96`: a folder of images per class.

A `labels.csv` (file,label,source,split) beside the class folders may say where each image comes from and which are
validation; an image that it does not name, or every one without it, is validation in one of ten cases, by its name.
The test is MLPerf Tiny's `vww01`: a folder in the same layout, or the benchmark's `y_labels.csv`, which names a
thousand images of `vw_coco2014_96`. Whatever photograph is in the test is in no other split.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlperf_tiny import download, image_folder, person_lists
from mlperf_tiny.task import Data, DataError, Split, provenance

SHAPE = (96, 96, 3)
CLASSES = ("non_person", "person")
CORPORA = ("vw_coco2014_96", "vww_train_96")
TEST_SET = "vww01"
LABELS, TEST_LABELS = "labels.csv", "y_labels.csv"
# Sources of photographs that are like the test's. Where labels.csv names them they are few, so all of them are
# validation, and thresholds are chosen on them alone: exits that learnt from other photographs look better on others.
LIKE_TEST = ("coco_train2017", "coco_val2017")
URL = "https://www.silabs.com/public/files/github/machine_learning/benchmarks/datasets/vw_coco2014_96.tar.gz"
TEST_URL = "https://github.com/mlcommons/tiny/blob/master/benchmark/evaluation/datasets/vww01/y_labels.csv"
HINT = (
    f"Expected in one folder: {CORPORA[0]}/ with person/ and non_person/ (unpacked from {URL}) and {TEST_SET}/ "
    f"with {TEST_LABELS} ({TEST_URL}) or with person/ and non_person/ of its own."
)
# Street fashion shows persons only: what tells it apart from animals is not the person.
SOURCE_WEIGHTS = (("ccp", 0.3),)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Photo:
    path: Path
    label: int
    source: str
    validation: bool = False


@dataclass(frozen=True)
class _Places:
    """Where the images are: `corpus` None where there is none, `test` the folder to judge on."""

    corpus: Path | None
    test: Path


def load(folder: Path, progress: Progress | None = None, training: bool = True) -> Data:
    """Return the splits below a folder: pixels as shares of 255, float32 `(n, 96, 96, 3)`.

    The folder holds corpus and test, or is one of them with the other beside it. Without `training` only the test is
    read, and the folder may be any with person/ and non_person/. Raises `DataError` with all problems.
    """
    places = _locate(folder, training)
    judged = _judged(places)
    photos = _photos(places.corpus, judged) if training and places.corpus else []
    official = places.test.name == TEST_SET
    kinds = {
        "train": ("photographs", [p for p in photos if not p.validation]),
        "validation": ("held-out photographs", [p for p in photos if p.validation]),
        "test": (f"MLPerf Tiny's {TEST_SET}" if official else f"photographs of {places.test.name}", judged),
    }
    read: list[Split] = []
    sources: dict[str, str] = {}
    problems: list[str] = []
    before, total = 0, len(judged) + len(photos)
    for name, (about, members) in kinds.items():
        try:
            pixels = image_folder.read([p.path for p in members], SHAPE, _after(progress, before, total))
        except DataError as error:
            problems += error.problems
        else:
            read.append(_split(name, about, members, pixels))
            counts = Counter(sorted(p.source for p in members))
            sources |= {name: provenance(counts, pixels, read[-1].y)} if members else {}
        before += len(members)
    if problems:
        raise DataError(problems, "Remove or replace these files.")
    train, validation, test = read
    return Data(train, validation, test, sources, calibration=_like_test(validation), source_weights=SOURCE_WEIGHTS)


def _like_test(validation: Split) -> tuple[str, ...]:
    """The sources of validation that are like the test; empty for all of them where none, or one class, is."""
    found = validation.of(LIKE_TEST)
    sources = sorted(set(found.source.tolist())) if found.source is not None else []
    return tuple(sources) if len(set(found.y.tolist())) == len(CLASSES) else ()


def fetch(progress: Progress | None = None) -> Path:
    """Return the first of the usual places that has the data; raises `DataError` with how to get them."""
    return download.find(_locate, HINT)


def held_out(name: str) -> bool:
    """Tell whether an image that nobody assigned is validation: one in ten, by its name."""
    return int(hashlib.sha1(name.encode(errors="surrogateescape")).hexdigest()[:8], 16) % 10 == 0


def _locate(folder: Path, training: bool = True) -> _Places:
    """Return the folders of images in a folder, or beside it where it is itself one of them; raises `DataError`."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.", HINT)
    own = folder.absolute()
    if not training and own.name not in CORPORA and all((folder / name).is_dir() for name in CLASSES):
        return _Places(None, folder)
    around = own.parent if own.name in (*CORPORA, TEST_SET) else folder
    corpus = next((around / name for name in CORPORA if (around / name).is_dir()), None)
    test = around / TEST_SET
    separate = any((test / name).is_dir() for name in CLASSES)
    problems = []
    if training and corpus is None:
        problems.append(f"{around}: no {' or '.join(CORPORA)}.")
    if not separate and not (test / TEST_LABELS).exists():
        problems.append(f"{around}: no {TEST_SET} with {' and '.join(CLASSES)}, nor with {TEST_LABELS}.")
    elif not separate and corpus is None and not training:
        problems.append(f"{around}: no {CORPORA[0]}, of which {TEST_SET}/{TEST_LABELS} names images.")
    if problems:
        raise DataError(problems, HINT)
    return _Places(corpus, test)


def _judged(places: _Places) -> list[_Photo]:
    """The test's images: a folder's own, or those of the corpus that the benchmark's list names."""
    if places.corpus and not any((places.test / name).is_dir() for name in CLASSES):
        images = person_lists.test_list(places.test / TEST_LABELS, image_folder.listed(places.corpus, CLASSES))
    else:
        images = image_folder.listed(places.test, CLASSES)
    return [_Photo(path, label, places.test.name) for path, label in images]


def _photos(corpus: Path, judged: Sequence[_Photo]) -> list[_Photo]:
    """The corpus' images that are not in the test, with what its labels.csv says of them."""
    images = image_folder.listed(corpus, CLASSES)
    inside = [(path.relative_to(corpus).as_posix(), label) for path, label in images]
    said = person_lists.corpus_list(corpus / LABELS, inside) if (corpus / LABELS).exists() else {}
    # vww01 was taken from vw_coco2014_96; the numbers of photographs in COCO are the same in all of its editions.
    tested = {person_lists.number(photo.path.name) for photo in judged} - {""}
    photos = []
    for (path, label), (name, _) in zip(images, inside, strict=True):
        if person_lists.number(path.name) not in tested:
            about = said.get(name) or person_lists.Said(corpus.name, held_out(path.name))
            photos.append(_Photo(path, label, about.source, about.validation or about.source in LIKE_TEST))
    problems = [
        f"{corpus}: no image of {name} is for {what}."
        for what, validation in (("training", False), ("validation", True))
        for label, name in enumerate(CLASSES)
        if not any(p.label == label and p.validation == validation for p in photos)
    ]
    if problems:
        raise DataError(problems, f"Add images, or say in {LABELS} which are for validation, about a tenth of them.")
    return photos


def _split(name: str, about: str, photos: Sequence[_Photo], pixels: np.ndarray) -> Split:
    x = np.divide(pixels, np.float32(255), dtype=np.float32)
    y = np.array([p.label for p in photos], np.int32)
    return Split(name, about, x, y, np.array([p.source for p in photos], str))


def _after(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Progress of one split as progress of all of them."""
    return None if progress is None else lambda done, _: progress(before + done, total)
