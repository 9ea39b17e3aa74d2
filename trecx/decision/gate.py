"""A learned gate is open: sigmoid(g) > tau for an output g of one value, whose sigmoid the device never computes."""

from dataclasses import dataclass
from math import exp, log
from typing import ClassVar

import numpy as np

from trecx.decision.criterion import Criterion

# Of a step of q: what makes "at least" of the rounded limit "more than".
_STRICTLY = 2.0**-20


@dataclass(frozen=True)
class Gate(Criterion):
    """The statistic is 128 - q of the gate's int8 value q before its sigmoid: 1 to 256."""

    name: ClassVar[str] = "gate"
    of: ClassVar[str] = "the gate after sigmoid"
    inside: ClassVar[str] = "(0, 1)"
    gate: ClassVar[bool] = True
    most: ClassVar[int] = 256

    def tables(self) -> tuple[tuple[str, np.ndarray], ...]:
        """None."""
        return ()

    def statistic(self, values: np.ndarray) -> np.ndarray:
        """128 - q."""
        return (128 - values[..., 0].astype(np.int32)).astype(np.uint32)

    def real_limit(self, threshold: float) -> float:
        """q > zero_point + ln(tau / (1 - tau)) / scale, strictly."""
        return 128.0 - self.zero_point - log(threshold / (1.0 - threshold)) / self.scale - _STRICTLY

    def real_threshold(self, limit: float) -> float:
        """sigmoid of the real value at a limit."""
        exponent = (128.0 - self.zero_point - limit - _STRICTLY) * self.scale
        return 1.0 / (1.0 + exp(-exponent)) if exponent > -700 else 0.0

    def c_limit(self, threshold: str) -> str:
        """The same in C, of the gate before its sigmoid: ln(tau / (1 - tau)), which C cannot compute from tau."""
        return f"{128 - self.zero_point}.0 - (double){threshold} / {self.scale!r} - {_STRICTLY!r}"

    @classmethod
    def holds(cls, threshold: float) -> bool:
        """0 < tau < 1."""
        return 0 < threshold < 1
