"""The report as a person reads it: a few tables and sentences, the same in a terminal and in a pipe.

Its own words are ASCII, and in `text` its lines too, so that no pipe refuses them.
"""

from collections.abc import Iterator
from io import StringIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trecx.judge.calibrate import Calibration
from trecx.judge.evaluate import Accuracy
from trecx.judge.report import Report, TargetReport
from trecx.judge.second_opinion import SecondOpinion
from trecx.judge.verify import Verification

_NONE = "-"
_ASCII = str.maketrans("\u2500\u2026", "-~")


def render(report: Report) -> Group:
    """What `rich.print` shows of a report."""
    return Group(*_parts(report))


def text(report: Report, width: int = 100) -> str:
    """The same as plain text, without colours or control characters, for pipes and files."""
    stream = StringIO()
    Console(file=stream, width=width, color_system=None, force_terminal=False, legacy_windows=False).print(
        render(report)
    )
    lines = stream.getvalue().translate(_ASCII).splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _parts(report: Report) -> Iterator[RenderableType]:
    width = (report.provenance or {}).get("width", 1)
    how = f"method {report.method}" + (f" with {width} of the filters" if width != 1 else "")
    yield Text.assemble((report.title, "bold"), f"  {how}, {report.model.file} {report.model.bytes:,} bytes")
    yield ""
    yield _accuracy(report)
    yield _exits(report)
    if any(exit_.quality for exit_ in report.exits):
        yield ""
        yield _quality(report)
    if report.operating_points:
        yield ""
        yield _operating_points(report)
    yield ""
    for sentence in _computation(report):
        yield Padding(sentence, (0, 0, 0, 2))
    if report.choice is not None:
        yield Padding(f"Found out before the training: {report.choice.told}.", (0, 0, 0, 2))
    if any(t.flash is not None for t in report.targets):
        yield ""
        yield _targets(report)
        if applied := [f"{r.name} ({r.count})" for r in report.rewrites if r.count]:
            yield ""
            yield Padding(f"Exact rewrites: {', '.join(applied)}.", (0, 0, 0, 2))
    yield ""
    if report.verification:
        for outcome in report.verification:
            yield Padding(_verification(outcome), (0, 0, 0, 2))
        if report.second_opinion is not None:
            yield Padding(_second_opinion(report.second_opinion), (0, 0, 0, 2))
    else:
        yield Padding("Not verified against the oracle yet.", (0, 0, 0, 2), style="yellow")
    for warning in report.warnings:
        yield Padding(Text.assemble(("Warning: ", "bold yellow"), warning), (0, 0, 0, 2))


def _quality(report: Report) -> Table:
    """How far an exit's scores can be believed, and how well each criterion tells who is right there."""
    known = [(exit_.name, exit_.quality) for exit_ in report.exits if exit_.quality]
    names = list(dict.fromkeys(name for _, quality in known for name, _ in quality.told))
    table = _table("exit", "NLL", "Brier", "ECE", *(f"AUROC {name}" for name in names))
    for name, quality in known:
        told = dict(quality.told)
        ranks = (told.get(one) for one in names)
        figures = (quality.nll, quality.brier, quality.ece, *ranks)
        table.add_row(escape(name), *(_NONE if figure is None else f"{figure:.3f}" for figure in figures))
    return table


def _operating_points(report: Report) -> RenderableType:
    """The table that the firmware can change between."""
    counted = next((point.counted_on for point in report.operating_points if point.counted_on), None)
    on = (f"instructions, {counted}",) if counted else ()
    table = _table("operating point", "right", "leave early", "MACs, mean", *on)
    for number, point in enumerate(report.operating_points):
        cells: tuple[str, ...] = ("-",) * (3 + len(on))
        if point.accuracy is not None and point.exit_rates is not None:
            cells = (_percent(point.accuracy), _percent(sum(point.exit_rates[:-1])), f"{point.macs:,.0f}")
            cells += ("-" if point.instructions is None else f"{point.instructions:,.0f}",) if on else ()
            table.caption, table.caption_justify = f"predicted on {point.samples:,} validation samples", "left"
        table.add_row(f"{number} {point.name}", *cells)
    return table


