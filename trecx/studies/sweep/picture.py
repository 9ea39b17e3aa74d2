"""The picture of a sweep: accuracy against cost of every candidate on validation samples, and those that none beats."""

from pathlib import Path
from typing import Any

from trecx.judge import style
from trecx.studies.sweep.results import MILLION, Found, unit

NAME = "sweep"


def draw(found: Found, out: Path) -> tuple[Path, ...]:
    """Write `sweep.png` into the folder of the sweep; none where nothing could be judged."""
    if not any(one.judged for one in found.trials):
        return ()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(style.STYLE):
        figure = Figure(figsize=(7.2, 4.6), dpi=160, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.095, 0.125, 0.875, 0.72))
        _data(axes, found)
        _frame(figure, axes, found)
        return style.save(figure, out, NAME, (style.PNG,))


def _at(one: Any) -> tuple[float, float]:
    return one.cost / MILLION, 100 * one.accuracy


def _data(axes: Any, found: Found) -> None:
    front = set(found.pareto)
    judged = [one for one in found.trials if one.judged is not None and one.number not in front]
    kept = [one for one in judged if one.judged is not None and one.judged.bound <= found.points]
    beyond = [one for one in judged if one not in kept]
    for some, face in ((kept, style.QUIET), (beyond, "none")):
        if some:
            axes.scatter(
                *zip(*map(_at, some), strict=True),
                s=20,
                facecolors=face,
                edgecolors=style.QUIET,
                linewidths=0.8,
                zorder=2,
            )
    if found.front:
        line = zip(*map(_at, found.front), strict=True)
        axes.plot(*line, "-o", color=style.BLUE, linewidth=1.4, markersize=6, mec="white", mew=1.0, zorder=3)
    x, y = _at(found.plain)
    axes.axhline(y, color=style.PLAIN, linewidth=0.9, linestyle=(0, (6, 4)), zorder=1)
    axes.plot(x, y, "D", color=style.PLAIN, markersize=6.5, zorder=4)
    for one in found.front:
        if one.number == found.best:
            axes.plot(*_at(one), "o", color=style.VERMILION, mec="white", mew=1.5, ms=11, zorder=5)
            _note(axes, f"trial {one.number}", _at(one), (0, 10), style.VERMILION)
        else:
            _note(axes, str(one.number), _at(one), (0, 7), style.BLUE)
    if beyond:
        told = f"hollow: not shown to lose at most {found.points:g} points"
        axes.text(0.995, 0.02, told, transform=axes.transAxes, ha="right", color=style.QUIET, fontsize=8.5)


def _note(axes: Any, text: str, place: tuple[float, float], offset: tuple[float, float], color: str) -> None:
    """Words above a point, where nothing is as right and as cheap, on a white rim that keeps lines off the letters."""
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=2.5, foreground="white")]
    axes.annotate(
        text,
        place,
        offset,
        textcoords="offset points",
        color=color,
        ha="center",
        fontsize=8.5,
        path_effects=rim,
        zorder=6,
    )


def _frame(figure: Any, axes: Any, found: Found) -> None:
    axes.margins(0.08, 0.16)
    axes.grid(axis="y", color=style.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"mean {unit(found.plain.counted)} per inference", color=style.PLAIN)
    axes.set_ylabel("accuracy (%)", color=style.PLAIN)
    place, across = (1.0, 100 * found.plain.accuracy), axes.get_yaxis_transform()
    how = {"ha": "right", "va": "bottom", "color": style.PLAIN, "fontsize": 8.5}
    told = f"plain network, {found.plain.accuracy:.2%}"
    axes.annotate(told, place, (0, 7), xycoords=across, textcoords="offset points", **how)
    figure.text(0.095, 0.945, f"{found.task}: {found.candidates} candidates", fontsize=13, weight="bold", va="center")
    told = f"{found.plain.samples:,} validation samples; thresholds that lose at most {found.points:g} points"
    figure.text(0.095, 0.892, f"{told} with {found.confidence:.0%} confidence", color=style.PLAIN, va="center")
