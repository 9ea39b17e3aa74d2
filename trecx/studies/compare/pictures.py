"""The pictures of a comparison: accuracy against mean MACs, and against mean instructions, of every candidate."""

from pathlib import Path
from typing import Any

import numpy as np

from trecx.judge import style

_MILLION = 1e6
KINDS = {
    "macs": ("cost_by_exit_rate", "macs", "mean multiply-accumulates per inference (millions)"),
    "instructions": (
        "instructions_by_exit_rate",
        "instructions",
        "mean counted instructions per inference on a Cortex-M4 (millions)",
    ),
}
# Beyond Okabe and Ito's palette, lines are told apart by how they are dashed.
_COLORS = (style.BLUE, style.VERMILION, style.ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#000000")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)))


def draw(entry: dict[str, Any], folder: Path, stem: str) -> tuple[Path, ...]:
    """Write `<stem>-macs.png`, and `<stem>-instructions.png` where all candidates were counted."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found: list[Path] = []
    for kind, (curve, point, label) in KINDS.items():
        if any(seed[curve] is None for one in entry["candidates"] for seed in one["seeds"]):
            continue
        with mpl.rc_context(style.STYLE):
            figure = Figure(figsize=(9.2, 5.2), dpi=110, facecolor="white")
            FigureCanvasAgg(figure)
            axes = figure.add_axes((0.075, 0.11, 0.63, 0.76))
            axes.grid(axis="y", color=style.GRID, linewidth=0.8)
            _candidates(axes, entry["candidates"], curve, point)
            axes.set_xlabel(label, color=style.PLAIN)
            axes.set_ylabel("accuracy (%)", color=style.PLAIN)
            axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=8.5)
            figure.text(0.075, 0.95, entry["title"], fontsize=13, fontweight="bold", va="center")
            figure.text(0.075, 0.905, _subtitle(entry), color=style.PLAIN, va="center", fontsize=8.5)
            found += style.save(figure, folder, f"{stem}-{kind}", (style.PNG,))
    return tuple(found)


def _candidates(axes: Any, found: list[dict[str, Any]], curve: str, point: str) -> None:
    controls = sorted(
        (one["summary"]["judged"][0][point]["mean"] / _MILLION, 100 * one["summary"]["judged"][0]["accuracy"]["mean"])
        for one in found
        if one["control"]
    )
    axes.plot(*zip(*controls, strict=True), "D--", color=style.QUIET, ms=6, lw=1, zorder=4, label="without exits")
    least = [accuracy for _, accuracy in controls]
    for number, one in enumerate(each for each in found if not each["control"]):
        color, dashes = _COLORS[number % len(_COLORS)], _DASHES[number // len(_COLORS) % len(_DASHES)]
        cost = np.mean([seed[curve] for seed in one["seeds"]], axis=0) / _MILLION
        accuracy = 100 * np.mean([seed["accuracy_by_exit_rate"] for seed in one["seeds"]], axis=0)
        axes.plot(cost, accuracy, color=color, linestyle=dashes, lw=1.5, zorder=3, label=one["title"])
        judged = one["summary"]["judged"][0]
        at = judged[point]["mean"] / _MILLION, 100 * judged["accuracy"]["mean"]
        axes.plot(*at, "o", color=color, mec="white", mew=0.9, ms=7, zorder=6)
        least.append(at[1])
    # What nobody would choose needs no room: a little below the lowest point that thresholds were chosen for.
    axes.set_ylim(
        min(least) - 3, max(100 * max(seed["accuracy_by_exit_rate"]) for c in found for seed in c["seeds"]) + 1
    )


def _subtitle(entry: dict[str, Any]) -> str:
    rule = entry["rules"][0]
    told = f"dots: at most {rule['points']:g} point lost with {100 * rule['confidence']:g} % confidence on validation"
    return f"int8, {entry['split']['samples']:,} test samples; mean over seeds; lines: every threshold; {told}"
