"""CIFAR-10 in its publisher's layout: python batches, read without running what a pickle may contain.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlperf_tiny import download, plain_pickle
from mlperf_tiny.task import Data, DataError, Split, provenance

SHAPE = (32, 32, 3)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = "cifar-10-batches-py"
TRAIN = tuple(f"data_batch_{k}" for k in range(1, 6))
TEST = "test_batch"
VALIDATION = 5_000  # of the 50,000; equally many of each class
SEED = 2207_06613
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
HINT = f"Expected: {FOLDER}/ with {TRAIN[0]} to {TRAIN[-1]} and {TEST}, unpacked from {URL}."
_BYTES = 48_000_000  # the publisher's have 31 million; Python 3 may write the same images in half as many again

Progress = Callable[[int, int], None]


def load(folder: Path, progress: Progress | None = None, training: bool = True) -> Data:
    """Return the splits in a folder or in its `cifar-10-batches-py`: raw pixels 0 to 255, float32 `(n, 32, 32, 3)`.

    Validation is a tenth of the training images, 5,000, equally many of each class, the same in every run. Without
    `training` only the test is read. Raises `DataError` with all problems.
    """
    root = _locate(folder)
    names = (*(TRAIN if training else ()), TEST)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    problems: list[str] = []
    for done, name in enumerate(names, 1):
        try:
            found[name] = _batch(root / name)
        except DataError as error:
            problems += error.problems
        if progress:
            progress(done, len(names))
    if problems:
        raise DataError(problems, HINT)
    x, y = found[TEST]
    test = _split("test", "official test set" if len(y) == 10_000 else f"{len(y):,} images of {TEST}", x, y)
    x, y = (np.concatenate([found[name][k] for name in TRAIN]) if training else found[TEST][k][:0] for k in (0, 1))
    held = held_out(y)
    train = _split("train", "training images", x[~held], y[~held])
    validation = _split("validation", "held-out training images", x[held], y[held])
    if training and not len(validation):
        raise DataError(f"{root}: {len(y):,} training images are too few to hold some out for validation.", HINT)
    sources = {split.name: _told(split) for split in (train, validation, test) if len(split)}
    return Data(train, validation, test, sources)


def fetch(progress: Progress | None = None) -> Path:
    """Return the first of the usual places that has the data; raises `DataError` with how to get them."""
    return download.find(_complete, HINT)


def held_out(y: np.ndarray) -> np.ndarray:
    """Which training images are validation: bool `(n,)`, a tenth of each class of labels `y`."""
    rng = np.random.default_rng(SEED)
    held = np.zeros(len(y), bool)
    for label in range(len(CLASSES)):
        rows = np.flatnonzero(y == label)
        held[rng.permutation(rows)[: round(len(rows) * VALIDATION / 50_000)]] = True
    return held


def _locate(folder: Path) -> Path:
    """Return the folder of the batches, this one or one in it; raises `DataError`."""
    for place in (folder, folder / FOLDER):
        if (place.name == FOLDER and place.is_dir()) or (place / TEST).is_file():
            return place
    raise DataError(f"{folder}: no {FOLDER}." if folder.is_dir() else f"{folder} is not a folder.", HINT)


def _complete(folder: Path) -> None:
    """Raise `DataError` where a folder does not have every batch."""
    root = _locate(folder)
    missing = [name for name in (*TRAIN, TEST) if not (root / name).is_file()]
    if missing:
        raise DataError(f"{root}: no {' and no '.join(missing)}.", HINT)


def _split(name: str, about: str, planes: np.ndarray, y: np.ndarray) -> Split:
    return Split(name, about, _pixels(planes), y, np.full(len(y), "cifar10"))


def _pixels(x: np.ndarray) -> np.ndarray:
    """Planes uint8 `(n, 3072)` as float32 `(n, 32, 32, 3)`."""
    return np.ascontiguousarray(x.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.float32)


def _told(split: Split) -> str:
    return provenance({"CIFAR-10": len(split)}, split.x.astype(np.uint8), split.y)


def _batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the planes, uint8 `(n, 3072)`, and labels, int32 `(n,)`, of one batch; raises `DataError`."""
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is not a regular file.")
        size = path.stat().st_size
        if size > _BYTES:
            raise DataError(f"{path} has {size:,} bytes; a batch of CIFAR-10 has 31 million.")
        batch = plain_pickle.read(path.read_bytes())
        missing = [key.decode() for key in (b"data", b"labels") if key not in batch]
        if missing:
            raise DataError(f"{path} is not a batch of CIFAR-10: it has no {' and no '.join(missing)}.")
        planes, labels = plain_pickle.uint8_array(batch[b"data"]), batch[b"labels"]
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}.") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{path} is not a batch of CIFAR-10: {str(error)[:200] or type(error).__name__}.") from error
    if planes.ndim != 2 or planes.shape[1] != 3072 or not isinstance(labels, list) or len(labels) != len(planes):
        raise DataError(f"{path} does not hold images of 3,072 bytes with a label each.")
    if not labels or not all(type(label) is int and 0 <= label < len(CLASSES) for label in labels):
        raise DataError(f"{path} has labels that are not 0 to 9, or none.")
    return planes, np.array(labels, np.int32)
