"""What an exit method is: the exits that it attaches, how they are trained, and its own loss.

A method is one file beside this one and one entry in `METHODS`. It names its heads, says in phases what trains for how
long, and computes what is minimised from the model's outputs; the training loop knows none of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Backbone, Task
from trecx import exits as door
from trecx.errors import TrecxError
from trecx.learn.cost import cost
from trecx.learn.keras import keras
from trecx.learn.settings import TrainSettings

EARLY, FINAL = "early", "final"
INPUT = "input"  # the tap before the backbone begins
SEVERAL = 2  # exits where nobody says where
# How heads alone are trained on a trained backbone, about as PTEENet's and DyCE's authors do. An epoch takes seconds.
HEADS = Recipe(epochs=50, learning_rate=2e-3, schedule="cosine")


@dataclass(frozen=True)
class Choice:
    """What a person chose of the exits: one of the task's attachments, or the taps that exits read; the early view.

    `price` is what computation costs in the loss of a method with gates, None for the method's own; `forced` takes one
    at which no gate is ever shut, and `mac_budget` replaces it by a mean that is free. `gate_prior` is what gates lose
    at first by being wrong about their exit; exits on a frozen backbone `learn_from` labels, pseudo-labels or scores
    (kl); `heads_only` freezes the backbone; `heads` are the kinds of them at every tap, or TAP:KIND;
    `loss` is one of EENet's.
    """

    exit: str | None = None
    taps: tuple[str, ...] = ()
    early_view: bool = True
    price: float | None = None
    forced: bool = False
    gate_prior: float | None = None
    mac_budget: float | None = None
    loss: str | None = None
    learn_from: str | None = None
    heads_only: bool = False
    heads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Head:
    """An early exit: its name, the tap that it reads, and its layers.

    `layers(tap, classes)` gives its logits, and behind them the logit of its gate where it has one.
    """

    name: str
    tap: str
    layers: Callable[[Any, int], Sequence[Any]]


@dataclass(frozen=True)
class Loss:
    """What a phase minimises.

    `of(outputs, target, teacher, epoch)` gives the total and its parts, which `parts` names for the record. `outputs`
    are logits by output name, gates' too; `target` float32 `(b, classes)`; `teacher` the teacher's scores on the same
    inputs, or None where there is none; `epoch` a float32 scalar, of epochs done in this phase. `variables` are the
    loss's own, which learn with the model and are kept in its checkpoints.
    """

    parts: tuple[str, ...]
    of: Callable[[dict[str, Any], Any, Any, Any], tuple[Any, Sequence[Any]]]
    variables: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Phase:
    """A stretch of the training after the backbone's own: for how long, whether the backbone learns, and the loss.

    `copies`: pairs (layer, copy) by name; before the epoch `release` the copy carries the layer's weights and gets no
    gradient. `features`: on a frozen backbone, what the heads read is computed once, of samples as they are.
    """

    name: str
    epochs: int
    loss: Loss
    frozen: bool = False
    copies: tuple[tuple[str, str], ...] = ()
    release: int = 0
    features: bool = False


class Method(Protocol):
    """What training and the steps after it ask of an exit method."""

    name: ClassVar[str]
    # Fewest and most taps that it attaches to.
    taps: ClassVar[tuple[int, int]]
    # Whether it grows on a plain backbone, which is then trained first and judged beside it.
    grows: ClassVar[bool]
    # Why it cannot be fine-tuned with quantization in the loop; empty where it can.
    untunable: ClassVar[str]
    # Which exit answers where none is sure enough: "final" or "most_confident".
    otherwise: ClassVar[str]
    # The options that belong to it alone.
    options: ClassVar[tuple[str, ...]]
    # Whether its exits have gates, and outputs for them.
    gated: ClassVar[bool]

    @property
    def exits(self) -> tuple[str, ...]:
        """Names of the exits in the order in which they are taken."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs in order: scores of every exit, by its name, and gates."""

    @property
    def tuning(self) -> Recipe | None:
        """How it is trained on a trained backbone; None leaves that to the task."""

    def exit_specs(self) -> tuple[door.ExitSpec, ...]:
        """The exits as `exits.json` names them."""

    def about(self) -> dict[str, object]:
        """What provenance tells of it beside its name."""

    def attach(self, task: str, backbone: Any) -> Any:
        """A Keras model from the backbone's input to the outputs, in order and named like them: softmax, gates' logits.

        `task` names it; `backbone` is a `Backbone`, or None for a method that does not grow on one. Raise TrecxError
        where the backbone lacks what the method attaches to.
        """

    def start(self, model: Any, head: Any) -> None:
        """Give layers that the backbone lacks what they can use of `head`, its trained last Dense layer."""

    def phases(self, model: Any, settings: TrainSettings) -> tuple[Phase, ...]:
        """The phases of its training, whose epochs add up to the settings'; without one it trains nothing."""