def _accuracy(report: Report) -> RenderableType:
    found = report.accuracy
    rows = (
        ("backbone alone, float", found.float_without_exits),
        ("backbone alone, int8", found.int8_without_exits),
        ("with exits, int8", found.int8_with_exits),
    )
    measured = [accuracy for _, accuracy in rows if accuracy]
    if not measured:
        return Padding("Accuracy: not measured, there was no labelled test data.", (0, 0, 1, 2))
    same = len({(a.samples, a.split) for a in measured}) == 1
    table = _table("accuracy", "", "95 % interval", *(() if same else ("samples", "split")))
    for name, accuracy in rows:
        emphasis = "bold" if accuracy is not None and accuracy is found.int8_with_exits else ""
        table.add_row(name, *_shares(accuracy)[: 2 if same else 4], style=emphasis)
    if not same:
        return Group(table, "")
    return Group(table, Text(f"  on {measured[0].samples:,} samples: {measured[0].split}", style="italic"), "")


def _shares(accuracy: Accuracy | None) -> tuple[str, ...]:
    if accuracy is None:
        return ("not measured", "", "", "")
    interval = f"{100 * accuracy.low:.1f} to {100 * accuracy.high:.1f}"
    return (_percent(accuracy.value), interval, f"{accuracy.samples:,}", escape(accuracy.split))


def _exits(report: Report) -> Table:
    whole, name = (report.macs.backbone, "backbone") if report.macs.backbone else (report.macs.worst, "final exit")
    table = _table("exit", "threshold", "MACs to here", f"of {name}", "accuracy", "leave here", "right of those")
    thresholds = {p.exit: p.threshold for p in report.operating_point}
    for exit_ in report.exits:
        early = exit_.name in thresholds
        threshold = thresholds.get(exit_.name)
        table.add_row(
            escape(exit_.name),
            ("never" if threshold is None else f"{threshold:g}") if early else "",
            f"{exit_.macs:,}",
            f"{exit_.macs / whole:.0%}",
            _percent(exit_.accuracy.value) if exit_.accuracy else _NONE,
            _percent(exit_.rate) if exit_.rate is not None else _NONE,
            _percent(exit_.accuracy_taken.value) if exit_.accuracy_taken else _NONE,
        )
    return table


def _computation(report: Report) -> Iterator[Text]:
    macs = report.macs
    if macs.mean is not None and macs.saving is not None:
        whole, what = (macs.backbone, "backbone") if macs.backbone else (macs.worst, "final exit")
        change = f"{abs(macs.saving):.1%} {'below' if macs.saving >= 0 else 'above'} the {what}'s {whole:,}"
        yield Text.assemble("Mean ", (f"{macs.mean:,.0f} MACs", "bold"), f", {change}; worst case {macs.worst:,}.")
    else:
        backbone = f", backbone {macs.backbone:,}" if macs.backbone else ""
        yield Text(f"Worst case {macs.worst:,} MACs{backbone}; the mean needs test data.")
    if report.loss is not None:
        gained = "gained" if report.accuracy.comparable else "more than a guess, which is no gain,"
        word = "lost" if report.loss >= 0 else gained
        low, high = report.loss_interval or (report.loss, report.loss)
        yield Text(
            f"{abs(report.loss):.2f} points of accuracy {word} against the int8 backbone on the same samples "
            f"(95 % interval {low:+.2f} to {high:+.2f} lost)."
        )
    if report.break_even_rate is not None:
        actual = "" if report.exit_rate is None else f"; {_percent(report.exit_rate)} do"
        yield Text(f"Exits pay once {_percent(report.break_even_rate)} of the samples leave early{actual}.")
    counted = [t for t in report.targets if t.instructions_backbone is not None and report.exit_rate is not None]
    if counted:
        yield Text(f"By executed instructions exits pay {'; '.join(map(_pays_on, counted))}.")
    if (calibration := report.calibration) is not None and calibration.limits:
        yield Text(_promise(calibration))
        yield from _growth(report)


