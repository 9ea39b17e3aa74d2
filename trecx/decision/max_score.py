"""The highest score after softmax is at least so large.

With d = (highest logit) - logit, softmax's highest score is 1 / sum exp(-scale * d). So "highest score >= rho" is
"sum exp(-scale * d) <= 1 / rho", and with a table e[d] = round(2^16 exp(-scale * d)) it needs no division, no
exponential and no float. Unlike int8 scores, which end at 255/256, no threshold up to 1 is out of reach.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trecx.decision.criterion import Criterion


@dataclass(frozen=True)
class MaxScore(Criterion):
    """The statistic is the sum of e[d]: 65536 for a score of 1, and 65536 / score in general."""

    name: ClassVar[str] = "max_score"
    of: ClassVar[str] = "the highest score after softmax"
    inside: ClassVar[str] = "(0, 1]"
    comparable: ClassVar[bool] = True

    def tables(self) -> tuple[tuple[str, np.ndarray], ...]:
        """`e`."""
        return (("e", exponentials(self.scale)),)

    def statistic(self, values: np.ndarray) -> np.ndarray:
        """Sum of e[d] over the classes."""
        return exponentials(self.scale)[distances(values)].sum(axis=-1, dtype=np.uint32)

    def real_limit(self, threshold: float) -> float:
        """2^16 / rho."""
        return 65536.0 / threshold

    def real_threshold(self, limit: float) -> float:
        """2^16 / limit: above 1, which is no threshold, for limits that no sum can reach."""
        return 65536.0 / limit

    def c_limit(self, threshold: str) -> str:
        """The same in C."""
        return f"65536.0 / (double){threshold}"

    @classmethod
    def holds(cls, threshold: float) -> bool:
        """0 < rho <= 1."""
        return 0 < threshold <= 1


def distances(values: np.ndarray) -> np.ndarray:
    """(highest value) - value along the last axis, 0 to 255."""
    wide = values.astype(np.int32)
    return np.asarray(wide.max(axis=-1, keepdims=True) - wide)


def exponentials(scale: float) -> np.ndarray:
    """`e[d]`, uint32 `(256,)`, for values of this scale; `e[0]` is 65536."""
    return np.rint(65536.0 * np.exp(-scale * np.arange(256, dtype=np.float64))).astype(np.uint32)
