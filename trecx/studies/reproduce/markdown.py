"""results.md, from results.json alone: `results.md.j2` is the text, and here is how figures are put."""

from functools import cache
from pathlib import Path
from textwrap import fill
from typing import Any

import jinja2

from trecx.judge.calibrate import FINAL_EXIT
from trecx.studies.reproduce.plan import OBSERVED, PAPER, POINTS, TITLES

FILE = "results.md"
WIDTH = 128

Entry = dict[str, Any]


def text(tasks: dict[str, Entry], docs: Path) -> str:
    """The whole document; pictures and `tried-<task>.md` are linked where they lie in `docs`.

    Raises jinja2.TemplateError, or what arithmetic raises, where an entry is not as results.json has them.
    """
    template = _environment().get_template("results.md.j2")
    return template.render(tasks=[_task(name, tasks[name], docs) for name in sorted(tasks)])


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"shown": format, "wrapped": _wrapped, "samples": _samples, "layers": _layers, "how": _how}
    environment.filters |= {"percent": _percent, "share": _share, "signed": _signed, "mean": _mean}
    environment.filters |= {"cuts": _cuts, "hash_name": _hash_name}
    environment.globals |= {"TITLES": TITLES, "PAPER": PAPER}
    return environment


def _printable(value: object) -> object:
    if not isinstance(value, str | int | float | jinja2.Undefined):
        raise TypeError(f"{value!r} is neither text nor a number")
    return value


def _task(name: str, entry: Entry, docs: Path) -> Entry:
    """An entry with what follows from it."""
    variants = list(entry["variants"].values())
    seeds = [seed for variant in variants for seed in variant["seeds"]]
    headline = (one for one in entry["paired"] if one["claimed"] is not None or entry["published"] is None)
    return entry | {
        "name": name,
        "first": variants[0],
        "proven": min(seed["proven_samples"] for seed in seeds),
        "own_final": any(one.get("reference") == FINAL_EXIT for seed in seeds for one in seed["calibrated"]),
        "late": [v["title"] for v in variants if not all(seed["chosen_before_test"] for seed in v["seeds"])],
        "gain": next(headline) if entry["paired"] else None,
        "kept": [f"{v['title']} {_kept(one)}" for v in variants for one in v["summary"]["calibrated"] if _bound(one)],
        "beside": {file.name for file in docs.glob("*.*") if file.is_file()},
    }


def _wrapped(paragraph: str) -> str:
    return fill(" ".join(paragraph.split()), WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def _samples(split: Entry) -> str:
    return f"{split['samples']:,} {split['description']}"


def _hash_name(weights: str | None) -> str:
    return "SHA-256" if Path(weights or "").suffix else "SHA-256 over the folder's names and contents"


def _layers(early: Entry) -> str:
    """What an attachment puts at its tap."""
    if early.get("blocks"):
        return ", ".join(map(_block, early["blocks"]))
    point = f"1x1 to {early['point_filters']}" if early["point_filters"] else f"first {early['width']} channels"
    return f"{point}, depthwise {early['kernel']}x{early['kernel']} stride {early['stride']}"


def _block(block: Entry) -> str:
    """A block of a head; trainings of old say nothing of kernels, which were 3x3 and separable."""
    kernel = block.get("kernel", 3)
    shape = "" if kernel == 3 else f" {kernel if isinstance(kernel, int) else 'x'.join(map(str, kernel))}"
    kind = "separable" if block.get("separable", True) else "convolution"
    stride = block["stride"] if isinstance(block["stride"], int) else "x".join(map(str, block["stride"]))
    return f"{kind}{shape} {block['filters']} stride {stride}"


def _bound(one: Entry) -> bool:
    """Whether a calibration had to keep the loss within one point by a bound."""
    return bool(one["points"] == 1 and one["confidence"] != OBSERVED)


def _kept(one: Entry) -> str:
    return f"{one['within']} of {one['seeds']} ({one['within'] / one['seeds']:.0%})"


def _cuts(of: Entry) -> list[str]:
    """What was published of MACs saved, for each loss."""
    cells = (of.get(f"{points:g}") for points in POINTS)
    return ["–" if cell is None else f"{cell:.1f}" for cell in cells]


def _how(confidence: float) -> str:
    return "as observed" if confidence == OBSERVED else f"{100 * confidence:g} % bound"


def _percent(of: Entry) -> str:
    """An accuracy in per cent."""
    return _of(of, ".2f", 100)


def _share(of: Entry, interval: bool = True) -> str:
    """A saving or an exit rate in per cent."""
    return _of(of, ".1f", 100, interval)


def _signed(of: Entry) -> str:
    return _of(of, "+.2f")


def _mean(of: Entry) -> str:
    return _of(of, "+.2f", interval=False)


def _of(of: Entry, spec: str, scale: float = 1, interval: bool = True) -> str:
    """A summary in one cell: mean, deviation and interval; the mean alone where all seeds agree."""
    if of["mean"] is None:
        return "–"

    def shown(key: str) -> str:
        return format(scale * of[key], spec)

    if not interval or of["low"] is None or of["least"] == of["most"]:
        return shown("mean")
    return f"{shown('mean')} ± {shown('sd').removeprefix('+')} ({shown('low')} to {shown('high')})"
