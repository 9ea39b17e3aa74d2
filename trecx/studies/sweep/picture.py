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
    _note(axes, "plain network", (x, y), (-8, 7), style.PLAIN, "right")
    for one in found.front:
        best = one.number == found.best
        if best:
            axes.plot(*_at(one), "o", color=style.VERMILION, mec="white", mew=1.5, ms=11, zorder=5)
        name = f"trial {one.number}" if best else str(one.number)
        _note(
            axes, name, _at(one), (0, -14) if not best else (0, -18), style.VERMILION if best else style.BLUE, "center"
        )


def _note(axes: Any, text: str, place: tuple[float, float], offset: tuple[float, float], color: str, ha: str) -> None:
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=2.5, foreground="white")]
    axes.annotate(
        text, place, offset, textcoords="offset points", color=color, ha=ha, fontsize=8.5, path_effects=rim, zorder=6
    )


def _frame(figure: Any, axes: Any, found: Found) -> None:
    axes.margins(0.08, 0.14)
    axes.grid(axis="y", color=style.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"mean {unit(found.plain.counted)} per inference")
    axes.set_ylabel("% right")
    figure.text(0.095, 0.94, f"{found.task}: what {found.candidates} candidates are worth", fontsize=12, weight="bold")
    told = f"on {found.plain.samples:,} validation samples, at thresholds that lose at most {found.points:g} points"
    figure.text(0.095, 0.89, f"{told} with {found.confidence:.0%} confidence", color=style.PLAIN)
