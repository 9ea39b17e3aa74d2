"""CIFAR-10 in its publisher's layout: python batches, read without running what a pickle may contain.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mlperf_tiny.task import Data, DataError, Split

SHAPE = (32, 32, 3)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = "cifar-10-batches-py"
TRAIN = tuple(f"data_batch_{k}" for k in range(1, 6))
TEST = "test_batch"
VALIDATION = 5_000  # of the 50,000; equally many of each class
SEED = 2207_06613
HINT = (
    f"Expected: {FOLDER}/ with {TRAIN[0]} to {TRAIN[-1]} and {TEST}, from https://www.cs.toronto.edu/~kriz/cifar.html."
)

Progress = Callable[[int, int], None]


def load(folder: Path, progress: Progress | None = None, training: bool = True) -> Data:
    """Return the splits below a folder: raw pixels 0 to 255, float32 `(n, 32, 32, 3)`.

    Validation is 5,000 of the training images, equally many of each class, the same in every run. Without `training`
    only the test is read. Raises `DataError` with all problems.
    """
    root = next((place for place in (folder, folder / FOLDER) if (place / TEST).is_file()), None)
    if root is None:
        raise DataError(f"{folder}: no {FOLDER}.", HINT)
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
    test = Split("test", "official test set" if len(y) == 10_000 else f"{len(y):,} images of {TEST}", _pixels(x), y)
    if training:
        x, y = (np.concatenate([found[name][k] for name in TRAIN]) for k in (0, 1))
        held = held_out(y)
    else:
        x, y = x[:0], y[:0]
        held = np.zeros(0, bool)
    train = Split("train", "training images", _pixels(x[~held]), y[~held])
    validation = Split("validation", "held-out training images", _pixels(x[held]), y[held])
    sources = {split.name: _provenance(split) for split in (train, validation, test) if len(split)}
    return Data(train, validation, test, sources)


def held_out(y: np.ndarray) -> np.ndarray:
    """Which training images are validation: bool `(n,)`, a tenth of each class of labels `y`."""
    rng = np.random.default_rng(SEED)
    held = np.zeros(len(y), bool)
    for label in range(len(CLASSES)):
        rows = np.flatnonzero(y == label)
        held[rng.permutation(rows)[: round(len(rows) * VALIDATION / 50_000)]] = True
    return held


def _pixels(x: np.ndarray) -> np.ndarray:
    """Planes uint8 `(n, 3072)` as float32 `(n, 32, 32, 3)`."""
    return np.ascontiguousarray(x.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.float32)


def _provenance(split: Split) -> str:
    digest = hashlib.sha256(split.x.astype(np.uint8).tobytes() + split.y.tobytes()).hexdigest()
    return f"{len(split):,} CIFAR-10; sha256 {digest[:16]}"


class _Batch(pickle.Unpickler):
    """Reads the few types a batch is made of and nothing else: a pickle can otherwise run anything."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the planes, uint8 `(n, 3072)`, and labels, int32 `(n,)`, of one batch; raises `DataError`."""
    try:
        with path.open("rb") as file:
            batch = _Batch(file, encoding="bytes").load()
        x, y = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}.") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{path} is not a batch of CIFAR-10: {str(error)[:200] or type(error).__name__}.") from error
    if x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != 3072 or y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise DataError(f"{path} does not hold images of 3,072 bytes with a label each.")
    if len(y) == 0 or not 0 <= y.min() <= y.max() < len(CLASSES):
        raise DataError(f"{path} has labels that are not 0 to 9, or none.")
    return x, y.astype(np.int32)
