"""The two lists that photographs of persons come with: a corpus' labels.csv and the benchmark's y_labels.csv."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlperf_tiny import lists
from mlperf_tiny.task import DataError, capped

COLUMNS = ("file", "label", "source", "split")
SPLITS = ("train", "val")
DIGITS = 12  # of a photograph's number in COCO, at the end of its name


@dataclass(frozen=True)
class Said:
    """What a labels.csv says of one image."""

    source: str
    validation: bool


def corpus_list(path: Path, images: Sequence[tuple[str, int]]) -> dict[str, Said]:
    """What a table of file,label,source,split says of `images`, each a path inside the corpus and its class.

    Raises `DataError` for all rows that are not about one of them, or contradict its folder or an earlier row.
    """
    rows = lists.rows(path)
    header = tuple(cell.strip() for cell in rows[0][1]) if rows else ()
    hint = f"Expected rows of {','.join(COLUMNS)} about images in the same folder; split is {' or '.join(SPLITS)}."
    if header != COLUMNS:
        raise DataError(f"{path}: its first row is {','.join(header)[:200]!r}, not {','.join(COLUMNS)}.", hint)
    label_of = dict(images)
    found: dict[str, Said] = {}
    problems = []
    for line, row in rows[1:]:
        where = f"{path}, line {line}"
        if len(row) != len(COLUMNS) or not row[2].strip() or row[3] not in SPLITS:
            problems.append(f"{where}: {','.join(row)[:200]!r} is not {','.join(COLUMNS)}.")
        elif row[0] not in label_of:
            problems.append(f"{where}: {row[0][:200]!r} is no image in this folder.")
        elif row[1] != str(label_of[row[0]]):
            problems.append(f"{where}: label {row[1][:20]} of {row[0]} does not belong to its folder.")
        elif row[0] in found:
            problems.append(f"{where}: {row[0]} is listed twice.")
        else:
            found[row[0]] = Said(row[2], row[3] == "val")
    if problems:
        raise DataError(capped(problems), hint)
    return found


def test_list(path: Path, images: Sequence[tuple[Path, int]]) -> list[tuple[Path, int]]:
    """The images that the benchmark's rows of file,classes,label name, by the number in their names, in that order.

    Raises `DataError` for all rows that name none of `images`, or that give one another class.
    """
    numbered = {number(image.name): (image, label) for image, label in images if "val2014" in image.name}
    found: dict[str, tuple[Path, int]] = {}
    problems = []
    for line, row in lists.rows(path):
        where, key = f"{path}, line {line}", number(row[0])
        if len(row) != 3 or row[1] != "2" or row[2] not in ("0", "1") or not key or key in found:
            problems.append(f"{where}: {','.join(row)[:200]!r} is not a new `<{DIGITS} digits>.bin,2,label`.")
        elif key not in numbered or numbered[key][1] != int(row[2]):
            problems.append(f"{where}: no image COCO_val2014_{key}.jpg of class {row[2]}.")
        else:
            found[key] = numbered[key]
    if not found and not problems:
        problems.append(f"{path}: lists no images.")
    if problems:
        raise DataError(capped(problems), "Expected: the benchmark's own list, and all images of vw_coco2014_96.")
    return list(found.values())


def number(name: str) -> str:
    """The photograph's number in COCO at the end of a file's name, empty for other names."""
    digits = PurePosixPath(name).stem[-DIGITS:]
    return digits if len(digits) == DIGITS and digits.isascii() and digits.isdigit() else ""
