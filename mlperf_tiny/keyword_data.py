"""The splits of keyword spotting, from Speech Commands' official layout and from MLPerf Tiny's runner files.

Protocol: where the official test set comes in two parts split by speaker (`kws_part_a`, `kws_part_b` in the runner's
layout), part A joins training, a speaker-disjoint fold of it joins validation, and part B alone is the test. Otherwise
the test set folder is the test. Everything else is the corpus' own split by its lists. Where nothing is trained the
test alone is read, and any folder of runner files will do.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlperf_tiny import class_folder, download, feature_cache, front_end, runner_files, speech_commands
from mlperf_tiny.audio_features import FeatureMaker
from mlperf_tiny.runner_files import RunnerSet
from mlperf_tiny.speech_commands import COMMANDS, SILENCE, Clip, Corpus
from mlperf_tiny.task import Data, DataError, Split, provenance

# In the order of the official runner's labels.
CLASSES = (*(word.capitalize() for word in COMMANDS), "Silence", "Unknown")

PART_A, PART_B = "kws_part_a", "kws_part_b"
OFFICIAL_RUNNER = "kws01"
BACKGROUND_SOURCE = "background"
AUGMENTED = " augmented"  # ends the source of a copy made from audio

SEED = 2207_06613
COPIES = 2
PART_COPIES = 4  # times as many copies of the clips behind part A: few, and the only ones of some words
SILENCE_SHARE = 0.1  # silence clips per other clip, as in the benchmark's training set
# Chosen on validation: part A has clean labels and all the words, v0.01 has most of the clips.
SOURCE_WEIGHTS = ((PART_A, 4.0), (PART_A + AUGMENTED, 2.0), ("speech_commands_v0.01" + AUGMENTED, 0.3))
FOLD_PERCENT = 20  # of part A's speakers, held out for validation; by their hashes, 25 of the 93 come out

OFFICIAL_TEST_CLIPS = 4890

# How the test split is described, by the runner folder that it is; others are described by their names.
_DESCRIBED = {
    PART_B: "speaker-disjoint part of the official test set",
    OFFICIAL_RUNNER: f"MLPerf Tiny's {OFFICIAL_RUNNER} inputs",
}


@dataclass(frozen=True)
class _Samples:
    """Labelled int8 features `(n, 49, 10)` on the runner's grid, with their origin and speaker, empty if none."""

    x: np.ndarray
    y: np.ndarray
    source: np.ndarray
    speaker: np.ndarray

    def rows(self, chosen: np.ndarray | slice) -> "_Samples":
        """Some of them."""
        return _Samples(self.x[chosen], self.y[chosen], self.source[chosen], self.speaker[chosen])


@dataclass(frozen=True)
class _Places:
    """The folders that hold data; the two parts of the test set come together or not at all."""

    corpus: Path | None
    test_set: Path | None
    parts: tuple[Path, Path] | None


@dataclass(frozen=True)
class _Found:
    """What lies in those folders."""

    corpus: Corpus | None
    test_set: tuple[Clip, ...]
    parts: tuple[RunnerSet, RunnerSet] | None


