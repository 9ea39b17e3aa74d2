"""The pair that a run compiles, read from its `model/` folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from trecx import exits as door
from trecx import files
from trecx.compiler import tflite
from trecx.compiler.graph import Graph
from trecx.compiler.ir import Op
from trecx.compiler.optimise import optimise
from trecx.compiler.plan import before, heads, split
from trecx.decision import Criterion, limits
from trecx.errors import TrecxError
from trecx.judge.search import Costs
from trecx.judge.trace import Reading

BACKBONE, EXITS = "backbone.tflite", "exits.json"
# The answers that thresholds are chosen on.
VALIDATION, BACKBONE_VALIDATION, UNLABELLED = "validation.npz", "backbone_validation.npz", "unlabelled.npz"


@dataclass(frozen=True)
class Pair:
    """A model with its exits: `graph` as in the file, `optimised` as it is compiled."""

    path: Path
    content: bytes
    exits: door.Exits
    graph: Graph
    optimised: Graph

    @property
    def reading(self) -> Reading:
        """What an interpreter of the file must read to know what every exit answers and which one does."""
        return Reading(
            outputs=tuple(tuple(o.tensor.index for o in e.outputs) for e in self.graph.exits),
            logits=tuple(e.logits.index for e in self.graph.exits if e.logits is not None),
            decisions=self.decisions,
            decides=tuple(e.decides.index for e in self.graph.exits if e.decides is not None),
        )

    @property
    def decisions(self) -> tuple[Criterion, ...]:
        """How each exit that decides does so: the early ones, and the last where the surest of all answers."""
        return tuple(e.decision for e in self.graph.exits if e.decision is not None)

    @property
    def thresholds(self) -> tuple[float | None, ...]:
        """Threshold of each early exit at the default operating point; None is "never"."""
        return self.exits.thresholds()

    @property
    def limits(self) -> tuple[int, ...]:
        """The thresholds as the integers that the firmware compares with, one for each decision."""
        return limits(self.decisions, self.thresholds)

    def limits_at(self, point: int) -> tuple[int, ...]:
        """The limits of an operating point, "never" for exits that it does without."""
        chosen = self.exits.operating_points[point].thresholds
        return limits(self.decisions, [chosen.get(e.name) for e in self.exits.exits[:-1]])

    def only(self, early: Sequence[int]) -> "Pair":
        """What is computed where only these early exits are used, and the last; for costs, as nothing is rewritten."""
        exits = self.optimised.exits
        return replace(self, optimised=replace(self.optimised, exits=(*(exits[k] for k in early), exits[-1])))

    @property
    def costs(self) -> Costs:
        """MACs as compiled, parted into what every path to an exit computes and what the early exits add."""
        return self.costs_by(lambda op: op.macs())

    def costs_by(self, cost: Callable[[Op], float]) -> Costs:
        """The same for any cost of an operator."""
        own = [sum(cost(self.optimised.op(index)) for index in head) for head in heads(self.optimised)]
        every = accumulate(sum(map(cost, stage.ops)) for stage in split(self.optimised))
        passed = accumulate((*own, 0))
        return Costs(tuple(float(m - h) for m, h in zip(every, passed, strict=True)), tuple(map(float, own)))

    @property
    def taps(self) -> tuple[tuple[int, ...], ...]:
        """The early exits by their number, those together that read the same tap."""
        found: dict[frozenset[int], list[int]] = {}
        for number, read in enumerate(before(self.optimised)):
            found.setdefault(read, []).append(number)
        return tuple(map(tuple, found.values()))

    @property
    def macs(self) -> tuple[int, ...]:
        """MACs of the model as in the file, from the input to each exit's answer; the C may execute fewer."""
        return tuple(accumulate(stage.macs for stage in split(self.graph)))


def read(folder: Path) -> Pair:
    """The pair in `folder`: `exits.json` and the model that it names; TrecxError where they do not belong together."""
    exits = door.read(folder / EXITS)
    if Path(exits.model_file).name != exits.model_file:
        raise TrecxError(f"{folder / 'exits.json'}: the model {exits.model_file!r} must lie beside it.")
    path = folder / exits.model_file
    pair = bind(path, exits)
    if files.sha256(path) != exits.model_sha256:
        raise TrecxError(
            f"{path} is not the model that {folder / 'exits.json'} was made for (its SHA-256 differs).",
            "Take the two files from the same place.",
        )
    return pair


def bind(path: Path, exits: door.Exits) -> Pair:
    """Read a model for given exits."""
    return _pair(path, exits, tflite.load(path, exits))


def plain(path: Path, classes: tuple[str, ...] | None = None) -> Pair:
    """A model whose outputs are the answer of one exit, such as the backbone alone."""
    graph = tflite.load(path)
    final = graph.exits[-1]
    names = classes or tuple(f"class {k}" for k in range(graph.classes))
    output, *others = (one.name for one in final.outputs)
    spec = door.ExitSpec(final.name, output, others=tuple(others))
    return _pair(path, door.Exits("", "none", path.name, files.sha256(path), names, (spec,)), graph)


def _pair(path: Path, exits: door.Exits, graph: Graph) -> Pair:
    return Pair(path, path.read_bytes(), exits, graph, optimise(graph))
