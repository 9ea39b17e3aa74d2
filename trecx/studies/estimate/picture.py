"""The picture of an estimate: mean time and energy of an inference against the exit rate, by where the heads run."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trecx.errors import ToolMissing
from trecx.judge import execution, style
from trecx.judge.execution import EQUAL, Way
from trecx.studies.estimate.predict import Estimate

NAME = "estimate"
_SERIAL, _PARALLEL = style.BLUE, style.VERMILION


def draw(found: Estimate, folder: Path) -> tuple[Path, ...]:
    """Write estimate.png and estimate.svg; none without an early exit. ToolMissing where matplotlib is absent."""
    if not found.costs.heads:
        return ()
    if find_spec("matplotlib") is None:
        raise ToolMissing("The picture needs matplotlib.", "Install it with: pip install matplotlib")
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(style.STYLE):
        figure = Figure(figsize=(8.4, 3.8), dpi=160, facecolor="white")
        FigureCanvasAgg(figure)
        time, energy = (figure.add_axes((left, 0.14, 0.40, 0.66)) for left in (0.075, 0.565))
        _time(time, found)
        _energy(energy, found)
        for axes in (time, energy):
            axes.set_xlabel("samples that leave early (%)", color=style.PLAIN)
            axes.set_xlim(0, 100)
            axes.set_ylim(bottom=0)
            axes.grid(axis="y", color=style.GRID, linewidth=0.8)
            axes.set_axisbelow(True)
        figure.text(0.075, 0.94, f"{found.pair.path.name} on {found.target.title}", fontsize=13, fontweight="bold")
        figure.text(0.075, 0.875, _subtitle(found), color=style.PLAIN)
        return style.save(figure, folder, NAME)


def _subtitle(found: Estimate) -> str:
    second = found.table.second if found.table else None
    unit = f"{second.speed:g} times as fast" if second else "imagined as fast and hungry, with nothing to wait for"
    return f"estimated from one counted inference; the second unit is {unit}"


def _time(axes: Any, found: Estimate) -> None:
    """Mean time with the exit rate from which on exits pay, serially, and the rate at which the run is."""
    million = 1e6
    _lines(axes, found, lambda way: way.time / million)
    spread = _spread(found)
    pays = execution.advise(found.costs, _rates(spread, 0.5), found.plain, found.table).break_even
    if 0 < pays < 1:
        axes.plot(100 * pays, found.plain / million, "o", color="white", mec=_SERIAL, mew=1.8, ms=7, zorder=4)
        axes.annotate(
            f"exits pay from {pays:.1%} on",
            (100 * pays, found.plain / million),
            (8, 8),
            textcoords="offset points",
            color=_SERIAL,
        )
    axes.set_ylabel("mean time (million instructions)", color=style.PLAIN)
    axes.legend(loc="lower left", frameon=False)


def _energy(axes: Any, found: Estimate) -> None:
    """Mean energy, against that of the backbone alone, where both units may draw what nobody knows."""
    second = (found.table.second if found.table else None) or EQUAL
    alone = execution.energy(Way(found.plain, found.plain), found.table, second)
    _lines(axes, found, lambda way: 100 * execution.energy(way, found.table, second) / alone)
    equal = found.table is None or found.table.watts is None
    axes.set_ylabel(f"mean energy (% of the backbone{', equal power' if equal else ''})", color=style.PLAIN)


def _lines(axes: Any, found: Estimate, of: Any) -> None:
    """What `of` says of the mean path at each exit rate, and of the backbone alone."""
    spread, at = _spread(found), [k / 100 for k in range(101)]
    for ways, color, name in ((found.serial, _SERIAL, "serial"), (found.parallel, _PARALLEL, "parallel")):
        means = [execution.mean(ways, _rates(spread, rate)) for rate in at]
        axes.plot([100 * rate for rate in at], list(map(of, means)), color=color, linewidth=2.2, label=name, zorder=3)
    alone = of(Way(found.plain, found.plain))
    axes.axhline(alone, color=style.PLAIN, linewidth=0.9, linestyle=(0, (6, 4)), label="backbone alone", zorder=1)
    for judged in found.judged[:1]:
        rate = 1 - judged.mix.rates[-1]
        axes.axvline(100 * rate, color=style.QUIET, linewidth=0.9, linestyle=(0, (1, 2.5)), label=judged.mix.what)
        for way, color in ((judged.serial, _SERIAL), (judged.parallel, _PARALLEL)):
            axes.plot(100 * rate, of(way), "o", color=color, mec="white", mew=1.5, ms=9, zorder=5)


def _spread(found: Estimate) -> tuple[float, ...]:
    """How the samples that leave early divide among the early exits, as in the first mix, else equally."""
    early = len(found.costs.heads)
    known = found.judged[0].mix.rates[:-1] if found.judged else ()
    total = sum(known)
    return tuple(rate / total for rate in known) if total > 0 else (1 / early,) * early


def _rates(spread: tuple[float, ...], early: float) -> tuple[float, ...]:
    return (*(early * share for share in spread), 1 - early)