def load(
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    copies: int = COPIES,
    cache: Path | None = None,
    seed: int = SEED,
    training: bool = True,
) -> Data:
    """Return the splits found below a folder; features are float32 `(n, 49, 10, 1)` on the runner's int8 grid.

    Training holds every clip once as it is and `copies` times augmented on its audio (source ends in " augmented"),
    and silence cut from the background recordings; equal seeds give equal samples. Features are kept in `cache`, by
    default `features` in the user's cache folder. Without `training` only the test is looked for and made: the other
    two splits are empty, and runner files are enough. Raises `DataError` with all problems.
    """
    if copies < 0:
        raise DataError(f"{copies} augmented copies of each clip: there cannot be fewer than 0.")
    features = feature_cache.cache_folder() / "features" if cache is None else cache
    if not training:
        return _test_only(_locate_test(Path(folder)), features, seed, progress)
    found = _read(_locate(Path(folder)))
    corpus = found.corpus
    maker = FeatureMaker(
        features,
        seed,
        corpus.background if corpus else (),
        progress,
        _expected(found, copies),
    )
    train: list[_Samples] = []
    validation: list[_Samples] = []
    if corpus:
        name = corpus.root.name
        train += [_clips(maker, corpus.train, name, copies), _silence(maker, len(corpus.train) * (1 + copies))]
        validation.append(_clips(maker, corpus.validation, name))
    if found.parts:
        held_out, joined, test = _split_parts(found.parts)
        if copies and found.test_set:
            train.append(_audio_of(maker, found.test_set, joined, (held_out, test), copies * PART_COPIES))
        train.append(joined)
        validation.append(held_out)
        about = _DESCRIBED[PART_B]
    else:
        validation.append(_silence(maker, len(corpus.validation) if corpus else 0, held_out=True))
        test = _clips(maker, found.test_set, speech_commands.TEST_SET)
        about = _about(found.test_set)
    maker.finish()
    kinds = {"train": train, "validation": validation, "test": [test]}
    return Data(
        _split("train", "training clips with augmented copies", train),
        _split("validation", "validation clips", validation),
        _split("test", about, [test]),
        sources={name: _told(samples) for name, samples in kinds.items()},
        # Thresholds that the other clips would allow lose twice as much on these, which are like the test.
        calibration=(PART_A,) if found.parts else (),
        source_weights=SOURCE_WEIGHTS if found.parts else (),
    )


def fetch(progress: Callable[[int, int], None] | None = None) -> Path:
    """Return a folder for `load`: found in the usual places, or downloaded; raises `DataError`."""
    try:
        return download.find(_locate, download.HINT)
    except DataError:
        return download.obtain(progress=progress)


def unlabelled(folder: Path, progress: Callable[[int, int], None] | None = None) -> Iterator[np.ndarray]:
    """Yield the features of all recordings below a folder, some at a time: float32 `(m, 49, 10, 1)`, on the same grid.

    Raises `DataError` with all problems.
    """
    for x in class_folder.unlabelled(folder, front_end.SHAPE, suffixes=class_folder.WAV, progress=progress):
        yield front_end.dequantize(front_end.quantize(x))


def in_fold(speaker: str) -> bool:
    """Tell whether a speaker of part A is held out for validation."""
    # The first eight digits decided between the parts A and B; the next eight are independent of them.
    return int(hashlib.sha1(speaker.encode()).hexdigest()[8:16], 16) % 100 < FOLD_PERCENT


def label(word: str) -> int:
    """Return the class of a word folder; whatever is neither a command nor silence is unknown."""
    if word in COMMANDS:
        return COMMANDS.index(word)
    return len(COMMANDS) if word == SILENCE else len(COMMANDS) + 1


def _folders(folder: Path) -> tuple[list[Path], dict[str, Path]]:
    """Return the folders in a folder, or beside it where it is itself one of those looked for, and runner folders."""
    children = speech_commands.subfolders(folder)
    own = speech_commands.find_corpus([folder]) or speech_commands.find_test_set([folder])
    if own or folder.name == "mlperf_tiny":
        folder = folder.absolute().parent
        children = speech_commands.subfolders(folder)
    runner = folder / "mlperf_tiny"
    return children, runner_files.find((*children, *(speech_commands.subfolders(runner) if runner.is_dir() else ())))


def _locate(folder: Path) -> _Places:
    """Return the data for training and judging below a folder or beside it; raises `DataError`."""
    children, sets = _folders(folder)
    corpus, test_set = speech_commands.find_corpus(children), speech_commands.find_test_set(children)
    parts = (sets[PART_A], sets[PART_B]) if PART_A in sets and PART_B in sets else None
    problems = []
    if not corpus and not parts:
        problems.append(f"{folder}: no training clips ({' or '.join(speech_commands.CORPORA)}).")
    if not test_set and not parts:
        problems.append(f"{folder}: no test set ({speech_commands.TEST_SET}, or mlperf_tiny/{PART_A} and {PART_B}).")
    if problems:
        raise DataError(problems, download.HINT)
    return _Places(corpus, test_set, parts)


