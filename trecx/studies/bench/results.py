"""Measurements as a person reads them (tables) and as a program does (`trecx-bench/1`, see docs/bench.md)."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trecx import __version__
from trecx.studies.bench import peers
from trecx.studies.bench.measure import ClassCost, Figures, Model

FORMAT = "trecx-bench/1"
NARROWEST = 132
LAYER_PEERS = ("CMSIS-NN", "TFLM")


@dataclass(frozen=True)
class Measured:
    """A model with its figures on every target; `left_out` are sentences about targets without any."""

    model: Model
    figures: tuple[Figures, ...]
    left_out: tuple[str, ...] = ()


def as_json(measured: Sequence[Measured], oracle: str, tools: dict[str, str]) -> dict[str, Any]:
    """The whole of a benchmark; its keys are documented and stay."""
    return {
        "format": FORMAT,
        "trecx": __version__,
        "oracle": oracle,
        "tools": tools,
        "peers_counted_with": peers.counted_with(),
        "models": [_model_json(m) for m in measured],
    }


def _model_json(measured: Measured) -> dict[str, Any]:
    pair = measured.model.pair
    return {
        "title": measured.model.title,
        "file": pair.path.name,
        "sha256": pair.exits.model_sha256,
        "macs": list(pair.macs),
        "targets": [_figures_json(measured.model, f) for f in measured.figures],
        "left_out": list(measured.left_out),
    }


def _figures_json(model: Model, figures: Figures) -> dict[str, Any]:
    sizes = figures.sizes
    return {
        "target": figures.target.name,
        "optimize": figures.optimize,
        "samples": figures.samples,
        "mismatches": 0,
        "exits": [{**asdict(e), "per_mac": e.per_mac} for e in figures.exits],
        "why_no_cycles": figures.why_no_cycles,
        "arena": sizes.arena,
        "stack": figures.stack,
        "network": {"flash": sizes.network_flash, "code": sizes.network_code, "tables": sizes.network_tables},
        "firmware": {"flash": sizes.flash, "ram": sizes.ram},
        "classes": [{**asdict(c), "unit": c.unit, "per_unit": c.per_unit} for c in figures.classes],
        "rest": figures.rest,
        "peers": [asdict(p) for p in _peers(model, figures)],
    }


def text(measured: Sequence[Measured]) -> str:
    """Every table as plain text."""
    return plain(Group(*(part for m in measured for part in _parts(m)), *_notes(measured)))


def plain(shown: RenderableType) -> str:
    """What `rich.print` would show, as wide as the terminal, and at least as wide as the tables need."""
    stream = StringIO()
    width = max(shutil.get_terminal_size((NARROWEST, 24)).columns, NARROWEST)
    Console(file=stream, width=width, color_system=None, force_terminal=False, legacy_windows=False).print(shown)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _parts(measured: Measured) -> Iterator[RenderableType]:
    model = measured.model
    exits = ", ".join(f"{e.name} {macs:,}" for e, macs in zip(model.pair.graph.exits, model.pair.macs, strict=True))
    yield Text.assemble((model.title, "bold"), f"  {model.pair.path.name}, MACs {exits}")
    yield ""
    yield _totals(measured)
    yield ""
    yield _layers(measured)
    yield ""
    for sentence in measured.left_out:
        yield Padding(Text.assemble(("Left out: ", "bold yellow"), sentence), (0, 0, 0, 2))


def _totals(measured: Measured) -> Table:
    """One line per target and exit, and below each target its peers."""
    of_memory = ("arena", "stack", "network", "code", "tables", "program")
    found = table("target", "exit, x ours", "instructions", "per MAC", "k cycles", *of_memory)
    for figures in measured.figures:
        sizes = figures.sizes
        network = (sizes.network_flash, sizes.network_code, sizes.network_tables)
        memory = [number(b) for b in (sizes.arena, figures.stack, *network, sizes.flash)]
        for k, exit_ in enumerate(figures.exits):
            last = k + 1 == len(figures.exits)
            costs = (number(exit_.instructions), _ratio(exit_.per_mac), _thousands(exit_.cycles))
            target = figures.target.name if k == 0 else ""
            found.add_row(target, escape(exit_.name), *costs, *(memory if last else ()), style="bold" if last else "")
        for peer in _peers(measured.model, figures):
            times = f"{peer.instructions / figures.exits[-1].instructions:.1f}x"
            ratio = _ratio(peer.instructions / figures.exits[-1].macs)
            memory = [number(peer.ram), number(peer.stack), number(peer.flash)]
            found.add_row(f"  {peer.name}", times, number(peer.instructions), ratio, _thousands(peer.cycles), *memory)
    return found


def _layers(measured: Measured) -> Table:
    """One line per target and layer class on the way to the final exit."""
    found = table("target", "layers", "", "MACs", "instructions", "per MAC", *LAYER_PEERS)
    for figures in measured.figures:
        for k, cost in enumerate(figures.classes):
            target = figures.target.name if k == 0 else ""
            others = [_layer_peer(measured.model, figures, cost, peer) for peer in LAYER_PEERS]
            unit = "" if cost.macs else " /element"
            macs = number(cost.macs or None)
            row = (target, cost.name, str(cost.layers), macs, number(cost.instructions))
            found.add_row(*row, f"{cost.per_unit:.2f}{unit}", *others)
        found.add_row("", "rest", "", "", number(figures.rest))
    found.columns[1].justify = "left"
    return found


def _layer_peer(model: Model, figures: Figures, cost: ClassCost, peer: str) -> str:
    if model.known is None:
        return "-"
    value, mean = model.known.of_class(figures.target.name, cost.name, peer)
    return "-" if value is None else f"{value:.2f}{'*' if mean else ''}"


def _notes(measured: Sequence[Measured]) -> Iterator[RenderableType]:
    """What the tables do not say of themselves."""
    figures = [f for m in measured for f in m.figures]
    notes = [f"Every answer equals the oracle's: {f.samples} synthetic samples at every exit." for f in figures[:1]]
    reasons = {f"{f.target.name}: {f.why_no_cycles}" for f in figures if f.why_no_cycles}
    notes += [f"No cycles for {reason}." for reason in sorted(reasons)]
    notes.append("network: flash of the model's code and tables; program: of everything with the serial port's loop.")
    if any(m.model.known for m in measured):
        counted = peers.counted_with()
        notes += [
            f"Peers: {counted['peers']}.",
            f"Counted with {counted['compiler']}, {counted['emulator']}; tflite-micro @{counted['tflite-micro']}; "
            f"CMSIS-NN @{counted['CMSIS-NN']}.",
            f"Peers' arena: {counted['ram']}. Peers' network: {counted['flash']}.",
            "*: mean of all their convolutions.",
        ]
    for note in notes:
        yield Padding(Text(note), (0, 0, 0, 2))


def _peers(model: Model, figures: Figures) -> tuple[peers.Peer, ...]:
    return model.known.targets.get(figures.target.name, ()) if model.known else ()


def table(first: str, *others: str) -> Table:
    """A table in the house's style, numbers to the right."""
    new = Table(box=box.SIMPLE_HEAD, pad_edge=True, header_style="dim", show_edge=False, padding=(0, 1))
    new.add_column(first, no_wrap=True)
    for name in others:
        new.add_column(name, justify="right", no_wrap=True)
    return new


def number(value: float | None) -> str:
    """A number with thousands apart, or a dash where there is none."""
    return "-" if value is None else f"{value:,.0f}"


def _thousands(value: int | None) -> str:
    return "-" if value is None else f"{value / 1000:,.0f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
