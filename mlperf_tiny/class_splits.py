"""Which sample of a user's own folder is for training, validation and test: as its folders say, else by its content.

A content decides by its SHA-1, so that equal files are never in two splits, and neither names nor order matter.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlperf_tiny import image_folder
from mlperf_tiny.speech_commands import subfolders
from mlperf_tiny.task import DataError, capped

SPLITS = ("train", "validation", "test")
HINT = (
    "Expected: a folder per class with its samples, at least two classes; or such folders in train/, test/ and, "
    "if you like, validation/."
)
# Files that were surely meant as samples; anything else (notes, thumbnails) is left alone.
_UNREAD = (".gif", ".webp", ".tif", ".tiff", ".heic", ".avif", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac")
_BYTES = 64_000_000  # a second of sound has 32 thousand, an image seldom more than ten million
_OTHER_PARTS = 0.15  # of each class for validation, and as much for test
_HELD_OUT = 0.1  # of each class of a given train/, where there is no validation/


@dataclass(frozen=True)
class Sample:
    """A file, its class, the split of its folder (empty where the folders say nothing), and its content's SHA-1."""

    path: Path
    label: int
    split: str
    digest: str


def located(
    folder: Path, suffixes: Sequence[str], classes: Sequence[str] | None, training: bool
) -> tuple[tuple[str, ...], tuple[str, ...], list[Sample]]:
    """Return the classes, the splits that the folders give (none, or train, test and maybe validation), all samples.

    `classes` are those that must be there, in their order; None takes what is found, by name. Without `training` given
    splits other than the test are not read. Raises `DataError` with all problems.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.", HINT)
    roots = _roots(folder, training)
    found = {split: [child.name for child in subfolders(root)] for split, root in roots.items()}
    names = tuple(classes) if classes is not None else tuple(sorted({n for each in found.values() for n in each}))
    if not training and "test" in roots:
        roots = {"test": roots["test"]}
    problems = _class_problems(folder, names)
    samples: list[Sample] = []
    for split, root in roots.items():
        extra = [name for name in found[split] if name not in names]
        problems += [f"{root / name}: the model has no such class ({', '.join(names)})." for name in extra]
        for label, name in enumerate(names):
            paths, wrong = below(root / name, suffixes)
            problems += wrong
            for path in paths:
                try:
                    samples.append(Sample(path, label, split, _digest(path)))
                except DataError as error:
                    problems += error.problems
    problems += _contradictions(samples, names)
    if problems:
        raise DataError(capped(problems), HINT)
    return names, tuple(split for split in roots if split), samples


def below(folder: Path, suffixes: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The samples below a folder, sorted, and what is wrong there: none, or files that are samples in other formats."""
    paths = image_folder.below_with(folder, suffixes)
    unread = image_folder.below_with(folder, _UNREAD)
    problems = [f"{path}: {path.suffix} is not read, only {', '.join(suffixes)}." for path in unread]
    return paths, problems if paths else [*problems, f"{folder}: no samples ({', '.join(suffixes)})."]


def shared_out(
    folder: Path, classes: Sequence[str], samples: Sequence[Sample], given: Sequence[str], training: bool
) -> dict[str, list[Sample]]:
    """Return the samples of train, validation and test, each in the order of their contents.

    Given splits stay; of a given train a tenth of each class is held out where there is no validation. Otherwise 15 %
    of each class are validation and 15 % test, at least one content each. Raises `DataError` where a class is missing.
    """
    split_of: dict[str, str] = {}
    for label in range(len(classes)):
        contents = sorted({s.digest for s in samples if s.label == label and s.split in ("", "train")})
        if not given:
            part = max(1, round(_OTHER_PARTS * len(contents)))
            split_of |= dict.fromkeys(contents[:part], "test")
            split_of |= dict.fromkeys(contents[part : 2 * part], "validation")
        elif "validation" not in given:
            split_of |= dict.fromkeys(contents[: max(1, round(_HELD_OUT * len(contents)))], "validation")
    parts: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for sample in sorted(samples, key=lambda s: (s.digest, s.path)):
        decided = split_of.get(sample.digest, "train") if sample.split in ("", "train") else sample.split
        parts[decided].append(sample)
    problems = [
        f"{folder}: no sample of class {name} is left for {split}; there are too few different ones."
        for split in (SPLITS if training else ("test",))
        for label, name in enumerate(classes)
        if not any(sample.label == label for sample in parts[split])
    ]
    if problems:
        raise DataError(capped(problems), "Add samples; each class needs one in each split, and better hundreds.")
    return parts


def _roots(folder: Path, training: bool) -> dict[str, Path]:
    """Return the folders of the given splits, or the folder itself under an empty name; raises `DataError`."""
    children = {child.name: child for child in subfolders(folder)}
    if not {"train", "test"} & set(children):
        return {"": folder}
    others = sorted(set(children) - set(SPLITS) - {"val"})
    if others and not {"train", "test"} <= set(children):
        return {"": folder}  # a class may well be called train
    problems = [f"{folder / name} lies beside train and test." for name in others]
    if "val" in children:
        problems.append(f"{folder / 'val'}: call it validation.")
    needed = ("train", "test") if training else ("test",)
    problems += [f"{folder}: no {name}/ beside {', '.join(children)}." for name in needed if name not in children]
    if problems:
        raise DataError(capped(problems), HINT)
    return {split: children[split] for split in SPLITS if split in children}


def _class_problems(folder: Path, names: Sequence[str]) -> list[str]:
    problems = []
    if len(names) < 2:
        problems.append(f"{folder}: {len(names)} folder(s) of samples, a classifier needs at least two classes.")
    problems += [f"{folder}: {name!r} is no name for a class." for name in names if not _plain(name)]
    if len(set(names)) < len(names):
        problems.append(f"The classes {', '.join(names)} are not all different.")
    return problems


def _plain(name: str) -> bool:
    """Tell whether a class can be called so in reports: the name of one folder, without control characters."""
    return name.isprintable() and name not in ("", ".", "..") and not set(name) & set('/\\"')


def _digest(path: Path) -> str:
    """The SHA-1 of a file's content; raises `DataError` for one that is empty, too large or unreadable."""
    try:
        size = path.stat().st_size
        if size == 0 or size > _BYTES:
            raise DataError(f"{path}: {size:,} bytes; a sample has 1 to {_BYTES:,}.")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha1").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}.") from error


def _contradictions(samples: Sequence[Sample], classes: Sequence[str]) -> list[str]:
    """Equal files in two classes, or in two given splits, where a model would be judged on what it was shown."""
    first: dict[str, Sample] = {}
    problems = []
    for sample in samples:
        other = first.setdefault(sample.digest, sample)
        if other.label != sample.label:
            problems.append(f"{sample.path} and {other.path} are equal files in two classes.")
        elif other.split != sample.split:
            problems.append(f"{sample.path} and {other.path} are equal files in {other.split} and {sample.split}.")
    return problems