def _locate_test(folder: Path) -> Path:
    """Return the one folder to judge on, of runner files or of the official test set; raises `DataError`."""
    if (folder / runner_files.LABELS).exists():
        return folder
    children, sets = _folders(folder)
    test_set = speech_commands.find_test_set(children)
    chosen = sets.get(PART_B) or test_set or sets.get(OFFICIAL_RUNNER)
    if chosen:
        return chosen
    if len(sets) > 1:
        raise DataError(f"{folder}: several folders of runner files ({', '.join(sets)}).", "Name one of them.")
    if not sets:
        raise DataError(
            f"{folder}: nothing to judge on ({speech_commands.TEST_SET}, or runner files with {runner_files.LABELS}).",
            download.HINT,
        )
    return next(iter(sets.values()))


def _test_only(folder: Path, cache: Path, seed: int, progress: Callable[[int, int], None] | None) -> Data:
    """Return a test split of one folder, between two empty ones; no clips for training are read."""
    if (folder / runner_files.LABELS).exists():
        part = runner_files.read(folder, int(np.prod(front_end.SHAPE)), len(CLASSES))
        test, about = _rows(part, np.ones(len(part), bool)), _DESCRIBED.get(part.name, part.name)
    else:
        clips = speech_commands.read_test_set(folder)
        maker = FeatureMaker(cache, seed, (), progress, len(clips))
        test, about = _clips(maker, clips, speech_commands.TEST_SET), _about(clips)
        maker.finish()
    split = _split("test", about, [test])
    none = split.x[:0], split.y[:0], np.array([], str)
    train, validation = (Split(name, "not read, nothing is trained", *none) for name in ("train", "validation"))
    return Data(train, validation, split, sources={"test": _told([test])})


def _about(clips: Sequence[Clip]) -> str:
    """Return what to call a test on the test set's folder."""
    complete = len(clips) == OFFICIAL_TEST_CLIPS
    return "official test set" if complete else f"{len(clips):,} clips of the official test set"


def _read(places: _Places) -> _Found:
    """Read the listings and the runner's files; raises one `DataError` for the problems of all of them."""
    errors: list[DataError] = []
    size = int(np.prod(front_end.SHAPE))
    listed: Corpus | None = None
    clips: tuple[Clip, ...] = ()
    sets: list[RunnerSet] = []
    if places.corpus:
        try:
            listed = speech_commands.read_corpus(places.corpus)
        except DataError as error:
            errors.append(error)
    if places.test_set:
        try:
            clips = speech_commands.read_test_set(places.test_set)
        except DataError as error:
            errors.append(error)
    for part in places.parts or ():
        try:
            sets.append(runner_files.read(part, size, len(CLASSES)))
        except DataError as error:
            errors.append(error)
    if errors:
        hints = dict.fromkeys(error.hint for error in errors)
        raise DataError([problem for error in errors for problem in error.problems], " ".join(hints))
    return _Found(listed, clips, (sets[0], sets[1]) if places.parts else None)


def _expected(found: _Found, copies: int) -> int:
    """Return how many features will be made at most."""
    total = len(found.test_set) * (1 + (copies * PART_COPIES if found.parts else 0))
    if found.corpus:
        total += round(len(found.corpus.train) * (1 + copies) * (1 + SILENCE_SHARE))
        total += round(len(found.corpus.validation) * (1 + SILENCE_SHARE))
    return total


