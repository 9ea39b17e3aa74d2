"""What more labelled samples would buy: the exit rate that can be promised, by their number.

Up to as many samples as there are, calibrations on some of them are tried; beyond, samples are drawn again and again as
if those at hand were all that the world has, which is an extrapolation and called so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from trecx.decision import Criterion
from trecx.errors import ToolMissing
from trecx.judge import style
from trecx.judge.calibrate import Calibration, last_in_sequence
from trecx.judge.losses import Predictions, losses
from trecx.judge.trace import Trace

DRAWS, SEED = 20, 2208_02814
FEWEST = 25  # fewer samples than that promise nothing worth drawing
MOST = 50_000  # samples of one draw: a picture must not take minutes
# Sizes are those at hand times these powers of the root of 2.
STEPS = range(-8, 5)


@dataclass(frozen=True)
class Promisable:
    """The exit rate that can be promised with so many labelled samples.

    The mean over the draws, and where four of five of them lie; `extrapolated` where there are not that many samples.
    """

    samples: int
    exit_rate: float
    low: float
    high: float
    extrapolated: bool


def promisable(
    trace: Trace,
    decisions: Sequence[Criterion],
    asked: Calibration,
    reference_right: np.ndarray | None = None,
    unlabelled: Trace | None = None,
) -> tuple[Promisable, ...]:
    """How the promise that was asked for would grow with the labelled samples, from few to four times as many.

    What else it was made with, samples without labels too, stays as it is. Nothing without an early exit.
    """
    if trace.exits < 2:
        return ()
    predictions = None if unlabelled is None else Predictions.of(trace, decisions, unlabelled)
    return tuple(_points(trace, decisions, asked, reference_right, predictions))


def _points(
    trace: Trace,
    decisions: Sequence[Criterion],
    asked: Calibration,
    reference_right: np.ndarray | None,
    predictions: Predictions | None,
) -> Iterator[Promisable]:
    rng, there = np.random.default_rng(SEED), len(trace)
    for size in (round(there * 2 ** (k / 2)) for k in STEPS):
        if size != there and not FEWEST <= size <= MOST:
            continue
        more, rates = size > there, []
        for _ in range(DRAWS if size != there else 1):  # of all samples there is one choice
            rows = rng.integers(0, there, size) if more else rng.permutation(there)[:size]
            right = None if reference_right is None else reference_right[rows]
            some = None if predictions is None else predictions.rows(rows)
            found = losses(trace.of(rows), decisions, asked.confidence, right, some)
            rates.append(float(found.exit_rate[last_in_sequence(found.bound, asked.points)]))
        low, high = (float(one) for one in np.quantile(rates, (0.1, 0.9)))
        yield Promisable(size, float(np.mean(rates)), low, high, more)


def draw(points: Sequence[Promisable], asked: Calibration, title: str, folder: Path, name: str = "samples") -> None:
    """Write `<name>.png` and `<name>.svg` into `folder`, or nothing for fewer than two points; equal bytes for equal.

    Raises ToolMissing where matplotlib is absent.
    """
    if len(points) < 2:
        return
    if find_spec("matplotlib") is None:
        raise ToolMissing("The picture of samples needs matplotlib.", "Install it with: pip install matplotlib")
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(style.STYLE):
        figure = Figure(figsize=(7.2, 4.6), dpi=160, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.095, 0.125, 0.875, 0.66))
        _data(axes, points)
        figure.text(0.095, 0.945, title, fontsize=13, fontweight="bold", va="center")
        more = f"; {asked.unlabelled:,} samples without labels" if asked.unlabelled else ""
        promise = f"at most {asked.points:g} points lost {asked.how}{more}"
        figure.text(0.095, 0.892, promise, color=style.PLAIN, va="center")
        _legend(figure, points)
        what = f"labelled samples to choose the threshold on (bands: four of five of {DRAWS} draws)"
        axes.set_xlabel(what, color=style.PLAIN)
        axes.set_ylabel("may leave early (%)", color=style.PLAIN)
        axes.grid(axis="y", color=style.GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        style.save(figure, folder, name)


def _data(axes: Any, points: Sequence[Promisable]) -> None:
    known, beyond = _parted(points)
    for part, line, colour in ((known, "-", style.BLUE), ([known[-1], *beyond], (0, (4, 2.5)), style.ORANGE)):
        sizes = [p.samples for p in part]
        low, high = [100 * p.low for p in part], [100 * p.high for p in part]
        axes.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(sizes, [100 * p.exit_rate for p in part], color=colour, linestyle=line, linewidth=2.2, zorder=3)
    now = known[-1]
    axes.plot(now.samples, 100 * now.exit_rate, "o", color=style.VERMILION, mec="white", mew=1.5, ms=11, zorder=5)
    axes.set_xscale("log")
    # Every second size is a doubling; the number at hand is one of them.
    ticks = [p.samples for k, p in enumerate(points) if (k - len(known) + 1) % 2 == 0]
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks])
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, 104)


def _legend(figure: Any, points: Sequence[Promisable]) -> None:
    """What the colours mean, above the axes, where no line comes."""
    known, beyond = _parted(points)
    now = known[-1]
    figure.text(0.095, 0.839, f"now, {now.samples:,} samples: {now.exit_rate:.1%}", color=style.VERMILION, va="center")
    if beyond:
        last = beyond[-1]
        told = f"{last.samples:,} drawn from these: {last.exit_rate:.1%}, extrapolated"
        figure.text(0.97, 0.839, told, color=style.ORANGE, va="center", ha="right")


def _parted(points: Sequence[Promisable]) -> tuple[list[Promisable], list[Promisable]]:
    """The points up to the samples at hand, and those beyond."""
    return [p for p in points if not p.extrapolated], [p for p in points if p.extrapolated]
