"""compare-TASK.md, from the figures alone: `compare.md.j2` is the text, and here is how figures are put."""

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from trecx.studies.compare.plan import BEHIND
from trecx.studies.statistics import Summary


def text(entry: dict[str, Any], stem: str) -> str:
    """The whole page; its pictures and its .json are called after `stem`."""
    told = entry | _earning(entry)
    return _environment().get_template("compare.md.j2").render(entry=told, stem=stem, behind=100 * BEHIND)


def _earning(entry: dict[str, Any]) -> dict[str, Any]:
    """What each candidate with exits saves at the first rule, most first, in instructions where those were counted."""
    kinds = {"instructions_saved": "instructions", "macs_saved": "MACs"}
    found = [(one, one["summary"]["judged"][0]) for one in entry["candidates"] if not one["control"]]
    key = next(kind for kind in kinds if all(judged[kind] is not None for _, judged in found))
    saved = [{"title": c["title"], "saved": j[key]["mean"], "seeds": len(c["seeds"])} for c, j in found]
    return {"earning": sorted(saved, key=lambda one: -one["saved"]), "counted": kinds[key]}


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": _percent,
        "points": _points,
        "number": _number,
        "kib": _kib,
        "millions": _millions,
    }
    return environment


def _percent(of: Summary | None) -> str:
    """A share over seeds in per cent."""
    return _over(of, 100, ".1f")


def _points(of: Summary | None) -> str:
    """Points over seeds, with their sign."""
    return _over(of, 1, "+.2f")


def _millions(of: Summary | None) -> str:
    """A count over seeds in millions."""
    return _over(of, 1e-6, ".2f", interval=False)


def _over(of: Summary | None, factor: float, shown: str, interval: bool = True) -> str:
    if of is None or of["mean"] is None:
        return "–"
    mean = format(factor * of["mean"], shown)
    if of["low"] is None or of["high"] is None or not interval:
        return mean
    return f"{mean} ({factor * of['low']:{shown}} to {factor * of['high']:{shown}})"


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _kib(value: float | None) -> str:
    return "–" if value is None else f"{value / 1024:.1f}"
