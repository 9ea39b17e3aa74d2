"""The highest logit is at least so far above the second highest: the cheapest criterion, no table."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trecx.decision.criterion import Criterion


@dataclass(frozen=True)
class Margin(Criterion):
    """The statistic is 256 - (highest - second highest int8 logit): 1 to 256. Thresholds are differences of logits."""

    name: ClassVar[str] = "margin"
    of: ClassVar[str] = "the highest logit less the second highest"
    inside: ClassVar[str] = "[0, 1e300)"
    most: ClassVar[int] = 256

    def tables(self) -> tuple[tuple[str, np.ndarray], ...]:
        """None."""
        return ()

    def statistic(self, values: np.ndarray) -> np.ndarray:
        """256 less the difference of the two highest."""
        ordered = np.sort(values.astype(np.int32), axis=-1)
        return (256 - (ordered[..., -1] - ordered[..., -2])).astype(np.uint32)

    def real_limit(self, threshold: float) -> float:
        """A difference of d steps is d * scale: d >= threshold / scale."""
        return 256.0 - threshold / self.scale

    def real_threshold(self, limit: float) -> float:
        """The largest difference that is enough at a limit."""
        return (256.0 - limit) * self.scale

    def c_limit(self, threshold: str) -> str:
        """The same in C."""
        return f"256.0 - (double){threshold} / {self.scale!r}"

    @classmethod
    def holds(cls, threshold: float) -> bool:
        """Not negative; at 0 everything leaves."""
        return threshold >= 0
