"""How pictures look: colours, letters and file formats, once for all of them."""

from pathlib import Path
from typing import Any

from trecx.files import whole

# Okabe and Ito's palette: told apart with any colour vision, and by lightness in print.
BLUE, VERMILION, ORANGE = "#0072B2", "#D55E00", "#E69F00"
PLAIN, QUIET, GRID = "#444444", "#8a8a8a", "#e8e8e8"
# File formats with the metadata that would make equal pictures unequal bytes.
PNG: tuple[str, dict[str, None]] = ("png", {"Software": None})
FORMATS = (PNG, ("svg", {"Date": None, "Creator": None}))
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": PLAIN,
    "ytick.color": PLAIN,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "svg.hashsalt": "trecx",
}


def save(figure: Any, folder: Path, name: str, formats: tuple[Any, ...] = FORMATS) -> tuple[Path, ...]:
    """Write a figure in every format, each file whole or not at all; returns the paths."""
    paths = []
    for kind, metadata in formats:
        with whole(folder / f"{name}.{kind}") as unfinished:
            figure.savefig(unfinished, format=kind, metadata=metadata)
        paths.append(folder / f"{name}.{kind}")
    return tuple(paths)
