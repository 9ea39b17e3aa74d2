"""Images in one folder per class: found, decoded and brought to one size."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mlperf_tiny.task import DataError, capped

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm")
# By content, whatever the suffix says. Other decoders of Pillow are never reached; one of them starts Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "PPM")
_PIXELS = 64_000_000  # a larger image is refused: a small file can claim any size


def listed(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """The images below `folder/<class>/` with their classes, sorted; raises `DataError` where a class has none."""
    found, problems = [], []
    for label, name in enumerate(classes):
        below = folder / name
        files = below_with(below, SUFFIXES)
        found += [(path, label) for path in files]
        if not files:
            problems.append(f"{below}: no images ({', '.join(SUFFIXES)}).")
    if problems:
        raise DataError(problems, "Expected: one folder per class with its images.")
    return found


def below_with(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files below a folder that end in one of these, sorted; hidden ones and those in hidden folders are none."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def read(
    paths: Sequence[Path], shape: tuple[int, int, int], progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Pixels of images, uint8 `(n, height, width, 1 or 3)`, resized to `shape` where they have another size.

    They are squeezed, not cut, and turned upright where a camera says how. Raises one `DataError` with every file that
    is no image.
    """
    pixels = np.empty((len(paths), *shape), np.uint8)
    problems: list[str] = []
    for k, path in enumerate(paths):
        try:
            pixels[k] = _decoded(path, shape)
        except DataError as error:
            problems += error.problems
        if progress and (k % 64 == 0 or k + 1 == len(paths)):
            progress(k + 1, len(paths))
    if problems:
        raise DataError(capped(problems), "Remove or replace these files.")
    return pixels


def _decoded(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image, ImageOps

    height, width, channels = shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; what matters is an error
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                if image.width * image.height > _PIXELS:
                    raise DataError(
                        f"{path}: {image.width:,} x {image.height:,} pixels are too many; supported: {_PIXELS:,}."
                    )
                if image.mode.startswith(("I", "F")):
                    raise DataError(f"{path}: has more than 8 bits for each colour.")
                plain = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
                if plain.size != (width, height):
                    plain = plain.resize((width, height), Image.Resampling.BILINEAR)
                return np.asarray(plain, np.uint8).reshape(shape)
    except DataError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: has too many pixels; supported: {_PIXELS:,}.") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{path}: its content is none of {', '.join(_FORMATS)}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read as an image: {error.strerror or str(error)[:200]}.") from error
    except Exception as error:  # decoders raise whatever a damaged file makes them raise
        raise DataError(f"{path} cannot be read as an image: {str(error)[:200] or type(error).__name__}.") from error