def _clips(maker: FeatureMaker, clips: Sequence[Clip], source: str, copies: int = 0) -> _Samples:
    """Return the samples of clips, first as they are and then copy by copy."""
    y = np.array([label(clip.word) for clip in clips], np.int32)
    sources = np.repeat([source, *[source + AUGMENTED] * copies], len(clips))
    speakers = np.tile(np.array([clip.speaker for clip in clips], str), 1 + copies)
    return _Samples(maker.clips(clips, range(1 + copies)), np.tile(y, 1 + copies), sources, speakers)


def _silence(maker: FeatureMaker, clips: int, held_out: bool = False) -> _Samples:
    """Return samples of silence, in proportion to a number of clips."""
    count = round(SILENCE_SHARE * clips)
    y = np.full(count, label(SILENCE), np.int32)
    return _Samples(maker.silence(count, held_out), y, np.full(count, BACKGROUND_SOURCE), np.full(count, ""))


def _split_parts(parts: tuple[RunnerSet, RunnerSet]) -> tuple[_Samples, _Samples, _Samples]:
    """Return part A's fold for validation, the rest of part A, and part B."""
    problems = [f"{part.name}: no {runner_files.SPEAKERS}." for part in parts if not all(part.speakers)]
    common = sorted(set(parts[0].speakers) & set(parts[1].speakers) - {""})
    problems += [f"Speaker {speaker} is in {parts[0].name} and in {parts[1].name}." for speaker in common[:5]]
    if problems:
        raise DataError(problems, "The two parts of the test set must have no speaker in common.")
    fold = np.array([in_fold(speaker) for speaker in parts[0].speakers])
    return _rows(parts[0], fold), _rows(parts[0], ~fold), _rows(parts[1], np.ones(len(parts[1]), bool))


def _rows(part: RunnerSet, rows: np.ndarray) -> _Samples:
    """Return the chosen rows of a runner's folder."""
    x = part.x[rows].reshape(-1, *front_end.SHAPE[:2])
    return _Samples(x, part.y[rows], np.full(len(x), part.name), np.array(part.speakers, str)[rows])


def _audio_of(
    maker: FeatureMaker, clips: Sequence[Clip], wanted: _Samples, barred: tuple[_Samples, ...], copies: int
) -> _Samples:
    """Return augmented copies of the clips whose features are among the wanted ones and not among the barred ones.

    The runner's files hold features only and do not say which recordings they were made from. Equal inputs do: the
    front end is exact enough to recognise a clip by all its 490 values.
    """
    known = {row.tobytes(): k for k, row in enumerate(wanted.x)}
    for samples in barred:
        for row in samples.x:
            known.pop(row.tobytes(), None)
    rows = [known.get(row.tobytes(), -1) for row in maker.clips(clips)]
    # The clips of a test set are not named after their speakers; the runner's rows are.
    chosen = [
        replace(clip, speaker=str(wanted.speaker[row]))
        for clip, row in zip(clips, rows, strict=True)
        if row >= 0 and label(clip.word) == wanted.y[row]
    ]
    kept = _clips(maker, chosen, wanted.source[0] if len(wanted.source) else "", copies)
    return kept.rows(slice(len(chosen), None))  # the plain clips are in the wanted samples already


def _split(name: str, description: str, samples: Sequence[_Samples]) -> Split:
    """Return one split of several kinds of samples; raises `DataError` where there is none."""
    y = np.concatenate([part.y for part in samples])
    if not len(y):
        raise DataError(f"The {name} split is empty.", download.HINT)
    x = front_end.dequantize(np.concatenate([part.x for part in samples]))[..., None]
    source = np.concatenate([part.source for part in samples])
    return Split(name, description, x, y, source, np.concatenate([part.speaker for part in samples]))


def _told(samples: Sequence[_Samples]) -> str:
    """Return what a split was made of, with a hash of its int8 inputs and labels."""
    counts = Counter(source for part in samples for source in part.source.tolist())
    return provenance(counts, *(array for part in samples for array in (part.x, part.y)))
