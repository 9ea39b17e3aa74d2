"""The generated C as the templates lay it out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One call of a specialised function, with C expressions for its arguments in order; outputs with their bytes."""

    index: int
    function: str
    arguments: tuple[str, ...]
    comment: str
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class PointText:
    """An operating point: the limit of each decision, which exits it does without, and what is told of it."""

    name: str
    limits: tuple[int, ...]
    off: tuple[bool, ...]
    told: str


@dataclass(frozen=True)
class StageText:
    """A stage as the template lays it out.

    `statistic` is the C expression of what the exit decides by, None where it always answers. `logits` is where class
    scores are made of, by `softmax` unless they are the logits; `outputs` is where other answers lie. `places` are
    (name, C expression, shape) of memory that is first used here. `head` are the indices of steps that only this exit
    needs.
    """

    exit: str
    macs: int
    steps: tuple[Step, ...]
    statistic: str | None
    logits: str | None
    softmax: Step | None
    outputs: tuple[int, ...]
    places: tuple[tuple[str, str, str], ...]
    head: frozenset[int] = frozenset()


@dataclass(frozen=True)
class TableText:
    """A constant array, its values wrapped in lines."""

    name: str
    ctype: str
    comment: str
    size: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class LayerText:
    """A constant struct with the tables of a layer, by the members of its kernel's struct."""

    name: str
    struct: str
    comment: str
    members: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ExitText:
    """An exit as the header documents it; `limit` is the C expression of a threshold `t` as a limit."""

    name: str
    macs: int
    threshold: float | None
    criterion: str | None = None
    of: str = ""
    limit: str = ""


@dataclass(frozen=True)
class BorderText:
    """An input, or an output of the answer, as the header has it; `suffix` tells it from others.

    `offset` is where an input lies in the arena.
    """

    name: str
    suffix: str
    function: str
    shape: str
    dimensions: tuple[int, ...]
    bytes: int
    scale: str
    zero_point: int
    offset: int | None = None
