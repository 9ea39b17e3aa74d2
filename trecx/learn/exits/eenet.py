"""EENet: every early exit has a gate of its own that is trained with it, at a price for what is computed.

Source: U. Demir and E. Akbas, "Early-exit Convolutional Neural Networks", arXiv:2409.05336, and the authors' code: its
block "pool" and its loss v1, which is also that of S. Scardapane et al., "Differentiable Branching in Deep Networks for
Fast Inference", ICASSP 2020.

    exit: tap -> average over the map -+-> Dense -> softmax
                                       +-> Dense(1) -> sigmoid = gate

First all exits are trained by the sum of their cross-entropies, so that there is something to choose from, and then
everything by the mixture (`mixture.py`). A sample leaves where the gate is sure enough. The sigmoid is not exported:
the int8 output is the gate's logit, and the threshold is translated to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mlperf_tiny.task import Task
from trecx.errors import TrecxError
from trecx.learn.cost import leaving
from trecx.learn.exits.layers import pooled
from trecx.learn.exits.losses import weighted
from trecx.learn.exits.method import FINAL, Choice, Exits, Phase, gate
from trecx.learn.exits.mixture import expected, price_limit
from trecx.learn.keras import keras
from trecx.learn.settings import TrainSettings

# The share of the epochs that exits are trained by cross-entropy first. The authors take 25 of 150; of the few epochs
# that follow a trained backbone that is too few, and gates learn to shut exits which have not learned anything yet.
BEGINNING = 1 / 2


@dataclass(frozen=True)
class EENet(Exits):
    """The method at its taps; `price` is lambda, the price of a whole plain network's computations.

    `forced` takes a price at which no gate can ever be shut.
    """

    name: ClassVar[str] = "eenet"
    criterion: ClassVar[str] = "gate"
    gated: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("price",)
    untunable: ClassVar[str] = "The method eenet is not fine-tuned with quantization in the loop."
    price: float = 1.0
    forced: bool = False

    @classmethod
    def of(cls, task: Task, choice: Choice) -> "EENet":
        """The method at the chosen taps and price."""
        method = cls(super().of(task, choice).at)
        if choice.price is not None:
            method = replace(method, price=choice.price, forced=choice.forced)
        method.check(method.attach(task.name, task.backbone(keras())))
        return method

    def about(self) -> dict[str, object]:
        """Where it attaches, and the price of computation."""
        return super().about() | {"price": self.price}

    def costs(self, model: Any) -> tuple[float, ...]:
        """What leaving at each exit costs, as a share of the plain network."""
        return leaving(model, [*((name, gate(name)) for name in self.exits[:-1]), (FINAL,)])

    def check(self, model: Any) -> None:
        """Raise TrecxError for a price at which the first gate is never shut."""
        costs = self.costs(model)
        limit = price_limit(costs)
        problems = []
        if not 0 <= self.price < float("inf"):
            problems.append(f"The price of computation (lambda) is {self.price}; it must be 0 or more.")
        elif self.price >= limit and not self.forced:
            told = f"leaving at {self.exits[0]} costs {costs[0]:.1%} of the plain network, the whole {costs[-1]:.1%}"
            problems.append(f"At a price of computation (lambda) of {self.price} no gate is ever shut: {told}.")
        if problems:
            raise TrecxError(problems, f"Give a price below {limit:.2f}: --price.")

    def layers(self, name: str) -> Callable[[Any, int], Sequence[Any]]:
        """The average over the map, and the two Dense layers of the exit `name`."""

        def head(tap: Any, classes: int) -> Sequence[Any]:
            x, dense = pooled(tap, name), keras().layers.Dense
            return dense(classes, name=f"{name}_logits")(x), dense(1, name=gate(name))(x)

        return head

    def phases(self, model: Any, settings: TrainSettings) -> tuple[Phase, ...]:
        """The exits by cross-entropy, then everything by the mixture."""
        self.check(model)
        first = max(1, round(BEGINNING * settings.epochs))
        learning = self.exits[: len(self.exits) - settings.frozen]
        beginning = weighted(learning, (1.0,) * len(learning), settings)
        mixture = expected(self.exits, gate, self.costs(model), self.price, settings)
        if settings.epochs == 1:
            return (Phase("mixture", 1, mixture, settings.frozen),)
        return (
            Phase("exits", first, beginning, settings.frozen),
            Phase("mixture", settings.epochs - first, mixture, settings.frozen),
        )