@dataclass(frozen=True)
class Exits(ABC):
    """What most methods are: early exits at taps, by default without gates, before the backbone's own head."""

    name: ClassVar[str] = ""
    taps: ClassVar[tuple[int, int]] = (1, 8)
    grows: ClassVar[bool] = True
    untunable: ClassVar[str] = ""
    otherwise: ClassVar[str] = "final"
    options: ClassVar[tuple[str, ...]] = ()
    teachers: ClassVar[tuple[str, ...]] = ()
    criterion: ClassVar[str] = "max_score"
    gated: ClassVar[bool] = False

    at: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, task: Task, choice: Choice) -> "Exits":
        """The method at the chosen taps, or at `placed` ones where none is named.

        Raise TrecxError for what it has no use for and for taps that cannot be.
        """
        problems = []
        if choice.exit is not None:
            problems.append(f"--exit names an exit of the task for trecx; {cls.name} attaches at layers.")
        if not choice.early_view:
            problems.append(f"--no-early-view does not apply: {cls.name} has no early view.")
        backbone = task.backbone(keras())
        taps = choice.taps or placed(macs_to(backbone), cls.usual())
        problems += tap_problems(task.name, cls, backbone, taps)
        if choice.learn_from is not None and choice.learn_from not in cls.teachers:
            known = " or ".join(cls.teachers) or "nothing else than it does"
            problems.append(f"Exits of {cls.name} do not learn from {choice.learn_from!r}; they learn from {known}.")
        if problems:
            raise TrecxError(problems, listed(backbone))
        return cls(taps)

    @classmethod
    def usual(cls) -> int:
        """To how many taps it attaches where nobody says."""
        return min(SEVERAL, cls.taps[1])

    @property
    def reads(self) -> tuple[str, ...]:
        """The tap that each early exit reads."""
        return self.at

    @property
    def exits(self) -> tuple[str, ...]:
        """`early`, or `early1`, `early2`, …; and `final`."""
        return exit_names(len(self.reads) + 1)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Scores of every early exit, each with its gate where the method has gates; and the final scores."""
        early = [(name, gate(name)) if self.gated else (name,) for name in self.exits[:-1]]
        return (*(name for names in early for name in names), FINAL)

    @property
    def tuning(self) -> Recipe | None:
        """The task's."""
        return None

    def exit_specs(self) -> tuple[door.ExitSpec, ...]:
        """All but the last decide, by the method's criterion."""
        return specs(self.exits, self.criterion)

    def about(self) -> dict[str, object]:
        """Where it attaches."""
        return {"early_view": None, "taps": list(self.at)}

    def heads(self) -> tuple[Head, ...]:
        """The early exits."""
        return tuple(Head(name, tap, self.layers(name)) for name, tap in zip(self.exits, self.reads, strict=False))

    @abstractmethod
    def layers(self, name: str) -> Callable[[Any, int], Sequence[Any]]:
        """The layers of the exit `name`, as `Head` has them."""

    def attach(self, task: str, backbone: Backbone) -> Any:
        """The backbone with the heads."""
        return joined(f"{task}_{self.name}", backbone, self.heads())

    def start(self, model: Any, head: Any) -> None:  # noqa: B027  most methods need none
        """Nothing: the final exit is the backbone's own head."""

    @abstractmethod
    def phases(self, model: Any, settings: TrainSettings) -> tuple[Phase, ...]:
        """The phases of its training."""


