"""What methods with gates have in common: a gate at every early exit, trained at a price for what is computed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from mlperf_tiny.task import Task
from trecx.errors import TrecxError
from trecx.learn.cost import leaving
from trecx.learn.exits.method import FINAL, Choice, Exits, Loss, gate
from trecx.learn.exits.mixture import believing, expected, price_limit
from trecx.learn.keras import keras
from trecx.learn.settings import TrainSettings

PRIOR = 0.5
BELOW = 0.9  # of the price at which the first gate is never shut


@dataclass(frozen=True)
class Gated(Exits):
    """Exits with gates; `price` is lambda, the price of a whole plain network's computations.

    `forced` takes a price at which no gate can ever be shut. `prior` weighs what gates lose, before the first epoch, by
    being wrong about whether their exit is right. A `budget`, the mean cost that is free, replaces the price.
    """

    criterion: ClassVar[str] = "gate"
    gated: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("price", "gate_prior", "mac_budget")
    price: float = 1.0
    forced: bool = False
    prior: float = PRIOR
    budget: float | None = None

    @classmethod
    def of(cls, task: Task, choice: Choice) -> Self:
        """The method at the chosen taps and price; where none is chosen it leaves the first gate room to shut."""
        method = cls(super().of(task, choice).at, **cls.chosen(choice))
        model = method.attach(task.name, task.backbone(keras()))
        if choice.price is None:
            method = replace(method, price=min(method.price, BELOW * price_limit(method.costs(model))))
        method.check(model)
        return method

    @classmethod
    def chosen(cls, choice: Choice) -> dict[str, Any]:
        """The method's own fields as chosen."""
        price = {} if choice.price is None else {"price": choice.price, "forced": choice.forced}
        prior = {} if choice.gate_prior is None else {"prior": choice.gate_prior}
        return {**price, **prior, "budget": choice.mac_budget}

    def about(self) -> dict[str, object]:
        """Where it attaches, the price of computation or its budget, and the gates' prior."""
        spending = {"price": self.price} if self.budget is None else {"mac_budget": self.budget}
        return super().about() | spending | {"gate_prior": self.prior}

    def costs(self, model: Any) -> tuple[float, ...]:
        """What leaving at each exit costs, as a share of the plain network."""
        return leaving(model, [*((name, gate(name)) for name in self.exits[:-1]), (FINAL,)])

    def mixture(self, model: Any, settings: TrainSettings, begins: Sequence[float] = (1.0,)) -> Loss:
        """What gates and exits are trained by together; see `mixture.expected`."""
        self.check(model)
        found = expected(self.exits, gate, self.costs(model), self.price, settings, begins, self.budget)
        return self.believing(found, settings)

    def believing(self, found: Loss, settings: TrainSettings) -> Loss:
        """A loss with the gates' prior, where they have one."""
        return believing(found, self.exits[:-1], gate, self.prior, settings) if self.prior else found

    def check(self, model: Any) -> None:
        """Raise TrecxError for a price at which the first gate is never shut, or a budget that no gates can keep."""
        costs = self.costs(model)
        if self.budget is not None:
            return within(self.budget, self.exits, costs)
        limit = price_limit(costs)
        problems = []
        if not 0 <= self.price < float("inf"):
            problems.append(f"The price of computation (lambda) is {self.price}; it must be 0 or more.")
        elif self.price >= limit and not self.forced:
            told = f"leaving at {self.exits[0]} costs {costs[0]:.1%} of the plain network, the whole {costs[-1]:.1%}"
            problems.append(f"At a price of computation (lambda) of {self.price} no gate is ever shut: {told}.")
        if problems:
            raise TrecxError(problems, f"Give a price below {limit:.2f}: --price.")


def within(budget: float, exits: Sequence[str], costs: Sequence[float]) -> None:
    """Raise TrecxError for a budget of computation that is below leaving at the first exit, or above everything."""
    if not costs[0] < budget < costs[-1]:
        told = f"leaving at {exits[0]} costs {costs[0]:.1%}, the whole way {costs[-1]:.1%}"
        raise TrecxError(
            f"A budget of {budget:.1%} of the plain network's MACs is no mean of what exits cost: {told}.",
            f"Give a share between {costs[0]:.3f} and {costs[-1]:.3f}: --mac-budget.",
        )


def scored_and_gated(x: Any, classes: int, name: str) -> Sequence[Any]:
    """Logits and the logit of the gate of the exit `name`, from one vector."""
    dense = keras().layers.Dense
    return dense(classes, name=f"{name}_logits")(x), dense(1, name=gate(name))(x)
