"""Door 1: `exits.json`, which says what the outputs of a `.tflite` mean. Nothing else crosses from LEARN to COMPILE.

    {
      "format": "trecx-exits/2",
      "task": "kws", "method": "trecx",
      "model": {"file": "kws.tflite", "sha256": "..."},
      "classes": ["down", ...],
      "exits": [{"name": "early", "output": "early", "criterion": "max_score"},
                {"name": "later", "output": "later", "criterion": "gate", "gate": "later_gate"},
                {"name": "final", "output": "final"}],
      "otherwise": "final",
      "operating_points": [{"name": "calibrated", "thresholds": {"early": 0.78, "later": 0.5}}]
    }

Exits come in the order in which they are taken and are bound to the model's outputs by name, never by position.
"classes" is empty for a model whose answers are values or maps; an exit may then name several "outputs". An exit with
the criterion "gate" decides by an output of one value, others by the logits behind their class scores. Where no exit
is sure enough, "otherwise" says which answers: the last ("final"), or of all the surest ("most_confident").
The first operating point is the firmware's default; without one, every early exit starts as "never". Where there are
several the firmware can change between them, and one but the first that does not name an exit does not compute it.
"predicted" says what a point did to the samples it was chosen on: {"samples": 512, "accuracy": 0.92,
"exit_rates": [0.4, 0.1, 0.5], "macs": 1700000.0, "instructions": {"cortex-m4": 1900000.0}}, or no last one.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trecx import documents
from trecx.decision import CRITERIA
from trecx.errors import TrecxError
from trecx.files import write_json

# A label is one byte, and what decides sums over the classes in 32 bits.
MOST_CLASSES = 256
MOST_POINTS = 64
FORMAT = "trecx-exits/2"
FORMATS = ("trecx-exits/1", FORMAT)  # the first has neither gates nor "outputs" nor "otherwise"
FINAL, MOST_CONFIDENT = OTHERWISE = ("final", "most_confident")
KEYS = ("format", "task", "method", "model", "classes", "exits", "otherwise", "operating_points")
EXIT_KEYS = ("name", "output", "outputs", "criterion", "gate")


@dataclass(frozen=True)
class ExitSpec:
    """One exit: its own name, the name of the model output that it answers with, and how it decides.

    `gate` is the output that a gate decides by, `others` are further outputs of the answer. The last exit has no
    criterion: it always answers.
    """

    name: str
    output: str
    criterion: str | None = None
    gate: str | None = None
    others: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every output of the answer."""
        return (self.output, *self.others)


@dataclass(frozen=True)
class Predicted:
    """What an operating point did to the samples that it was chosen on: shares, and mean MACs as compiled.

    `instructions` are the mean on a target, by its name, where the points were chosen by them.
    """

    samples: int
    accuracy: float
    exit_rates: tuple[float, ...]
    macs: float
    instructions: dict[str, float] | None = None


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold for each early exit, by exit name; what it is on says the exit's criterion (`trecx/decision/`)."""

    name: str
    thresholds: dict[str, float]
    predicted: Predicted | None = None


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
    otherwise: str = FINAL

    def thresholds(self) -> tuple[float | None, ...]:
        """Thresholds of the early exits at the default operating point; None means "never"."""
        chosen = self.operating_points[0].thresholds if self.operating_points else {}
        return tuple(chosen.get(e.name) for e in self.exits[:-1])

    def write(self, path: Path) -> None:
        """Write `exits.json` as readable, deterministic text."""
        document = {
            "format": FORMAT,
            "task": self.task,
            "method": self.method,
            "model": {"file": self.model_file, "sha256": self.model_sha256},
            "classes": list(self.classes),
            "exits": [_told(e) for e in self.exits],
            "otherwise": self.otherwise,
            "operating_points": [_present(asdict(p)) for p in self.operating_points],
        }
        write_json(path, document)


def read(path: Path) -> Exits:
    """Read and check `exits.json`; raise TrecxError with everything that is wrong with it."""
    try:
        document = documents.read(path)
    except documents.Unreadable as error:
        raise TrecxError(f"{path}: not readable as JSON: {error}.") from error
    problems = list(_problems(document))
    if problems:
        raise TrecxError([f"{path}: {p}." for p in problems], f"The format is described in trecx/exits.py ({FORMAT}).")
    return Exits(
        task=document["task"],
        method=document["method"],
        model_file=document["model"]["file"],
        model_sha256=document["model"]["sha256"],
        classes=tuple(document.get("classes", ())),
        exits=tuple(_exit(e) for e in document["exits"]),
        operating_points=tuple(
            OperatingPoint(p["name"], {k: float(v) for k, v in p["thresholds"].items()}, _predicted(p))
            for p in document.get("operating_points", [])
        ),
        otherwise=document.get("otherwise", FINAL),
    )


