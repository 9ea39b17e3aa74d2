"""EENet: every early exit has a gate of its own that is trained with it, at a price for what is computed.

Source: U. Demir and E. Akbas, "Early-exit Convolutional Neural Networks", arXiv:2409.05336, and the authors' code: its
block "pool" and its loss v1, which is also that of S. Scardapane et al., "Differentiable Branching in Deep Networks for
Fast Inference", ICASSP 2020.

    exit: tap -> average over the map -+-> Dense -> softmax
                                       +-> Dense(1) -> sigmoid = gate

First all exits are trained by the sum of their cross-entropies, so that there is something to choose from, and then
everything by the mixture (`mixture.py`), or by another of the authors' losses (`eenet_losses.py`). A sample leaves
where the gate is sure enough. The sigmoid is not exported: the int8 output is the gate's logit, and the threshold is
translated to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from trecx.learn.exits.eenet_losses import normalised, tagged
from trecx.learn.exits.gated import Gated, scored_and_gated
from trecx.learn.exits.layers import pooled
from trecx.learn.exits.losses import weighted
from trecx.learn.exits.method import Choice, Loss, Phase, gate
from trecx.learn.settings import TrainSettings

# The share of the epochs that exits are trained by cross-entropy first. The authors take 25 of 150; of the few epochs
# that follow a trained backbone that is too few, and gates learn to shut exits which have not learned anything yet.
BEGINNING = 1 / 2


@dataclass(frozen=True)
class EENet(Gated):
    """The method at its taps; `loss` is "v1" to "v4" of `eenet_losses.py`."""

    name: ClassVar[str] = "eenet"
    options: ClassVar[tuple[str, ...]] = (*Gated.options, "loss")
    untunable: ClassVar[str] = "The method eenet is not fine-tuned with quantization in the loop."
    loss: str = "v1"

    @classmethod
    def chosen(cls, choice: Choice) -> dict[str, Any]:
        """The price, the prior and the loss; v4 says itself which gate is to open, and has no prior of its own."""
        prior = {"prior": 0.0} if choice.loss == "v4" else {}
        return {**prior, **super().chosen(choice), **({} if choice.loss is None else {"loss": choice.loss})}

    def about(self) -> dict[str, object]:
        """Where it attaches, the price of computation, the gates' prior and the loss."""
        return super().about() | {"loss": self.loss}

    def layers(self, name: str) -> Callable[[Any, int], Sequence[Any]]:
        """The average over the map, and the two Dense layers of the exit `name`."""
        return lambda tap, classes: scored_and_gated(pooled(tap, name), classes, name)

    def phases(self, model: Any, settings: TrainSettings) -> tuple[Phase, ...]:
        """The exits by cross-entropy, then everything by the mixture, or what is in its place."""
        first = max(1, round(BEGINNING * settings.epochs))
        learning = self.exits[: len(self.exits) - settings.frozen]
        beginning = weighted(learning, (1.0,) * len(learning), settings)
        mixture = self.choosing(model, replace(settings, epochs=max(1, settings.epochs - first)))
        if settings.epochs == 1:
            return (Phase("mixture", 1, mixture, settings.frozen),)
        return (
            Phase("exits", first, beginning, settings.frozen),
            Phase("mixture", settings.epochs - first, mixture, settings.frozen),
        )

    def choosing(self, model: Any, settings: TrainSettings) -> Loss:
        """What exits and gates are trained by together."""
        if self.loss in ("v1", "v2"):
            return self.mixture(model, settings, (1.0,) * (len(self.exits) if self.loss == "v2" else 1))
        self.check(model)
        of = {"v3": normalised, "v4": tagged}[self.loss]
        return self.believing(of(self.exits, gate, self.costs(model), self.price, settings), settings)
