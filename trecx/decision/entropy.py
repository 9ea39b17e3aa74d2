"""The entropy of the scores, in nats, is below a threshold (BranchyNet).

With y[k] = e[k] / S, e = 2^16 exp(-scale * d) and S their sum, H = -sum y ln y = U / S + ln(S / 2^16) for U the sum of
scale * d * e. Both sums come from tables, the quotient from three divisions of whole numbers, and the logarithm from a
table of 65 with straight lines between: 16 fraction bits, the same on host and device.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trecx.decision.criterion import Criterion
from trecx.decision.max_score import distances, exponentials

_LN2 = 45426  # ln 2 in 16 fraction bits
_PARTS = 64  # of the interval from 1 to 2


@dataclass(frozen=True)
class Entropy(Criterion):
    """The statistic is 1 + H in units of 2^-16 nats, rounded down."""

    name: ClassVar[str] = "entropy"
    of: ClassVar[str] = "the entropy of the scores in nats"
    inside: ClassVar[str] = "[0, 1e300)"
    comparable: ClassVar[bool] = True

    def tables(self) -> tuple[tuple[str, np.ndarray], ...]:
        """`e`; `a`, which is scale * d * e; `ln` of 1 + k / 64."""
        return (("e", exponentials(self.scale)), ("a", _products(self.scale)), ("ln", _logarithms()))

    def statistic(self, values: np.ndarray) -> np.ndarray:
        """1 + H."""
        d = distances(values)
        s = exponentials(self.scale)[d].sum(axis=-1, dtype=np.int64)
        u = _products(self.scale)[d].sum(axis=-1, dtype=np.int64)
        return np.asarray(1 + (u << 16) // s + _ln(s)).astype(np.uint32)

    def real_limit(self, threshold: float) -> float:
        """H < T is 1 + h <= T in whole units."""
        return 65536.0 * threshold

    def real_threshold(self, limit: float) -> float:
        """Nats."""
        return limit / 65536.0

    def c_limit(self, threshold: str) -> str:
        """The same in C."""
        return f"65536.0 * (double){threshold}"

    @classmethod
    def holds(cls, threshold: float) -> bool:
        """Not negative; at 0 nothing leaves."""
        return threshold >= 0


def _products(scale: float) -> np.ndarray:
    """`a[d]`, uint16 `(256,)`: 2^16 x exp(-x) for x = scale * d, which is never above 2^16 / e."""
    x = scale * np.arange(256, dtype=np.float64)
    return np.rint(65536.0 * x * np.exp(-x)).astype(np.uint16)


def _logarithms() -> np.ndarray:
    """`ln[k]`, uint16 `(65,)`: 2^16 ln(1 + k / 64)."""
    return np.rint(65536.0 * np.log1p(np.arange(_PARTS + 1) / _PARTS)).astype(np.uint16)


def _ln(s: np.ndarray) -> np.ndarray:
    """2^16 ln(s / 2^16) for whole s from 2^16 to 2^24, as the device computes it."""
    s = np.asarray(s, np.int64)
    exponent = np.floor(np.log2(s.astype(np.float64))).astype(np.int64)
    bits = s << (31 - exponent)
    part, rest = bits >> 25 & (_PARTS - 1), bits >> 9 & 0xFFFF
    table = _logarithms().astype(np.int64)
    return np.asarray((exponent - 16) * _LN2 + table[part] + ((table[part + 1] - table[part]) * rest >> 16))
