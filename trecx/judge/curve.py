"""The picture of a model with exits: accuracy against mean MACs over all thresholds, as PNG and SVG."""

from importlib.util import find_spec
from math import atan2, degrees
from pathlib import Path
from typing import Any

from trecx.errors import ToolMissing
from trecx.judge import style
from trecx.judge.report import CurvePoint, Report

_CURVE, _CHOSEN = style.BLUE, style.VERMILION
_MILLION = 1e6


def draw(report: Report, folder: Path, name: str = "curve") -> tuple[Path, ...]:
    """Write `<name>.png` and `<name>.svg` into `folder`; equal reports give equal bytes.

    Returns the paths; none where the report has no curve, which is so without labelled samples. Raises ToolMissing
    where matplotlib is absent.
    """
    if len(report.curve) < 2 or report.accuracy.int8_with_exits is None:
        return ()
    if find_spec("matplotlib") is None:
        raise ToolMissing("The curve needs matplotlib.", "Install it with: pip install matplotlib")
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(style.STYLE):
        figure = Figure(figsize=(7.2, 4.6), dpi=160, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.095, 0.125, 0.875, 0.72))
        _data(axes, report)
        _labels(axes, report)
        _frame(figure, axes, report)
        return style.save(figure, folder, name)


def _data(axes: Any, report: Report) -> None:
    macs = [p.macs / _MILLION for p in report.curve]
    accuracy = [100 * p.accuracy for p in report.curve]
    chosen = report.accuracy.int8_with_exits
    plain = report.accuracy.int8_without_exits
    assert chosen is not None and report.macs.mean is not None
    axes.plot(
        (macs[0], macs[-1]), (accuracy[0], accuracy[-1]), color=style.QUIET, linewidth=0.9, linestyle=(0, (1, 2.5))
    )
    if plain is not None and report.macs.backbone is not None:
        axes.axhline(100 * plain.value, color=style.PLAIN, linewidth=0.9, linestyle=(0, (6, 4)), zorder=1)
        axes.plot(report.macs.backbone / _MILLION, 100 * plain.value, "D", color=style.PLAIN, markersize=6.5, zorder=4)
    axes.plot(macs, accuracy, color=_CURVE, linewidth=2.2, solid_joinstyle="round", zorder=3)
    axes.plot((macs[0], macs[-1]), (accuracy[0], accuracy[-1]), "o", color="white", mec=_CURVE, mew=1.8, ms=7, zorder=4)
    axes.plot(
        report.macs.mean / _MILLION, 100 * chosen.value, "o", color=_CHOSEN, mec="white", mew=1.5, ms=11, zorder=5
    )
    low, high = min(accuracy), max([*accuracy, 100 * plain.value if plain else 0.0])
    span = max(high - low, 1.0)
    axes.set_ylim(low - 0.1 * span, high + 0.16 * span)
    right = max([*macs, (report.macs.backbone or 0) / _MILLION])
    width = right - min(macs)
    axes.set_xlim(min(macs) - 0.06 * width, right + 0.06 * width)


def _labels(axes: Any, report: Report) -> None:
    first, last = report.curve[0], report.curve[-1]
    chosen, plain = report.accuracy.int8_with_exits, report.accuracy.int8_without_exits
    assert chosen is not None and report.macs.mean is not None and report.macs.saving is not None
    names = [e.name for e in report.exits]
    # The curve rises steeply and then runs flat, so the room for words is below it and to its right.
    _note(
        axes, f"always {names[0]}, {last.accuracy:.1%}", (last.macs, last.accuracy), (12, -1), color=_CURVE, va="center"
    )
    final_above = plain is None or plain.value <= first.accuracy
    _beside(axes, f"always {names[-1]}, {first.accuracy:.1%}", (first.macs, first.accuracy), _CURVE, final_above)
    if plain is not None and report.macs.backbone is not None:
        place = (report.macs.backbone, plain.value)
        _beside(axes, f"backbone alone, {plain.value:.1%}", place, style.PLAIN, not final_above)
    change = f"{abs(report.macs.saving):.0%} {'fewer' if report.macs.saving >= 0 else 'more'} MACs than the backbone"
    # Neither the curve nor the line below it comes to the lower right corner, wherever the point is.
    axes.annotate(
        f"{_threshold(report)}: {chosen.value:.1%}\n{report.exit_rate:.0%} leave early\n{change}",
        (report.macs.mean / _MILLION, 100 * chosen.value),
        (0.98, 0.05),
        textcoords="axes fraction",
        linespacing=1.4,
        color=_CHOSEN,
        ha="right",
        va="bottom",
        arrowprops={"arrowstyle": "-", "color": _CHOSEN, "linewidth": 0.8, "shrinkB": 5},
    )
    _random_note(axes, last, first)


def _beside(axes: Any, text: str, place: tuple[float, float], color: str, above: bool) -> None:
    _note(axes, text, place, (6, 9 if above else -9), color=color, ha="right", va="bottom" if above else "top")


def _random_note(axes: Any, last: CurvePoint, first: CurvePoint) -> None:
    start = axes.transData.transform((last.macs / _MILLION, 100 * last.accuracy))
    end = axes.transData.transform((first.macs / _MILLION, 100 * first.accuracy))
    _note(
        axes,
        "leaving at random",
        (last.macs + 0.78 * (first.macs - last.macs), last.accuracy + 0.78 * (first.accuracy - last.accuracy)),
        (3, -4),
        color=style.QUIET,
        rotation=degrees(atan2(end[1] - start[1], end[0] - start[0])),
        rotation_mode="anchor",
        ha="center",
        va="top",
        fontsize=8.5,
    )


def _note(axes: Any, text: str, place: tuple[float, float], offset: tuple[float, float], **how: Any) -> None:
    """Words beside a point (MACs, share of right answers), on a white rim that keeps lines off the letters."""
    from matplotlib.patheffects import withStroke

    point = (place[0] / _MILLION, 100 * place[1])
    rim = [withStroke(linewidth=3.5, foreground="white")]
    axes.annotate(text, point, offset, textcoords="offset points", linespacing=1.4, zorder=6, path_effects=rim, **how)


def _frame(figure: Any, axes: Any, report: Report) -> None:
    chosen = report.accuracy.int8_with_exits
    assert chosen is not None
    figure.text(0.095, 0.945, f"{report.title}", fontsize=13, fontweight="bold", va="center")
    figure.text(
        0.095,
        0.892,
        f"int8, every threshold; {chosen.samples:,} samples, {chosen.split}",
        color=style.PLAIN,
        va="center",
    )
    axes.set_xlabel("mean multiply-accumulates per inference (millions)", color=style.PLAIN)
    axes.set_ylabel("accuracy (%)", color=style.PLAIN)
    axes.grid(axis="y", color=style.GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _threshold(report: Report) -> str:
    thresholds = {p.threshold for p in report.operating_point}
    shown = sorted(("never" if t is None else f"{t:.3g}") for t in thresholds)
    return f"threshold {', '.join(shown)}" if shown else "no threshold"