def _promise(found: Calibration) -> str:
    """What was calibrated on what, and what is promised."""
    more = f" and {found.left_out:,} of the training data" if found.left_out else ""
    more += f" and {found.unlabelled:,} without labels" if found.unlabelled else ""
    samples = f"{found.samples - found.left_out:,} validation samples"
    told = f"Threshold calibrated on {samples}{more}: {found.loss:.2f} points lost there"
    bound = f", at most {found.bound:.2f} {found.how}" if found.confidence != 0.5 else ""
    return f"{told} against {found.reference}{bound} ({found.points:g} allowed)."


def _growth(report: Report) -> Iterator[Text]:
    """What more labelled samples would buy."""
    most = report.promisable[-1] if report.promisable else None
    if most is not None and report.calibration is not None and most.exit_rate > report.calibration.exit_rate:
        yield Text(
            f"With {most.samples:,} labelled samples instead of {report.calibration.samples:,} about "
            f"{_percent(most.exit_rate)} could leave early with the same promise, instead of "
            f"{_percent(report.calibration.exit_rate)} (extrapolated)."
        )


def _pays_on(target: TargetReport) -> str:
    """From which exit rate on exits save a target's instructions."""
    rate = target.break_even_rate
    return f"{'never' if rate is None else f'once {_percent(rate)} leave early'} on {target.name}"


def _targets(report: Report) -> Table:
    """Targets side by side, one line per quantity that any of them knows."""
    targets = [t for t in report.targets if t.flash is not None]
    table = _table("firmware", *(escape(t.name) for t in targets))
    lines: list[tuple[str, list[float | None]]] = [
        (f"instructions to {e.name}", [t.instructions[k] if t.instructions else None for t in targets])
        for k, e in enumerate(report.exits)
    ]
    lines += [
        ("instructions, mean", [t.instructions_mean for t in targets]),
        (f"counted on {next((t.inputs for t in targets if t.inputs), 'samples')}", [t.samples for t in targets]),
        ("flash, bytes", [t.flash for t in targets]),
        ("of it the model", [t.model_flash for t in targets]),
        ("RAM, bytes", [t.ram for t in targets]),
        ("of it the arena", [t.arena for t in targets]),
        ("stack, bytes", [t.stack for t in targets]),
    ]
    for name, values in lines:
        if any(value is not None for value in values):
            table.add_row(escape(name), *(_number(value) for value in values))
    return table


def _verification(outcome: Verification) -> Text:
    less = f" of {outcome.of:,}" if outcome.of is not None and outcome.of > outcome.samples else ""
    what = f"{outcome.samples:,}{less} samples" + (f" ({outcome.inputs})" if outcome.inputs else "")
    if outcome.mismatches:
        return Text.assemble((f"{outcome.target}: DIFFERS ", "bold red"), outcome.message)
    return Text.assemble((f"{outcome.target}: bit-exact", "bold green"), f" on {what}, oracle {outcome.oracle}.")


def _second_opinion(found: SecondOpinion) -> Text:
    if found.unavailable:
        return Text.assemble(("no second opinion", "bold yellow"), f" of {found.interpreter}: {found.unavailable}")
    if found.unexplained:
        return Text.assemble((f"{found.interpreter}: DISAGREES ", "bold red"), found.message)
    known = (
        f"; {found.fully_connected} of FULLY_CONNECTED off by 1, a known difference" if found.fully_connected else ""
    )
    counts = f"{found.equal:,} of {found.compared:,} operator runs equal{known}"
    return Text.assemble(
        ("second opinion", "bold green"), f" on {found.samples:,} samples, {found.interpreter}: {counts}."
    )


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=True, header_style="dim", show_edge=False, padding=(0, 1))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="left" if name == "split" else "right", no_wrap=True)
    return table


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f}"
