"""DyCE: heads of several sizes on a network that is finished; which of them run, and at what confidence, is a table.

Source: Q. Wang, B. Cardiff, A. Frappé, B. Larras and D. John, "DyCE: Dynamically Configurable Exiting for Deep Learning
Compression and Real-time Scaling", arXiv:2403.01695, and the authors' code. Heads learn apart from each other, by the
labels and by the frozen network's scores at a temperature.

    exit: tap -> average over the map -> Dense -> softmax                         ("linear")
          tap -> average over the map -> Dense, ReLU -> Dense -> softmax          ("mlp")

The authors' larger heads, three or five layers of 500 or 1000 units, weigh more than a whole ResNet-8.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Task
from trecx.learn.exits.layers import pooled
from trecx.learn.exits.losses import weighted
from trecx.learn.exits.method import HEADS, Choice, Exits, Phase
from trecx.learn.keras import keras
from trecx.learn.settings import TrainSettings

KINDS = ("linear", "mlp")
UNITS = 64
SHARE, TEMPERATURE = 0.5, 3.0  # of the frozen network's scores in the targets


@dataclass(frozen=True)
class DyCE(Exits):
    """The method at its taps, with a head of each kind at every tap, the smaller first."""

    name: ClassVar[str] = "dyce"
    options: ClassVar[tuple[str, ...]] = ("learn_from",)
    teachers: ClassVar[tuple[str, ...]] = ("kl", "labels")
    untunable: ClassVar[str] = "The method dyce leaves the backbone as it is, and fine-tuning would change it."
    learn_from: str = "kl"

    @classmethod
    def of(cls, task: Task, choice: Choice) -> "DyCE":
        """The method at the chosen taps."""
        return cls(super().of(task, choice).at, choice.learn_from or cls.learn_from)

    @property
    def reads(self) -> tuple[str, ...]:
        """Every tap once for each kind of head."""
        return tuple(tap for tap in self.at for _ in KINDS)

    @property
    def tuning(self) -> Recipe:
        """That of heads alone."""
        return HEADS

    def about(self) -> dict[str, object]:
        """Where it attaches, with which heads, and what they learned from."""
        return super().about() | {"heads": list(KINDS) * len(self.at), "learn_from": self.learn_from}

    def layers(self, name: str) -> Callable[[Any, int], Sequence[Any]]:
        """The layers of the exit `name`."""
        kind, dense = KINDS[self.exits.index(name) % len(KINDS)], keras().layers.Dense

        def head(tap: Any, classes: int) -> Sequence[Any]:
            x = pooled(tap, name)
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