def _told(spec: ExitSpec) -> dict[str, Any]:
    """An exit as it stands in the document."""
    answer: dict[str, Any] = {"outputs": list(spec.outputs)} if spec.others else {"output": spec.output}
    decision = {"criterion": spec.criterion, "gate": spec.gate}
    return {"name": spec.name, **answer, **{k: v for k, v in decision.items() if v is not None}}


def _exit(document: dict[str, Any]) -> ExitSpec:
    output, *others = _outputs(document)
    return ExitSpec(document["name"], output, document.get("criterion"), document.get("gate"), tuple(others))


def _outputs(document: dict[str, Any]) -> list[str]:
    """The outputs that an exit names; none where they are not named as they should be."""
    named = document.get("outputs", [document.get("output")])
    return named if isinstance(named, list) and all(isinstance(one, str) for one in named) else []


def _present(document: dict[str, Any]) -> dict[str, Any]:
    """A document without what is None."""
    inner = {key: _present(value) if isinstance(value, dict) else value for key, value in document.items()}
    return {key: value for key, value in inner.items() if value is not None}


def _predicted(point: dict[str, Any]) -> Predicted | None:
    found: Predicted | None = documents.typed(Predicted | None, point.get("predicted"))
    return found


def _unknown(what: str, document: dict[str, Any], known: tuple[str, ...]) -> Iterator[str]:
    """What nobody reads, which may be a slip of the pen in something that decides."""
    odd = [repr(key[:40]) for key in document if key not in known]
    if odd:
        yield f"{what} has {', '.join(odd[:5])}, which is not known; known: {', '.join(known)}"


def _problems(document: Any) -> Iterator[str]:
    if not isinstance(document, dict):
        yield "the document is not an object"
        return
    if document.get("format") not in FORMATS:
        yield f"format is {document.get('format')!r}, expected {FORMAT!r}"
    yield from _unknown("the document", document, KEYS)
    if document.get("format") == FORMATS[0]:
        exits = document.get("exits")
        listed = [e for e in exits if isinstance(e, dict)] if isinstance(exits, list) else []
        newer = {key for one in (document, *listed) for key in one} & {"otherwise", "gate", "outputs"}
        yield from (f"{key!r} does not exist in {FORMATS[0]}; it came with {FORMAT}" for key in sorted(newer))
    for key in ("task", "method"):
        if not isinstance(document.get(key), str):
            yield f"{key!r} is missing or not a string"
    model = document.get("model")
    if not isinstance(model, dict) or not all(isinstance(model.get(k), str) for k in ("file", "sha256")):
        yield "'model' must name its file and sha256"
    else:
        yield from _unknown("'model'", model, ("file", "sha256"))
    classes = document.get("classes", [])
    if not isinstance(classes, list) or len(classes) == 1 or not all(isinstance(c, str) for c in classes):
        yield "'classes' must list at least two names, or none for a model that is no classifier"
    elif len(classes) > MOST_CLASSES:
        yield f"{len(classes)} classes; supported: up to {MOST_CLASSES}"
    elif repeated := sorted({c for c in classes if classes.count(c) > 1}):
        yield f"'classes' name {', '.join(map(repr, repeated))} more than once"
    if document.get("otherwise", FINAL) not in OTHERWISE:
        yield f"'otherwise' is {document['otherwise']!r}; supported: {', '.join(OTHERWISE)}"
    yield from _exit_problems(document.get("exits"), bool(classes))
    if document.get("otherwise") == MOST_CONFIDENT:
        yield from _comparison_problems(document.get("exits"))
    yield from _point_problems(document)


