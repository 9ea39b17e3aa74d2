"""The pictures of a task: accuracy against MACs and against instructions, and what is saved for what is lost."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from trecx.errors import ToolMissing
from trecx.judge import style
from trecx.studies.reproduce.figures import LOST, RATES
from trecx.studies.reproduce.plan import FOUND, OBSERVED, POINTS, WITH, WITHOUT

_COLORS = {WITH: style.BLUE, WITHOUT: style.ORANGE, FOUND: style.VERMILION}
_MILLION = 1e6


def draw(name: str, entry: dict[str, Any], folder: Path) -> tuple[Path, ...]:
    """Write `results-<name>-<kind>.png` for "macs", "instructions" where they were counted, and "benefit".

    Equal entries give equal bytes. Raises ToolMissing where matplotlib is absent.
    """
    if find_spec("matplotlib") is None:
        raise ToolMissing("The pictures need matplotlib.", "Install it with: pip install matplotlib")
    counted = all(variant["instructions"] is not None for variant in entry["variants"].values())
    kinds = {"macs": _macs, **({"instructions": _instructions} if counted else {}), "benefit": _benefit}
    found: list[Path] = []
    for kind, of in kinds.items():
        figure, axes = _canvas()
        of(axes, entry)
        figure.text(0.1, 0.95, entry["title"], fontsize=13, fontweight="bold", va="center")
        figure.text(0.1, 0.897, _subtitle(kind, entry), color=style.PLAIN, va="center", fontsize=8.5)
        legend = axes.legend(facecolor="white", edgecolor="none", framealpha=0.9, fontsize=8.5, loc="lower right")
        legend.set_zorder(7)
        found += _save(figure, folder, f"results-{name}-{kind}")
    if not counted:
        (folder / f"results-{name}-instructions.png").unlink(missing_ok=True)
    return tuple(found)


def _canvas() -> tuple[Any, Any]:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(style.STYLE):
        figure = Figure(figsize=(7.2, 4.8), dpi=110, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.1, 0.12, 0.87, 0.73))
        axes.grid(axis="y", color=style.GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Any, folder: Path, name: str) -> tuple[Path, ...]:
    import matplotlib as mpl

    with mpl.rc_context(style.STYLE):
        return style.save(figure, folder, name, (style.PNG,))


def _subtitle(kind: str, entry: dict[str, Any]) -> str:
    what = "thresholds chosen on test, as the paper did" if kind == "benefit" else "every threshold"
    return f"int8, {what}; mean and range over seeds; {entry['splits']['test']['samples']:,} test samples"


def _macs(axes: Any, entry: dict[str, Any]) -> None:
    costs = {name: [*_exits(variant), _backbone(variant)] for name, variant in entry["variants"].items()}
    paper = "paper, relative to its own backbone"
    _accuracy(axes, entry, costs, "mean multiply-accumulates per inference (millions)", paper)


def _instructions(axes: Any, entry: dict[str, Any]) -> None:
    counted = {name: variant["instructions"] for name, variant in entry["variants"].items()}
    costs = {name: [*one["exits"], one["backbone"]] for name, one in counted.items()}
    paper = "paper, if instructions fell like its FLOPs"
    _accuracy(axes, entry, costs, "mean instructions per inference on a Cortex-M4 (millions)", paper)


def _exits(variant: dict[str, Any]) -> list[float]:
    return [value for name, value in variant["seeds"][0]["macs"].items() if name != "backbone"]


def _backbone(variant: dict[str, Any]) -> float:
    return float(variant["seeds"][0]["macs"]["backbone"])


def _accuracy(axes: Any, entry: dict[str, Any], costs: Mapping[str, Sequence[float]], label: str, paper: str) -> None:
    """Accuracy over mean cost; `costs` of a variant are those to the early and the final exit, and of the backbone.

    `paper` names the paper's points, which are placed by its savings of FLOPs.
    """
    for name, variant in entry["variants"].items():
        early, final, _ = costs[name]
        cost = (np.asarray(RATES) * early + (1 - np.asarray(RATES)) * final) / _MILLION
        accuracy = 100 * np.array([seed["accuracy_by_exit_rate"] for seed in variant["seeds"]])
        _band(axes, cost, accuracy, _COLORS[name], variant["title"])
        for one in (c for c in variant["summary"]["calibrated"] if c["points"] == 1):
            rate, filled = one["exit_rate"]["mean"], one["confidence"] != OBSERVED
            at = (rate * early + (1 - rate) * final) / _MILLION
            _chosen(axes, at, 100 * one["accuracy"]["mean"], _COLORS[name], filled)
    plain = next(iter(entry["variants"].values()))["summary"]["int8"]["backbone"]["mean"]
    alone = next(iter(costs.values()))[-1]
    axes.axhline(100 * plain, color=style.PLAIN, linewidth=0.9, linestyle=(0, (6, 4)), zorder=1)
    axes.plot(alone / _MILLION, 100 * plain, "D", color=style.PLAIN, ms=6.5, zorder=4, label="backbone alone")
    if (cuts := _published(entry)) is not None:
        places = [((1 - cut / 100) * alone / _MILLION, 100 * plain - lost) for lost, cut in cuts]
        _paper(axes, places, paper)
    _chosen_legend(axes)
    axes.set_xlabel(label, color=style.PLAIN)
    axes.set_ylabel("accuracy (%)", color=style.PLAIN)


def _benefit(axes: Any, entry: dict[str, Any]) -> None:
    """Saved MACs over points lost against the backbone alone."""
    lost = np.asarray(LOST)
    for name, variant in entry["variants"].items():
        rows = [seed["saved_by_points_lost"] for seed in variant["seeds"]]
        saved = 100 * np.array([[np.nan if one is None else one for one in row] for row in rows])
        reached = ~np.isnan(saved).any(axis=0)
        _band(axes, lost[reached], saved[:, reached], _COLORS[name], variant["title"])
        for one in variant["summary"]["calibrated"]:
            filled = one["confidence"] != OBSERVED
            if one["loss"]["mean"] <= lost[-1]:
                _chosen(axes, one["loss"]["mean"], 100 * one["saving"]["mean"], _COLORS[name], filled)
    if (cuts := _published(entry)) is not None:
        _paper(axes, cuts, "paper")
    axes.axhline(0, color=style.PLAIN, linewidth=0.9, linestyle=(0, (6, 4)), zorder=1)
    _chosen_legend(axes)
    axes.set_xlabel("points of accuracy lost against the backbone alone", color=style.PLAIN)
    axes.set_ylabel("multiply-accumulates saved (%)", color=style.PLAIN)


def _band(axes: Any, x: np.ndarray, rows: np.ndarray, color: str, label: str) -> None:
    """The mean of `rows` `(seeds, points)` as a line, their range as a band."""
    axes.fill_between(x, rows.min(axis=0), rows.max(axis=0), color=color, alpha=0.18, linewidth=0, zorder=2)
    axes.plot(x, rows.mean(axis=0), color=color, linewidth=2, zorder=3, label=label)


def _chosen(axes: Any, x: float, y: float, color: str, filled: bool) -> None:
    # A ring is wider than a dot, so that both are seen where they meet.
    if filled:
        axes.plot(x, y, "o", color=color, mec="white", mew=1.0, ms=7, zorder=6)
    else:
        axes.plot(x, y, "o", color="white", mec=color, mew=1.4, ms=10, zorder=5)


def _chosen_legend(axes: Any) -> None:
    quiet = {"color": style.QUIET, "linestyle": "", "marker": "o"}
    axes.plot([], [], ms=7, label="calibrated with a bound (means)", **quiet)
    axes.plot([], [], ms=9, mfc="white", mew=1.4, label="calibrated as observed (means)", **quiet)


def _paper(axes: Any, places: Sequence[tuple[float, float]], label: str) -> None:
    axes.plot(*zip(*places, strict=True), "x", color="black", ms=7, mew=1.8, zorder=6, label=label)


def _published(entry: dict[str, Any]) -> list[tuple[float, float]] | None:
    """(points lost, per cent saved) of the paper."""
    if entry["published"] is None:
        return None
    cuts = entry["published"]["paper"]["cut"]
    return [(points, cuts[f"{points:g}"]) for points in POINTS if f"{points:g}" in cuts]
