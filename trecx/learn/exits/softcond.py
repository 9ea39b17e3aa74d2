"""Soft conditional branching: gates that share their head's layers, trained by the mixture of all exits at once.

Source: S. Scardapane, D. Comminiello, M. Scarpiniti, E. Baccarelli and A. Uncini, "Differentiable Branching in Deep
Networks for Fast Inference", ICASSP 2020. The loss stands on the mixture at the first exit, not on the plain final
output.

    exit: tap -> strided separable block -> average over the map -+-> Dense -> softmax
                                                                   +-> Dense(1) -> sigmoid = gate
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from trecx.learn.exits.gated import Gated, scored_and_gated
from trecx.learn.exits.layers import trunk
from trecx.learn.exits.method import Phase
from trecx.learn.settings import TrainSettings


@dataclass(frozen=True)
class SoftCond(Gated):
    """The method at its taps."""

    name: ClassVar[str] = "softcond"
    untunable: ClassVar[str] = "The method softcond is not fine-tuned with quantization in the loop."

    def layers(self, name: str) -> Callable[[Any, int], Sequence[Any]]:
        """The block that scores and gate of the exit `name` share, and their Dense layers."""
        return lambda tap, classes: scored_and_gated(trunk(tap, name), classes, name)

    def phases(self, model: Any, settings: TrainSettings) -> tuple[Phase, ...]:
        """Everything at once by the mixture."""
        return (Phase("mixture", settings.epochs, self.mixture(model, settings), settings.frozen),)