def _exit_problems(exits: Any, classes: bool) -> Iterator[str]:
    shaped = isinstance(exits, list) and all(
        isinstance(e, dict) and isinstance(e.get("name"), str) and _outputs(e) for e in exits
    )
    if not shaped or not exits:
        yield "'exits' must list at least one exit, each with 'name' and 'output'"
        return
    for e in exits:
        yield from _unknown(f"exit {e['name']!r}", e, EXIT_KEYS)
        if "output" in e and "outputs" in e:
            yield f"exit {e['name']!r} has both 'output' and 'outputs'; say which it answers with"
    names, outputs = [e["name"] for e in exits], [name for e in exits for name in _outputs(e)]
    for key, values in (("name", names), ("output", outputs)):
        if len(set(values)) < len(values):
            yield f"two exits share the same {key!r}"
    known = {kind.name: kind for kind in CRITERIA}
    for e in exits[:-1]:
        kind = known.get(str(e.get("criterion")))
        if kind is None:
            yield f"exit {e['name']!r} has criterion {e.get('criterion')!r}; supported: {', '.join(known)}"
        elif kind.gate != isinstance(e.get("gate"), str):
            needs = "must name the output of one value that it decides by as 'gate'"
            yield f"exit {e['name']!r} {needs if kind.gate else 'names a gate, which only the criterion gate reads'}"
        elif not classes and not kind.gate:
            yield f"exit {e['name']!r} decides by {kind.name} of class scores, and there are no 'classes'"
    if exits[-1].get("criterion") is not None or exits[-1].get("gate") is not None:
        yield f"the last exit, {exits[-1]['name']!r}, always answers and takes no criterion"
    if classes and any(len(_outputs(e)) > 1 for e in exits):
        yield "class scores are one output; an exit names several"


def _comparison_problems(exits: Any) -> Iterator[str]:
    """Why the surest of these exits cannot be found, where they are well-formed."""
    early = [e for e in exits[:-1] if isinstance(e, dict)] if isinstance(exits, list) else []
    named = {str(e.get("criterion")) for e in early}
    comparable = [kind.name for kind in CRITERIA if kind.comparable]
    if len(named) != 1 or not named <= set(comparable):
        yield f"'otherwise' is {MOST_CONFIDENT!r}: all early exits need one criterion, {' or '.join(comparable)}"


def _point_problems(document: dict[str, Any]) -> Iterator[str]:
    points = document.get("operating_points", [])
    if not isinstance(points, list):
        yield "'operating_points' must be a list"
        return
    if len(points) > MOST_POINTS:
        yield f"{len(points)} operating points; supported: up to {MOST_POINTS}"
        return
    exits = document.get("exits")
    listed = [e for e in exits[:-1] if isinstance(e, dict)] if isinstance(exits, list) else []
    known = {kind.name: kind for kind in CRITERIA}
    early = {str(e.get("name")): known.get(str(e.get("criterion")), CRITERIA[0]) for e in listed}
    seen: set[str] = set()
    for point in points:
        thresholds = point.get("thresholds") if isinstance(point, dict) else None
        if not isinstance(thresholds, dict) or not isinstance(point.get("name"), str):
            yield "each operating point needs 'name' and 'thresholds'"
            continue
        yield from _unknown(f"operating point {point['name']!r}", point, ("name", "thresholds", "predicted"))
        yield from _prediction_problems(point, len(exits) if isinstance(exits, list) else 0)
        if point["name"] in seen:
            yield f"two operating points are called {point['name']!r}"
        seen.add(point["name"])
        for name, value in thresholds.items():
            if name not in early:
                yield f"operating point {point['name']!r} names {name!r}, which is no early exit"
            elif problem := early[name].check(value):
                yield f"operating point {point['name']!r}, exit {name!r}: {problem}"


def _prediction_problems(point: dict[str, Any], exits: int) -> Iterator[str]:
    told = f"operating point {point['name']!r}, 'predicted'"
    try:
        found = _predicted(point)
    except documents.Unreadable as error:
        yield f"{told}: {error}"
        return
    if found is None:
        return
    shares = (found.accuracy, *found.exit_rates)
    if not 1 <= found.samples < 2**31 or not all(0 <= share <= 1 for share in shares) or not 0 <= found.macs < 1e18:
        yield f"{told}: samples are at least 1, accuracy and exit_rates shares of 1, and macs not negative"
    elif abs(sum(found.exit_rates) - 1) > 1e-6:
        yield f"{told}: exit_rates add up to {sum(found.exit_rates):g}, not 1"
    if not all(0 <= count < 1e18 for count in (found.instructions or {}).values()):
        yield f"{told}: instructions are not negative"
    if len(found.exit_rates) != exits:
        yield f"{told}: {len(found.exit_rates)} exit_rates for {exits} exits"
