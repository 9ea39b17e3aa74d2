"""DynExit-style: joint training in which the weight of every exit's loss is learned too.

Source: M. Wang et al., "DynExit: A Dynamic Early-Exit Strategy for Deep Residual Networks", SiPS 2019, from what later
work tells of it: trainable weights sigmoid(theta_n) of the exits' losses. Taken literally all of them fall to 0; the
paper's own counter-term is not known, and this one is ours, which is why the method is called DynExit-style:

    L = sum over n of sigmoid(theta_n) CE_n - beta_n ln sigmoid(theta_n),   beta_n = beta (1 + kappa (1 - c_n))

Its stationary weight is min(1, beta_n / CE_n), so that weights follow the exits' relative difficulty; kappa tilts them
to cheap exits (c_n the relative cost of leaving at n). The head is BranchyNet's, strided and separable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from trecx.learn.cost import leaving
from trecx.learn.exits.layers import trunk
from trecx.learn.exits.losses import cross_entropy
from trecx.learn.exits.method import Exits, Loss, Phase
from trecx.learn.keras import keras, tensorflow
from trecx.learn.settings import TrainSettings

BETA, KAPPA = 0.3, 1.0
# Theta is this many times its variable: with Adam, whose steps do not know a gradient's size, it learns so much faster.
FASTER = 10.0


@dataclass(frozen=True)
class DynExit(Exits):
    """The method at its taps."""

    name: ClassVar[str] = "dynexit"
    criterion: ClassVar[str] = "entropy"
    beta: float = BETA
    kappa: float = KAPPA

    def layers(self, name: str) -> Callable[[Any, int], Sequence[Any]]:
        """The strided separable convolution, average and Dense layer of the exit `name`."""
        dense = keras().layers.Dense
        return lambda tap, classes: (dense(classes, name=f"{name}_logits")(trunk(tap, name)),)

    def phases(self, model: Any, settings: TrainSettings) -> tuple[Phase, ...]:
        """Everything at once, the weights of the losses included."""
        costs = leaving(model, [(name,) for name in self.exits])
        count = len(self.exits) - settings.frozen
        betas = [self.beta * (1 + self.kappa * max(0.0, 1 - cost)) for cost in costs[:count]]
        return (Phase("joint", settings.epochs, learned(self.exits[:count], betas, settings), settings.frozen),)


def learned(exits: Sequence[str], betas: Sequence[float], settings: TrainSettings) -> Loss:
    """The exits' cross-entropies with learned weights, each weight a part of the record as `weight_<exit>`."""
    tf, one = tensorflow(), cross_entropy(settings)
    thetas = [tf.Variable(0.0, name=f"theta_{name}") for name in exits]

    def of(outputs: dict[str, Any], target: Any, teacher: Any, _: Any) -> tuple[Any, list[Any]]:
        parts = [one(outputs[name], target, teacher) for name in exits]
        logs = [tf.math.log_sigmoid(FASTER * theta) for theta in thetas]
        terms = [tf.exp(log) * part - beta * log for log, part, beta in zip(logs, parts, betas, strict=True)]
        return tf.add_n(terms), [*parts, *(tf.exp(log) for log in logs)]

    return Loss((*exits, *(f"weight_{name}" for name in exits)), of, tuple(thetas))
