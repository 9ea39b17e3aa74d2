"""The pair that a run compiles, read from its `model/` folder."""

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from trecx import criteria
from trecx import exits as door
from trecx.compiler import tflite
from trecx.compiler.ir import Graph
from trecx.compiler.optimise import optimise
from trecx.compiler.plan import split
from trecx.errors import TrecxError

BACKBONE = "backbone.tflite"


@dataclass(frozen=True)
class Pair:
    """A model with its exits: `graph` as in the file, `optimised` as it is compiled.

    `logits` and `scores` are tensor indices, one per exit; `scales`, `limits` and `thresholds` belong to early exits.
    """

    path: Path
    content: bytes
    exits: door.Exits
    graph: Graph
    optimised: Graph

    @property
    def logits(self) -> tuple[int, ...]:
        """Tensor index of each exit's logits."""
        return tuple(e.logits.index for e in self.graph.exits)

    @property
    def scores(self) -> tuple[int, ...]:
        """Tensor index of each exit's scores."""
        return tuple(e.scores.index for e in self.graph.exits)

    @property
    def scales(self) -> tuple[float, ...]:
        """Scale of each early exit's logits."""
        return tuple(e.logits.scale for e in self.graph.exits[:-1])

    @property
    def thresholds(self) -> tuple[float | None, ...]:
        """Threshold of each early exit at the default operating point; None is "never"."""
        return self.exits.thresholds()

    @property
    def limits(self) -> tuple[int, ...]:
        """The thresholds as the integers that the firmware compares with."""
        return tuple(criteria.limit(t) for t in self.thresholds)

    @property
    def macs(self) -> tuple[int, ...]:
        """MACs of the model as in the file, from the input to each exit's answer; the C may execute fewer."""
        return tuple(accumulate(stage.macs for stage in split(self.graph)))


def read(folder: Path) -> Pair:
    """The pair in `folder`: `exits.json` and the model that it names; TrecxError where they do not belong together."""
    exits = door.read(folder / "exits.json")
    if Path(exits.model_file).name != exits.model_file:
        raise TrecxError(f"{folder / 'exits.json'}: the model {exits.model_file!r} must lie beside it.")
    path = folder / exits.model_file
    pair = bind(path, exits)
    if door.sha256(path) != exits.model_sha256:
        raise TrecxError(
            f"{path} is not the model that {folder / 'exits.json'} was made for (its SHA-256 differs).",
            "Take the two files from the same place.",
        )
    return pair


def bind(path: Path, exits: door.Exits) -> Pair:
    """Read a model for given exits."""
    return _pair(path, exits, tflite.load(path, exits))


def plain(path: Path, classes: tuple[str, ...] | None = None) -> Pair:
    """A model with one output, which becomes the final exit; such as the backbone alone."""
    graph = tflite.load(path)
    final = graph.exits[-1]
    names = classes or tuple(f"class {k}" for k in range(final.scores.size))
    spec = door.ExitSpec(final.name, final.output)
    return _pair(path, door.Exits("", "none", path.name, door.sha256(path), names, (spec,)), graph)


def _pair(path: Path, exits: door.Exits, graph: Graph) -> Pair:
    return Pair(path, path.read_bytes(), exits, graph, optimise(graph))
