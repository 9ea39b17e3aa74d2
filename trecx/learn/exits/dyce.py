"""DyCE: heads of several sizes on a network that is finished; which of them run, and at what confidence, is a table.

Source: Q. Wang, B. Cardiff, A. Frappé, B. Larras and D. John, "DyCE: Dynamically Configurable Exiting for Deep Learning
Compression and Real-time Scaling", arXiv:2403.01695, and the authors' code. Heads learn apart from each other, by the
labels and by the frozen network's scores at a temperature.

    exit: tap -> average over the map -> Dense -> softmax                                    ("linear")
          tap -> average over the map -> Dense, ReLU -> Dense -> softmax                     ("mlp")
          tap -> strided separable block -> average over the map -> Dense -> softmax         ("conv")

The authors' larger heads, three or five layers of 500 or 1000 units, weigh more than a whole ResNet-8. The last kind is
ours: it sees where in the map something is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Task
from trecx.errors import TrecxError
from trecx.learn.exits.layers import pooled, trunk
from trecx.learn.exits.losses import weighted
from trecx.learn.exits.method import HEADS, Choice, Exits, Phase
from trecx.learn.keras import keras
from trecx.learn.settings import TrainSettings

KINDS = ("linear", "mlp", "conv")
USUAL = KINDS[:2]
UNITS = 64
SHARE, TEMPERATURE = 0.5, 3.0  # of the frozen network's scores in the targets


@dataclass(frozen=True)
class DyCE(Exits):
    """The method at its taps, with heads of some kinds there, the smaller first.

    `heads_at` are kinds at every tap, or TAP:KIND.
    """

    name: ClassVar[str] = "dyce"
    options: ClassVar[tuple[str, ...]] = ("learn_from", "heads")
    teachers: ClassVar[tuple[str, ...]] = ("kl", "labels")
    untunable: ClassVar[str] = "The method dyce leaves the backbone as it is, and fine-tuning would change it."
    learn_from: str = "kl"
    heads_at: tuple[str, ...] = USUAL

    @classmethod
    def of(cls, task: Task, choice: Choice) -> "DyCE":
        """The method with the chosen heads at the chosen taps."""
        found = cls(super().of(task, choice).at, choice.learn_from or cls.learn_from, choice.heads or USUAL)
        if problems := list(found._problems()):
            raise TrecxError(problems, f"Kinds of heads: {', '.join(KINDS)}; --heads KIND,KIND, or --heads TAP:KIND.")
        return found

    def _problems(self) -> Iterator[str]:
        """What is wrong with the choice of heads."""
        sayable = {*KINDS, *(f"{tap}:{kind}" for tap in self.at for kind in KINDS)}
        for one in self.heads_at:
            if one not in sayable:
                yield f"--heads {one!r} is no kind of head, nor one at a tap that has an exit ({', '.join(self.at)})."
        known = {tap for tap, _ in self.pairs}
        yield from (f"--heads says of no head that it reads the tap {tap!r}." for tap in self.at if tap not in known)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The tap and the kind of each early exit."""
        every = ((tap, kind) for tap in self.at for kind in KINDS)
        return tuple((tap, kind) for tap, kind in every if {kind, f"{tap}:{kind}"} & set(self.heads_at))

    @property
    def reads(self) -> tuple[str, ...]:
        """Every tap once for each head there."""
        return tuple(tap for tap, _ in self.pairs)

    @property
    def tuning(self) -> Recipe:
        """That of heads alone."""
        return HEADS

    def about(self) -> dict[str, object]:
        """Where it attaches, with which heads, and what they learned from."""
        return super().about() | {"heads": [kind for _, kind in self.pairs], "learn_from": self.learn_from}

    def layers(self, name: str) -> Callable[[Any, int], Sequence[Any]]:
        """The layers of the exit `name`."""
        kind, dense = self.pairs[self.exits.index(name)][1], keras().layers.Dense

        def head(tap: Any, classes: int) -> Sequence[Any]:
            x = trunk(tap, name) if kind == "conv" else pooled(tap, name)
            if kind == "mlp":
                x = dense(UNITS, activation="relu", name=f"{name}_hidden")(x)
            return (dense(classes, name=f"{name}_logits")(x),)

        return head

    def phases(self, _: Any, settings: TrainSettings) -> tuple[Phase, ...]:
        """The heads alone, on features that are computed once."""
        early, share = self.exits[:-1], SHARE if self.learn_from == "kl" else 0.0
        mixed = replace(settings, distillation=share, temperature=TEMPERATURE)
        loss = weighted(early, (1.0,) * len(early), mixed)
        return (Phase("heads", settings.epochs, loss, frozen=True, features=True),)
