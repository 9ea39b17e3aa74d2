"""A user's own samples, in one folder per class: images, or recordings for a model of keyword spotting's features.

Layouts: `folder/<class>/…`, which is split here, or `folder/train|validation|test/<class>/…`; samples without labels
lie anywhere below a folder.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mlperf_tiny import front_end, image_folder, speech_commands
from mlperf_tiny.class_splits import HINT, SPLITS, below, located, shared_out
from mlperf_tiny.task import Data, DataError, Split, capped, provenance

PIXELS = {"0..255": (1.0, 0.0), "0..1": (255.0, 0.0), "-1..1": (127.5, -1.0)}  # divisor, then offset
WAV = (".wav",)
SUFFIXES = (*image_folder.SUFFIXES, *WAV)
_BLOCK = 256  # samples in memory at a time
UNLABELLED_HINT = "Expected: images or recordings as the model gets them, labelled or not, anywhere below the folder."

Progress = Callable[[int, int], None]


def load(
    folder: Path,
    shape: tuple[int, ...],
    classes: Sequence[str] | None = None,
    pixels: str = "0..255",
    progress: Progress | None = None,
    training: bool = True,
) -> tuple[tuple[str, ...], Data]:
    """Return the classes and the splits of a folder, `x` float32 `(n, *shape)`.

    `shape` is the model's input without the batch. Images become `(height, width, 1 or 3)`, squeezed to that size, in
    the range `pixels` says. Recordings, mono 16-bit wav at 16 kHz, become `(49, 10, 1)` by the front end of keyword
    spotting, cut or padded to one second; `pixels` does not matter. `classes` says which folders there must be and
    their order; None takes all, by name. Without `training` only the test is read and the others come back empty.
    Raises `DataError` with all problems.
    """
    if pixels not in PIXELS:
        raise DataError(f"Pixels in {pixels!r} are not supported.", f"Choose one of {', '.join(PIXELS)}.")
    names, given, samples = located(Path(folder), SUFFIXES, classes, training)
    sound = _is_sound(folder, [sample.path for sample in samples], shape)
    splits = shared_out(folder, names, samples, given, training)
    wanted = [(name, splits[name] if training or name == "test" else []) for name in SPLITS]
    before, total = 0, sum(len(members) for _, members in wanted)
    read: list[Split] = []
    sources: dict[str, str] = {}
    problems: list[str] = []
    hints: list[str] = []
    for name, members in wanted:
        paths, y = [m.path for m in members], np.array([m.label for m in members], np.int32)
        step = _after(progress, before, total)
        try:
            x = _features(paths, step) if sound else _images(paths, shape, pixels, step)
        except DataError as error:
            problems += error.problems
            hints.append(error.hint)
        else:
            read.append(Split(name, f"{name} samples of {folder.name or folder.absolute().name}", x, y))
            counts = dict(zip(names, np.bincount(y, minlength=len(names)).tolist(), strict=True))
            sources |= {name: provenance(counts, x, y)} if members else {}
        before += len(members)
    if problems:
        raise DataError(capped(problems), hints[0])
    train, validation, test = read
    return names, Data(train, validation, test, sources)


def unlabelled(
    folder: Path,
    shape: tuple[int, ...],
    pixels: str = "0..255",
    suffixes: Sequence[str] = SUFFIXES,
    progress: Progress | None = None,
) -> Iterator[np.ndarray]:
    """Yield all samples below a folder without a label, some at a time, as `load` reads them: float32 `(m, *shape)`.

    Whatever folders they lie in says nothing. Raises one `DataError` with all problems of the folder, or of the files.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.", UNLABELLED_HINT)
    paths, problems = below(folder, suffixes)
    if problems:
        raise DataError(capped(problems), UNLABELLED_HINT)
    sound, hint = _is_sound(folder, paths, shape), ""
    for start in range(0, len(paths), _BLOCK):
        block, step = paths[start : start + _BLOCK], _after(progress, start, len(paths))
        try:
            x = _features(block, step) if sound else _images(block, shape, pixels, step)
        except DataError as error:
            problems, hint = [*problems, *error.problems], error.hint
        if not problems:  # after the first one the others are only looked for
            yield x
    if problems:
        raise DataError(capped(problems), hint)


def _is_sound(folder: Path, paths: Sequence[Path], shape: tuple[int, ...]) -> bool:
    """Tell whether the files are recordings, not images; raises `DataError` where they do not fit the model's input."""
    sounds = [path for path in paths if path.suffix.lower() in WAV]
    if sounds and len(sounds) < len(paths):
        other = next(path for path in paths if path.suffix.lower() not in WAV)
        raise DataError(f"{folder} holds recordings ({sounds[0]}) and images ({other}).", "Keep one kind only.")
    takes = f"The model takes inputs of {' x '.join(map(str, shape))}"
    if sounds and tuple(shape) != front_end.SHAPE:
        features = " x ".join(map(str, front_end.SHAPE))
        hint = "Raw samples and other features are not supported: the input must be that of keyword spotting."
        raise DataError(f"{takes}; recordings become features of {features}.", hint)
    if not sounds and (len(shape) != 3 or shape[2] not in (1, 3) or min(shape) < 1):
        raise DataError(f"{takes}; images become height x width x 1 or 3.", HINT)
    return bool(sounds)


def _images(paths: Sequence[Path], shape: tuple[int, ...], pixels: str, progress: Progress | None) -> np.ndarray:
    height, width, channels = shape
    divisor, offset = PIXELS[pixels]
    x = image_folder.read(paths, (height, width, channels), progress).astype(np.float32)
    x /= np.float32(divisor)
    x += np.float32(offset)
    return x


def _features(paths: Sequence[Path], progress: Progress | None) -> np.ndarray:
    """Features of recordings, float32 `(n, 49, 10, 1)`; raises `DataError` with every file that is none."""
    x = np.zeros((len(paths), *front_end.SHAPE), np.float32)
    problems: list[str] = []
    for start in range(0, len(paths), _BLOCK):
        block = paths[start : start + _BLOCK]
        clips = np.zeros((len(block), front_end.SAMPLES), np.int16)
        for clip, path in zip(clips, block, strict=True):
            try:
                clip[:] = front_end.fit(speech_commands.read_wav(path))
            except DataError as error:
                problems += error.problems
        x[start : start + len(block)] = front_end.mfcc(clips)
        if progress:
            progress(start + len(block), len(paths))
    if problems:
        raise DataError(capped(problems), "Expected: mono 16-bit PCM at 16 kHz. Remove or replace these files.")
    return x


def _after(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Progress of one split as progress of all of them."""
    return None if progress is None else lambda done, _: progress(before + done, total)
