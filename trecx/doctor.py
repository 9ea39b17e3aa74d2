"""`trecx doctor`: what is installed, what is missing and how to get it."""

import platform
import re
from dataclasses import asdict, dataclass
from importlib import metadata

from rich.table import Table

from trecx import __version__
from trecx.console import Console
from trecx.device.toolchain import tools

# (distribution, what it is for, how to install it)
PACKAGES = (
    ("numpy", "arithmetic", "pip install trecx"),
    ("jinja2", "templates of the generated C", "pip install trecx"),
    ("ai-edge-litert", "TFLite schema; second opinion", "pip install trecx"),
    ("tflite-micro", "the oracle of every proof", "pip install trecx"),
    ("matplotlib", "pictures of the report", "pip install trecx"),
    ("tensorflow", "training", 'pip install "trecx[train]"'),
    ("tf_keras", "training", 'pip install "trecx[train]"'),
    ("tensorflow-model-optimization", "quantization-aware training", 'pip install "trecx[train]"'),
    ("optuna", "searching exits", 'pip install "trecx[search]"'),
)


@dataclass(frozen=True)
class Finding:
    """One program or package; `version` is None where it is missing."""

    name: str
    purpose: str
    version: str | None
    hint: str


def examine() -> tuple[Finding, ...]:
    """Look at everything that some step of trecx uses. Imports none of it."""
    own = (
        Finding("trecx", "this program", __version__, ""),
        Finding("python", "runs it", platform.python_version(), ""),
    )
    packages = tuple(Finding(name, purpose, _version(name), hint) for name, purpose, hint in PACKAGES)
    programs = tuple(Finding(t.name, t.purpose, _number(t.version), t.hint) for t in tools())
    return own + packages + programs


def as_json(found: tuple[Finding, ...]) -> list[dict[str, str | None]]:
    """The findings as plain objects."""
    return [asdict(finding) for finding in found]


def show(found: tuple[Finding, ...], console: Console) -> None:
    """Print the findings as a table, with the way to install each missing one."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "installed", "for"):
        table.add_column(heading)
    for finding in found:
        table.add_row(finding.name, finding.version or "missing", finding.purpose)
    console.out(table)
    missing = sorted({finding.hint for finding in found if finding.version is None})
    if missing:
        console.out("\nTo install what is missing:\n" + "\n".join(f"  {hint}" for hint in missing))


def _number(line: str | None) -> str | None:
    """The version number in the line with which a program introduces itself; distributions put theirs in brackets."""
    found = re.search(r"\d+(\.\d+)+", re.sub(r"\(.*?\)", "", line)) if line else None
    return found.group() if found else line


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
