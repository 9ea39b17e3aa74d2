"""Door 1: `exits.json`, which says what the outputs of a `.tflite` mean. Nothing else crosses from LEARN to COMPILE.

    {
      "format": "trecx-exits/1",
      "task": "kws", "method": "trecx",
      "model": {"file": "kws.tflite", "sha256": "..."},
      "classes": ["down", ...],
      "exits": [{"name": "early", "output": "early", "criterion": "max_score"},
                {"name": "final", "output": "final"}],
      "operating_points": [{"name": "calibrated", "thresholds": {"early": 0.78}}]
    }

Exits come in the order in which they are taken and are bound to the model's outputs by name, never by position.
The first operating point is the firmware's default; without one, every early exit starts as "never".
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trecx.errors import TrecxError

FORMAT = "trecx-exits/1"
CRITERIA = ("max_score",)


@dataclass(frozen=True)
class ExitSpec:
    """One exit: its own name, the name of the model output that carries its scores, and how it decides.

    The last exit has no criterion: it always answers.
    """

    name: str
    output: str
    criterion: str | None = None


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold for each early exit, by exit name: leave where the highest score is at least that large."""

    name: str
    thresholds: dict[str, float]


@dataclass(frozen=True)
class Exits:
    """The whole of `exits.json`."""

    task: str
    method: str
    model_file: str
    model_sha256: str
    classes: tuple[str, ...]
    exits: tuple[ExitSpec, ...]
    operating_points: tuple[OperatingPoint, ...] = ()

    def thresholds(self) -> tuple[float | None, ...]:
        """Thresholds of the early exits at the default operating point; None means "never"."""
        chosen = self.operating_points[0].thresholds if self.operating_points else {}
        return tuple(chosen.get(e.name) for e in self.exits[:-1])

    def write(self, path: Path) -> None:
        """Write `exits.json` as readable, deterministic text."""
        early = [asdict(e) for e in self.exits]
        document = {
            "format": FORMAT,
            "task": self.task,
            "method": self.method,
            "model": {"file": self.model_file, "sha256": self.model_sha256},
            "classes": list(self.classes),
            "exits": [{k: v for k, v in e.items() if v is not None} for e in early],
            "operating_points": [asdict(p) for p in self.operating_points],
        }
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(path: Path) -> Exits:
    """Read and check `exits.json`; raise TrecxError with everything that is wrong with it."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TrecxError(f"{path}: not readable as JSON: {error}.") from error
    problems = list(_problems(document))
    if problems:
        raise TrecxError([f"{path}: {p}." for p in problems], f"The format is described in trecx/exits.py ({FORMAT}).")
    return Exits(
        task=document["task"],
        method=document["method"],
        model_file=document["model"]["file"],
        model_sha256=document["model"]["sha256"],
        classes=tuple(document["classes"]),
        exits=tuple(ExitSpec(e["name"], e["output"], e.get("criterion")) for e in document["exits"]),
        operating_points=tuple(
            OperatingPoint(p["name"], {k: float(v) for k, v in p["thresholds"].items()})
            for p in document.get("operating_points", [])
        ),
    )


def check_threshold(value: Any) -> str | None:
    """What is wrong with a threshold on the highest score, or None: it must lie in (0, 1]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return f"threshold {str(value)[:40]!r} is not a number"
    if not 0 < value <= 1:
        return f"threshold {str(value)[:40]} is outside (0, 1]"
    return None


def _problems(document: Any) -> Iterator[str]:
    if not isinstance(document, dict):
        yield "the document is not an object"
        return
    if document.get("format") != FORMAT:
        yield f"format is {document.get('format')!r}, expected {FORMAT!r}"
    for key in ("task", "method"):
        if not isinstance(document.get(key), str):
            yield f"{key!r} is missing or not a string"
    model = document.get("model")
    if not isinstance(model, dict) or not all(isinstance(model.get(k), str) for k in ("file", "sha256")):
        yield "'model' must name its file and sha256"
    classes = document.get("classes")
    if not isinstance(classes, list) or len(classes) < 2 or not all(isinstance(c, str) for c in classes):
        yield "'classes' must list at least two names"
    yield from _exit_problems(document.get("exits"))
    yield from _point_problems(document)


def _exit_problems(exits: Any) -> Iterator[str]:
    shaped = isinstance(exits, list) and all(
        isinstance(e, dict) and isinstance(e.get("name"), str) and isinstance(e.get("output"), str) for e in exits
    )
    if not shaped or not exits:
        yield "'exits' must list at least one exit, each with 'name' and 'output'"
        return
    for key in ("name", "output"):
        values = [e[key] for e in exits]
        if len(set(values)) < len(values):
            yield f"two exits share the same {key!r}"
    for e in exits[:-1]:
        if e.get("criterion") not in CRITERIA:
            yield f"exit {e['name']!r} has criterion {e.get('criterion')!r}; supported: {', '.join(CRITERIA)}"
    if exits[-1].get("criterion") is not None:
        yield f"the last exit, {exits[-1]['name']!r}, always answers and takes no criterion"


def _point_problems(document: dict[str, Any]) -> Iterator[str]:
    points = document.get("operating_points", [])
    if not isinstance(points, list):
        yield "'operating_points' must be a list"
        return
    exits = document.get("exits")
    early = [e.get("name") for e in exits[:-1] if isinstance(e, dict)] if isinstance(exits, list) else []
    for point in points:
        thresholds = point.get("thresholds") if isinstance(point, dict) else None
        if not isinstance(thresholds, dict) or not isinstance(point.get("name"), str):
            yield "each operating point needs 'name' and 'thresholds'"
            continue
        for name, value in thresholds.items():
            if name not in early:
                yield f"operating point {point['name']!r} names {name!r}, which is no early exit"
            elif problem := check_threshold(value):
                yield f"operating point {point['name']!r}, exit {name!r}: {problem}"
