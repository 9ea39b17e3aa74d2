"""SDN: internal classifiers; where none is sure enough the most confident of all exits answers.

Source: Y. Kaya, S. Hong and T. Dumitras, "Shallow-Deep Networks: Understanding and Mitigating Network Overthinking",
ICML 2019, and the authors' code.

    exit: tap -> average pool by a quarter of each side -> Dense -> softmax

The authors pool to 4x4 with a learned mixture of maximum and average, a max + (1 - a) avg; here it is the average,
which costs an int8 network no multiplication by a constant. The loss is CE_final + sum of tau_n(e) CE_n, where
tau_n rises over the epochs e from 0.01 to the exit's relative cost. They train it from scratch; here the backbone may
be trained already. With `heads_only` it keeps its weights, and the heads learn by the sum of their cross-entropies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mlperf_tiny.recipe import Recipe
from mlperf_tiny.task import Task
from trecx.learn.cost import leaving
from trecx.learn.exits.losses import cross_entropy, weighted
from trecx.learn.exits.method import FINAL, HEADS, Choice, Exits, Loss, Phase
from trecx.learn.keras import keras, tensorflow
from trecx.learn.settings import TrainSettings

SIDE = 4  # of the pooled map, where it divides the tap's
FIRST = 0.01  # the weight of an early exit before the first epoch


@dataclass(frozen=True)
class SDN(Exits):
    """The method at its taps."""

    name: ClassVar[str] = "sdn"
    otherwise: ClassVar[str] = "most_confident"
    options: ClassVar[tuple[str, ...]] = ("heads_only",)
    heads_only: bool = False

    @classmethod
    def of(cls, task: Task, choice: Choice) -> "SDN":
        """The method at the chosen taps."""
        return cls(super().of(task, choice).at, choice.heads_only)

    @property
    def tuning(self) -> Recipe | None:
        """That of heads alone, or the task's."""
        return HEADS if self.heads_only else None

    def about(self) -> dict[str, object]:
        """Where it attaches, and whether the backbone learned with the heads."""
        return super().about() | {"heads_only": self.heads_only}

    def layers(self, name: str) -> Callable[[Any, int], Sequence[Any]]:
        """The pool and the Dense layer of the exit `name`."""

        def head(tap: Any, classes: int) -> Sequence[Any]:
            layers, side = keras().layers, [max(int(n) // SIDE, 1) for n in tap.shape[1:3]]
            x = layers.AveragePooling2D(side, padding="valid", name=f"{name}_pool")(tap)
            return (layers.Dense(classes, name=f"{name}_logits")(layers.Flatten(name=f"{name}_flat")(x)),)

        return head

    def phases(self, model: Any, settings: TrainSettings) -> tuple[Phase, ...]:
        """The heads alone on features that are computed once, or everything at once."""
        early = self.exits[:-1]
        if self.heads_only:
            loss = weighted(early, (1.0,) * len(early), settings)
            return (Phase("heads", settings.epochs, loss, frozen=True, features=True),)
        costs = leaving(model, [(name,) for name in self.exits])
        loss = rising(self.exits, costs[:-1], settings)
        return (Phase("joint", settings.epochs, loss, settings.frozen),)


def weight(epoch: Any, epochs: int, most: float) -> Any:
    """tau of an exit of relative cost `most` after `epoch` of `epochs` epochs."""
    return tensorflow().minimum(most, FIRST + epoch * most / epochs)


def rising(exits: tuple[str, ...], most: Sequence[float], settings: TrainSettings) -> Loss:
    """CE_final and the early exits' cross-entropies with weights that rise to `most`; the final one not if frozen."""
    tf, one = tensorflow(), cross_entropy(settings)

    def of(outputs: dict[str, Any], target: Any, teacher: Any, epoch: Any) -> tuple[Any, list[Any]]:
        parts = [one(outputs[name], target, teacher) for name in exits]
        weights = [weight(epoch, settings.epochs, limit) for limit in most]
        final = [] if settings.frozen else [parts[-1]]
        return tf.add_n([*(w * part for w, part in zip(weights, parts, strict=False)), *final]), parts

    assert exits[-1] == FINAL
    return Loss(exits, of)
