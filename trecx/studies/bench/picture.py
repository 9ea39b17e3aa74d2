"""The picture of a benchmark: instructions per MAC of every model, a panel per target, beside the recorded peers."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trecx.errors import ToolMissing
from trecx.files import whole
from trecx.studies.bench.measure import Figures, Model
from trecx.studies.bench.peers import Peer
from trecx.studies.bench.results import Measured

NAME = "bench.png"
PEER = "CMSIS-NN direct"
# Okabe and Ito's palette: told apart with any colour vision, and by lightness in print.
_OURS, _THEIRS, _PLAIN, _QUIET = "#0072B2", "#c9c9c9", "#444444", "#8a8a8a"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": _QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.bottom": False,
}


def draw(measured: Sequence[Measured], folder: Path) -> Path:
    """Write bench.png; equal figures give equal bytes. Raises ToolMissing where matplotlib is absent."""
    if find_spec("matplotlib") is None:
        raise ToolMissing("The picture needs matplotlib.", "Install it with: pip install matplotlib")
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    targets = list(dict.fromkeys(f.target.name for m in measured for f in m.figures))
    rows = [_rows(measured, target) for target in targets]
    heights = [0.5 + sum(0.42 if peer is None else 0.72 for _, _, peer in of_target) for of_target in rows]
    height = sum(heights) + 1.2
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.4, height), dpi=160, facecolor="white")
        FigureCanvasAgg(figure)
        top = height - 0.75
        for target, of_target, tall in zip(targets, rows, heights, strict=True):
            top -= tall
            axes = figure.add_axes((0.16, top / height, 0.66, (tall - 0.42) / height))
            _panel(axes, target, of_target)
        _frame(figure, height, any(peer for of_target in rows for _, _, peer in of_target))
        with whole(folder / NAME) as unfinished:
            figure.savefig(unfinished, format="png", metadata={"Software": None})
    return folder / NAME


def _rows(measured: Sequence[Measured], target: str) -> list[tuple[Model, Figures, Peer | None]]:
    """The models that were counted on a target, each with the peer that it is measured by."""
    found = []
    for m in measured:
        for figures in m.figures:
            if figures.target.name == target:
                others = m.model.known.targets.get(target, ()) if m.model.known else ()
                found.append((m.model, figures, next((p for p in others if p.name == PEER), None)))
    return found


def _panel(axes: Any, target: str, rows: Sequence[tuple[Model, Figures, Peer | None]]) -> None:
    """A bar for each model and, above it, one for its peer."""
    at = 0.0
    ticks, widest = [], 0.0
    for model, figures, peer in rows:
        exit_ = figures.exits[-1]
        macs = max(exit_.macs, 1)
        if peer is not None:
            theirs = peer.instructions / macs
            axes.barh(at, theirs, height=0.8, color=_THEIRS)
            _note(axes, theirs, at, f"{peer.instructions / 1e6:,.2f} M", _QUIET)
            widest, at = max(widest, theirs), at + 0.9
        ours = exit_.instructions / macs
        axes.barh(at, ours, height=0.8, color=_OURS)
        times = "" if peer is None else f"   {_times(peer.instructions, exit_.instructions)}"
        _note(axes, ours, at, f"{exit_.instructions / 1e6:,.2f} M{times}", _OURS, weight="bold")
        ticks.append((at if peer is None else at - 0.45, model.pair.path.stem))
        widest, at = max(widest, ours), at + 1.35
    axes.set_yticks([place for place, _ in ticks], [name for _, name in ticks], color=_PLAIN)
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.set_ylim(at - 0.75, -0.6)
    axes.set_xlim(0, widest)
    axes.set_title(target, loc="left", fontsize=10.5, fontweight="bold", color=_PLAIN, pad=4)


def _times(theirs: int, ours: int) -> str:
    return f"{theirs / ours:.1f}x fewer" if theirs >= ours else f"{ours / theirs:.1f}x more"


def _note(axes: Any, x: float, y: float, text: str, color: str, **style: Any) -> None:
    axes.annotate(text, (x, y), (4, 0), textcoords="offset points", va="center", color=color, fontsize=8.5, **style)


def _frame(figure: Any, height: float, with_peers: bool) -> None:
    figure.text(
        0.02, 1 - 0.26 / height, "Instructions per multiply-accumulate", fontsize=13, fontweight="bold", va="center"
    )
    what = "beside a bar: instructions of a whole inference; every panel has a scale of its own"
    figure.text(0.02, 1 - 0.53 / height, what, color=_PLAIN, va="center")
    legend = [(_OURS, "trecx")] + ([(_THEIRS, "CMSIS-NN called directly, as recorded")] if with_peers else [])
    for k, (color, name) in enumerate(legend):
        figure.text(0.16 + 0.1 * k, 0.2 / height, "■", color=color, va="center", fontsize=12)
        figure.text(0.185 + 0.1 * k, 0.2 / height, name, color=_PLAIN, va="center")
