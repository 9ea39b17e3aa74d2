"""PTEENet: exits with gates for a network that is finished, which keeps every weight.

Source: A. Lahiany and Y. Aperstein, "PTEENet: Post-Trained Early-Exit Neural Networks Augmentation for Inference Cost
Optimization", IEEE Access 2022, arXiv:2501.02508, and the authors' code (its loss v5). Labels may be the network's own
answers, so that none are needed; accuracy is always told against the true ones.

    exit: tap -> strided separable block -> average over the map -+-> Dense -> softmax
                                                                   +-> Dense(1) -> sigmoid = gate

The authors' head is two full 3x3 convolutions, 38 % of a ResNet-8; this is its strided separable form. The backbone is
in inference mode throughout: in the authors' code its normalization statistics drift.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mlperf_tiny.recipe import Recipe
from trecx.learn.exits.gated import Gated, scored_and_gated
from trecx.learn.exits.layers import trunk
from trecx.learn.exits.method import FINAL, HEADS, Choice, Loss, Phase
from trecx.learn.keras import tensorflow
from trecx.learn.settings import TrainSettings


@dataclass(frozen=True)
class PTEENet(Gated):
    """The method at its taps; `learn_from` are the true "labels", or the backbone's answers, "pseudo"."""

    name: ClassVar[str] = "pteenet"
    options: ClassVar[tuple[str, ...]] = ("price", "gate_prior", "learn_from")
    teachers: ClassVar[tuple[str, ...]] = ("pseudo", "labels")
    untunable: ClassVar[str] = "The method pteenet leaves the backbone as it is, and fine-tuning would change it."
    prior: float = 0.0
    learn_from: str = "pseudo"

    @classmethod
    def chosen(cls, choice: Choice) -> dict[str, Any]:
        """The price, and what the exits learn from."""
        return super().chosen(choice) | ({} if choice.learn_from is None else {"learn_from": choice.learn_from})

    @property
    def tuning(self) -> Recipe:
        """That of heads alone."""
        return HEADS

    def about(self) -> dict[str, object]:
        """Where it attaches, the price of computation, and what the exits learned from."""
        return super().about() | {"learn_from": self.learn_from}

    def layers(self, name: str) -> Callable[[Any, int], Sequence[Any]]:
        """The block that scores and gate of the exit `name` share, and their Dense layers."""
        return lambda tap, classes: scored_and_gated(trunk(tap, name), classes, name)

    def phases(self, model: Any, settings: TrainSettings) -> tuple[Phase, ...]:
        """The heads alone, on features that are computed once, by the mixtures that begin at each of them."""
        early = len(self.exits) - 1
        loss = self.mixture(model, replace(settings, distillation=0.0), begins=(1 / early,) * early)
        loss = imitating(loss) if self.learn_from == "pseudo" else loss
        return (Phase("heads", settings.epochs, loss, frozen=True, features=True),)


def imitating(loss: Loss) -> Loss:
    """A loss in which the final exit's answers take the place of the labels."""
    tf = tensorflow()

    def of(outputs: dict[str, Any], target: Any, teacher: Any, epoch: Any) -> tuple[Any, Sequence[Any]]:
        answer = tf.one_hot(tf.argmax(outputs[FINAL], axis=-1), target.shape[-1])
        return loss.of(outputs, answer, None, epoch)

    return Loss(loss.parts, of, loss.variables)