def exit_names(count: int) -> tuple[str, ...]:
    """Names of so many exits in the order in which they are taken."""
    early = (EARLY,) if count == 2 else tuple(f"{EARLY}{k}" for k in range(1, count))
    return (*early, FINAL)


def gate(name: str) -> str:
    """Name of the output that carries the gate of the exit `name`."""
    return f"{name}_gate"


def specs(exits: tuple[str, ...], criterion: str = "max_score") -> tuple[door.ExitSpec, ...]:
    """Exits as `exits.json` names them: all but the last decide."""
    gates = (gate(name) if criterion == "gate" else None for name in exits)
    early = [door.ExitSpec(name, name, criterion, read) for name, read in zip(exits[:-1], gates, strict=False)]
    return (*early, door.ExitSpec(exits[-1], exits[-1]))


def joined(name: str, backbone: Backbone, heads: Sequence[Head], final: Callable[[Any, int], Any] | None = None) -> Any:
    """The Keras model of a backbone with heads; `final(logits, classes)` may see more than the backbone's own head."""
    logits = backbone.head(backbone.features)
    classes, softmax = int(logits.shape[-1]), keras().layers.Softmax
    taps = reachable(backbone)
    found = [head.layers(taps[head.tap], classes) for head in heads]
    if final is not None:
        logits = final(logits, classes)
    outputs = []
    for head, (early, *gates) in zip(heads, found, strict=True):
        outputs += [softmax(name=head.name)(early), *gates]
    return keras().Model(backbone.input, [*outputs, softmax(name=FINAL)(logits)], name=name)


def reachable(backbone: Backbone) -> dict[str, Any]:
    """Every tensor that an exit may read, by name, in order: the input, for a cascade in one model, and the taps."""
    return {INPUT: backbone.input, **backbone.taps}


def tap_problems(task: str, kind: Any, backbone: Backbone, taps: tuple[str, ...]) -> list[str]:
    """Everything that is wrong with the taps that were chosen for a method."""
    known, (least, most) = list(reachable(backbone)), kind.taps
    found = [f"The backbone of {task} has no tap {tap!r}." for tap in dict.fromkeys(taps) if tap not in known]
    found += [f"The tap {tap!r} is named twice." for tap in dict.fromkeys(taps) if taps.count(tap) > 1]
    places = [known.index(tap) for tap in taps if tap in known]
    if places != sorted(places):
        found.append(f"The taps {', '.join(taps)} are not in the order in which the backbone computes them.")
    if not least <= len(taps) <= most:
        number = str(least) if least == most else f"{least} to {most}"
        found.append(f"The method {kind.name} attaches to {number} of the taps, {len(taps)} are named.")
    return found


def macs_to(backbone: Backbone) -> dict[str, float]:
    """Of each tap the share of the plain network's MACs that it takes to get there."""
    model = keras().Model(backbone.input, backbone.head(backbone.features))
    whole = cost(model, model.output)[0]
    return {name: cost(model, tap)[0] / whole for name, tap in backbone.taps.items()}


def placed(shares: Mapping[str, float], count: int) -> tuple[str, ...]:
    """Taps for so many exits, at equal parts of the plain network's cost: the first free one past each, or before.

    `shares` of that cost it takes to get to each tap, in order. The authors of EENet call this linear
    (arXiv:2409.05336).
    """
    found: list[str] = []
    for part in ((k + 1) / (count + 1) for k in range(count)):
        free = [name for name in shares if name not in found]
        found += [next((name for name in free if shares[name] >= part), *free[-1:])] if free else []
    return tuple(sorted(found, key=list(shares).index))


def listed(backbone: Backbone) -> str:
    """All taps of a backbone, for a hint."""
    taps = [f"{name} {tuple(int(n) for n in tensor.shape[1:])}" for name, tensor in reachable(backbone).items()]
    return f"Choose with --exits TAP,TAP,… Its taps, in order: {', '.join(taps)}."
