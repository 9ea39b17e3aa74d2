"""The picture of a memory plan: blocks over time and address, and where outputs run into their inputs."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

from trecx.compiler.memory_map import Block, MemoryMap, problems
from trecx.errors import ToolMissing, TrecxError
from trecx.judge import style

# Okabe and Ito's palette, lightened; told apart by lightness in print.
_FILL = {"input": "#b5dfd2", "tensor": "#bcdcf0", "scratch": "#f2c14e"}
_EDGE = {"input": "#009e73", "tensor": "#0072b2", "scratch": "#b37700"}
_MEANING = {"input": "input", "tensor": "tensor", "scratch": "working memory"}
_HATCH, _SHARED, _CHECK = "////", "#3c8dc0", "#d55e00"
_DASHES = (0, (3, 2))
_STYLE: Any = {**style.STYLE, "text.parse_math": False, "hatch.linewidth": 0.7, "xtick.major.size": 0}
# Inches: a step and what surrounds them, the least width of all; the height of the address space; a letter, a line.
_STEP, _AROUND, _LEAST, _HEIGHT, _LETTER, _LINE = 0.36, 1.0, 7.2, 3.6, 0.085, 0.16
# A picture of more steps than this would be wider than anyone can show.
_MOST_STEPS = 400
# Problems of a damaged map to tell.
_MOST_TOLD = 10


def draw(memory: MemoryMap, folder: Path, title: str, name: str = "memory") -> tuple[Path, ...]:
    """Write `<name>.png` and `<name>.svg` into `folder` and return their paths; equal maps give equal bytes.

    Raises TrecxError for a map that no plan can be, ToolMissing where matplotlib is absent.
    """
    if damage := problems(memory):
        told = [*damage[:_MOST_TOLD], *([f"{len(damage) - _MOST_TOLD} more."] if len(damage) > _MOST_TOLD else [])]
        raise TrecxError([f"The memory plan of {title} is damaged:", *told], "Compile again.")
    if find_spec("matplotlib") is None:
        raise ToolMissing("The memory map needs matplotlib.", "Install it with: pip install matplotlib")
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        width = max(_STEP * min(len(memory.steps), _MOST_STEPS) + _AROUND, _LEAST)
        below = 0.35 + 0.065 * max(map(len, map(_words, memory.steps)))
        height = below + _HEIGHT + 1.4
        figure = Figure(figsize=(width, height), dpi=160, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.8 / width, below / height, 1 - 1.0 / width, _HEIGHT / height))
        _frame(figure, axes, memory, title)
        _blocks(axes, memory)
        _marks(axes, memory)
        return style.save(figure, folder, name)


def shared(memory: MemoryMap) -> Iterator[tuple[int, int, int]]:
    """(step, from, to) of the bytes that an output and a dying input have in common."""
    for a, b in combinations(memory.blocks, 2):
        start, end = max(a.offset, b.offset), min(a.offset + a.size, b.offset + b.size)
        for step in range(max(a.first, b.first), min(a.last, b.last) + 1):
            if start < end:
                yield step, start, end


def in_use(memory: MemoryMap, step: int) -> int:
    """Bytes of the arena that hold something in a step."""
    used, reached = 0, 0
    for block in sorted(_alive(memory, step), key=lambda b: b.offset):
        used += max(0, block.offset + block.size - max(reached, block.offset))
        reached = max(reached, block.offset + block.size)
    return used


def peaks(memory: MemoryMap) -> tuple[int, ...]:
    """The steps with most bytes in use."""
    used = [in_use(memory, step) for step in range(len(memory.steps))]
    most = max(used)
    return tuple(step for step, size in enumerate(used) if size == most)


def _alive(memory: MemoryMap, step: int) -> list[Block]:
    return [block for block in memory.blocks if block.first <= step <= block.last]


def _blocks(axes: Any, memory: MemoryMap) -> None:
    from matplotlib.patches import Rectangle

    plain: Any = {"linewidth": 0.9, "zorder": 2}
    hatched: Any = {"facecolor": "none", "edgecolor": _SHARED, "linewidth": 0, "hatch": _HATCH, "zorder": 3}
    common = tuple(shared(memory))
    for block in memory.blocks:
        corner, width = (block.first, block.offset), block.last - block.first + 1
        fill, edge = _FILL[block.kind], _EDGE[block.kind]
        axes.add_patch(Rectangle(corner, width, block.size, facecolor=fill, edgecolor=edge, **plain))
        _label(axes, memory, block, common)
    for step, start, end in common:
        axes.add_patch(Rectangle((step, start), 1, end - start, **hatched))


def _label(axes: Any, memory: MemoryMap, block: Block, common: Iterable[tuple[int, int, int]]) -> None:
    """What lies in the block, along or upright, where it has room and shares no byte, else where it is born."""
    both = {step for step, start, end in common if block.offset < end and start < block.offset + block.size}
    steps = [step for step in range(block.first, block.last + 1) if step not in both] or [block.first]
    length, height = _LETTER * len(block.label), _HEIGHT * block.size / memory.arena_size
    along = len(steps) * _STEP > length
    if block.kind == "scratch" or height < (_LINE if along else length):
        return
    rim = {"boxstyle": "square,pad=0.15", "facecolor": _FILL[block.kind], "edgecolor": "none"}
    how: Any = {"ha": "center", "va": "center", "fontsize": 8, "color": style.PLAIN, "bbox": rim, "zorder": 4}
    middle = (steps[0] + steps[-1] + 1) / 2
    axes.text(middle, block.offset + block.size / 2, block.label, rotation=0 if along else 90, **how)


def _marks(axes: Any, memory: MemoryMap) -> None:
    """Exit checks, the busiest steps and the end of the arena."""
    top = memory.arena_size
    busiest = peaks(memory)
    first = busiest[0]
    title = "peak" if len(busiest) == 1 else f"peak, {len(busiest)} steps"
    words: Any = {"ha": "center", "va": "bottom", "fontsize": 8.5, "color": style.PLAIN}
    for step in busiest:
        axes.plot((step, step + 1), (top, top), color=style.PLAIN, linewidth=3.5, solid_capstyle="butt", zorder=5)
    axes.text(first + 0.5, top * 1.02, f"{title}\n{in_use(memory, first):,}", **words)
    axes.axhline(top, color=style.PLAIN, linewidth=0.9, linestyle=(0, (6, 4)), zorder=1)
    for check in memory.checks:
        axes.axvline(check + 0.5, color=_CHECK, linewidth=1.4, linestyle=_DASHES, zorder=6)


def _frame(figure: Any, axes: Any, memory: MemoryMap, title: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    width, height = figure.get_size_inches()
    left = 0.8 / width
    above = memory.arena_size - memory.lower_bound
    least = "the least that its busiest step allows"
    size = f"arena of {memory.arena_size:,} bytes, " + (f"{above:,} above {least}" if above else least)
    size += f"; optimized for {memory.optimize}"
    _fit(figure, figure.text(left, 1 - 0.24 / height, title, fontsize=13, fontweight="bold", va="center"))
    _fit(figure, figure.text(left, 1 - 0.52 / height, size, color=style.PLAIN, va="center"))
    axes.set_xlim(0, len(memory.steps))
    axes.set_ylim(0, memory.arena_size * 1.01)
    axes.set_xticks([k + 0.5 for k in range(len(memory.steps))])
    axes.set_xticklabels([_words(step) for step in memory.steps], rotation=90, fontsize=8)
    for check in memory.checks:
        axes.get_xticklabels()[check].set(color=_CHECK, fontweight="bold")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_ylabel("address (bytes)", color=style.PLAIN)
    kinds = [kind for kind in _FILL if any(block.kind == kind for block in memory.blocks)]
    handles: list[Any] = [Patch(facecolor=_FILL[kind], edgecolor=_EDGE[kind], label=_MEANING[kind]) for kind in kinds]
    if any(True for _ in shared(memory)):
        handles.append(Patch(facecolor="white", edgecolor=_SHARED, hatch=_HATCH, label="output over its input"))
    handles.append(Line2D((), (), color=_CHECK, linewidth=1.4, linestyle=_DASHES, label="exit check"))
    place: Any = {"loc": "upper left", "bbox_to_anchor": (left, 1 - 0.62 / height), "ncols": len(handles)}
    figure.legend(
        handles=handles, frameon=False, fontsize=8.5, handlelength=1.3, borderpad=0, columnspacing=1.3, **place
    )


def _fit(figure: Any, text: Any) -> None:
    """A smaller font where a line does not fit into the picture."""
    extent = text.get_window_extent()
    room = figure.bbox.width - extent.x0 - 0.1 * figure.dpi
    if extent.width > room:
        text.set_fontsize(text.get_fontsize() * room / extent.width)


def _words(step: str) -> str:
    """A step's name as it stands below the picture."""
    return step[:28].lower().replace("_", " ")
