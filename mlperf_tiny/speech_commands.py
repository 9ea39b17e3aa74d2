"""Readers of Speech Commands as its publisher lays it out: word folders of wav, lists, background recordings.

Source: P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv 1804.03209.
"""

import os
import wave
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlperf_tiny.front_end import SAMPLE_RATE, fit
from mlperf_tiny.lists import text
from mlperf_tiny.task import DataError, capped

COMMANDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
SILENCE, UNKNOWN = "_silence_", "_unknown_"
BACKGROUND = "_background_noise_"
VALIDATION_LIST, TESTING_LIST = "validation_list.txt", "testing_list.txt"
TEST_SET = "speech_commands_test_set_v0.02"
CORPORA = ("speech_commands_v0.02", "speech_commands_v0.01")

_BLOCK = 512  # clips in memory at a time while features are made
_WAV_HINT = "Expected: mono 16-bit PCM at 16 kHz, as the archives of Speech Commands hold it; unpack them again."


@dataclass(frozen=True)
class Clip:
    """One recording: its speaker is the hash in the file's name, empty where there is none."""

    path: Path
    word: str
    speaker: str

    @property
    def name(self) -> str:
        """The path inside the corpus, with forward slashes on every platform."""
        return f"{self.path.parent.name}/{self.path.name}"


@dataclass(frozen=True)
class Corpus:
    """A speech_commands folder, split by its own lists; everything in them is sorted by name."""

    root: Path
    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    testing: tuple[Clip, ...]
    background: tuple[Path, ...]


def read_wav(path: Path) -> np.ndarray:
    """Return the samples of a mono 16-bit PCM file at 16 kHz, int16 `(n,)`, n > 0; raises `DataError`."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(f"{path}: not a regular file.", _WAV_HINT)
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, count = file.getparams()[:4]
            if (channels, width, rate) != (1, 2, SAMPLE_RATE):
                raise DataError(f"{path}: {channels} channel(s), {8 * width} bit, {rate} Hz.", _WAV_HINT)
            # A damaged header may promise gigabytes: never ask for more than the file has.
            data = file.readframes(min(count, path.stat().st_size))
    except (OSError, EOFError, wave.Error, ValueError, RuntimeError, ArithmeticError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "the file ends too early"
        raise DataError(f"{path}: not a readable wav file ({reason}).", _WAV_HINT) from None
    if len(data) < 2 * count:
        raise DataError(f"{path}: cut off, {len(data) // 2:,} of {count:,} samples are there.", _WAV_HINT)
    if count == 0:
        raise DataError(f"{path}: holds no samples.", _WAV_HINT)
    return np.frombuffer(data, "<i2")


def read_all(paths: Sequence[Path]) -> list[np.ndarray]:
    """Return the samples of every file; raises one `DataError` that names all unusable ones."""
    recordings: list[np.ndarray] = []
    problems: list[str] = []
    for path in paths:
        try:
            recordings.append(read_wav(path))
        except DataError as error:
            problems.extend(error.problems)
    if problems:
        raise DataError(capped(problems), _WAV_HINT)
    return recordings


def read_blocks(clips: Sequence[Clip]) -> Iterator[tuple[Sequence[Clip], np.ndarray]]:
    """Yield clips with their samples, int16 `(m, 16000)`, cut or zero-padded to one second, a block at a time.

    Every file is tried before the `DataError` that names all unusable ones, however many, is raised at the end.
    """
    problems: list[str] = []
    for start in range(0, len(clips), _BLOCK):
        block, samples = clips[start : start + _BLOCK], []
        for clip in block:
            try:
                samples.append(fit(read_wav(clip.path)))
            except DataError as error:
                problems.extend(error.problems)
        if not problems:
            yield block, np.stack(samples)
    if problems:
        raise DataError(problems, _WAV_HINT)


def subfolders(folder: Path) -> list[Path]:
    """Return the readable folders in a folder that are not hidden, sorted by name; raises `DataError`."""
    try:
        children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror or error}.") from None
    return [child for child in children if os.access(child, os.R_OK | os.X_OK) and child.is_dir()]


def find_corpus(folders: Iterable[Path]) -> Path | None:
    """Return the newest speech_commands corpus among the folders, whatever its name if it holds the lists."""
    candidates = [f for f in folders if f.name in CORPORA or (f / VALIDATION_LIST).is_file()]
    rank = {name: k for k, name in enumerate(CORPORA)}
    return min(candidates, key=lambda f: (rank.get(f.name, len(rank)), f.name), default=None)


def find_test_set(folders: Iterable[Path]) -> Path | None:
    """Return the official test set among the folders: it has folders of silence and unknown words, and no lists."""
    candidates = [f for f in folders if (f / SILENCE).is_dir() and (f / UNKNOWN).is_dir()]
    return min(candidates, key=lambda f: (f.name != TEST_SET, f.name), default=None)


def read_corpus(root: Path) -> Corpus:
    """Return the listing of a speech_commands folder; what neither list names is for training.

    Raises `DataError` for missing lists, no clips, no background recordings, and listed clips that are missing.
    """
    problems: list[str] = []
    lists: list[set[str]] = []
    for name in (VALIDATION_LIST, TESTING_LIST):
        try:
            lists.append({line.strip() for line in text(root / name).splitlines() if line.strip()})
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{root / name} is missing or unreadable ({getattr(error, 'strerror', None) or error}).")
            lists.append(set())
    clips = {clip.name: clip for clip in _clips(root)}
    background = tuple(sorted((root / BACKGROUND).glob("*.wav")))
    if not clips:
        problems.append(f"{root}: no word folder with wav files.")
    if not background:
        problems.append(f"{root / BACKGROUND}: no background recordings, silence is cut from them.")
    validation, testing = lists
    for name, listed in zip((VALIDATION_LIST, TESTING_LIST), lists, strict=True):
        problems += [f"{root / name} names {clip}, which is missing." for clip in sorted(listed - set(clips))]
    problems += [f"{name} is in both lists of {root}." for name in sorted(validation & testing)]
    if problems:
        raise DataError(capped(problems), "Unpack the archive of Speech Commands again.")
    return Corpus(
        root,
        tuple(clip for name, clip in clips.items() if name not in validation | testing),
        tuple(clip for name, clip in clips.items() if name in validation),
        tuple(clip for name, clip in clips.items() if name in testing),
        background,
    )


def read_test_set(root: Path) -> tuple[Clip, ...]:
    """Return the clips of the official test set, sorted by name; raises `DataError` for labels without clips."""
    clips = tuple(_clips(root))
    missing = sorted({*COMMANDS, SILENCE, UNKNOWN} - {clip.word for clip in clips})
    if missing:
        raise DataError([f"{root / name}: no wav files." for name in missing], "Unpack the test set's archive again.")
    return clips


def _clips(root: Path) -> Iterator[Clip]:
    """Yield the clips of all word folders, sorted by name."""
    for folder in subfolders(root):
        for path in sorted(folder.glob("[!.]*.wav")):
            if folder.name != BACKGROUND:
                yield Clip(path, folder.name, speaker(path.name))


def speaker(name: str) -> str:
    """Return the speaker of a file called `<speaker>_nohash_<n>.wav`, empty for other names."""
    head, mark, _ = name.partition("_nohash_")
    return head if mark else ""
