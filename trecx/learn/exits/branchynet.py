"""BranchyNet: early exits with heads of their own, trained jointly with the backbone; entropy decides.

Source: S. Teerapittayanon, B. McDanel and H. T. Kung, "BranchyNet: Fast Inference via Early Exiting from Deep Neural
Networks", ICPR 2016, and the authors' code. As there: the loss is a sum of cross-entropies in which early exits count
more than the last, all weights learn, from those of the trained plain network, and an exit answers where the entropy of
its scores, in nats, is below its threshold.

    exit: tap -> 3x3 convolution -> average over the map -> Dense -> softmax

The convolution is not the paper's full one, which would cost a fifth of a ResNet-8: it is the strided separable form,
depthwise 3x3 with stride 2 and 1x1, each with normalization and ReLU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from trecx.learn.exits.layers import trunk
from trecx.learn.exits.losses import weighted
from trecx.learn.exits.method import Exits, Phase
from trecx.learn.keras import keras
from trecx.learn.settings import TrainSettings

EARLY_WEIGHT, FINAL_WEIGHT = 1.0, 0.3


@dataclass(frozen=True)
class BranchyNet(Exits):
    """The method at two or more taps."""

    name: ClassVar[str] = "branchynet"
    taps: ClassVar[tuple[int, int]] = (2, 8)
    criterion: ClassVar[str] = "entropy"

    def layers(self, name: str) -> Callable[[Any, int], Sequence[Any]]:
        """The strided separable convolution, average and Dense layer of the exit `name`."""
        dense = keras().layers.Dense
        return lambda tap, classes: (dense(classes, name=f"{name}_logits")(trunk(tap, name)),)

    def phases(self, _: Any, settings: TrainSettings) -> tuple[Phase, ...]:
        """Everything at once; on a frozen backbone the final exit has nothing that could learn."""
        weights = (*(EARLY_WEIGHT for _ in self.at), FINAL_WEIGHT)
        count = len(self.exits) - settings.frozen
        loss = weighted(self.exits[:count], weights[:count], settings)
        return (Phase("joint", settings.epochs, loss, settings.frozen),)
