"""What every criterion has in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import Any, ClassVar

import numpy as np

NEVER = 0
ALWAYS = 2**32 - 1


@dataclass(frozen=True)
class Criterion(ABC):
    """A criterion on values of one quantization, that of the logits or of the gate: real = scale * (q - zero_point).

    `name` is its name in `exits.json` and the header `firmware/kernels/exit/<name>.h`, whose function
    `trecx_exit_<name>(values, count, tables...)` computes the statistic, of up to `exits.MOST_CLASSES` logits; it may
    include headers beside it. `of` says in a few words what a threshold is on, `inside` which thresholds are possible.
    `gate`: it reads an output of its own, of one value, instead of the logits behind the class scores. `comparable`:
    the same statistic means the same confidence at every exit whatever its scale, so that the most confident exit is
    known, and exits may share a threshold in calibration. `most` is the largest statistic, where that is not bounded by
    32 bits alone.
    """

    name: ClassVar[str]
    of: ClassVar[str]
    inside: ClassVar[str]
    gate: ClassVar[bool] = False
    comparable: ClassVar[bool] = False
    most: ClassVar[int] = ALWAYS

    scale: float
    zero_point: int = 0

    @abstractmethod
    def statistic(self, values: np.ndarray) -> np.ndarray:
        """Statistic of int8 values `(..., k)`: uint32 `(...)`, at least 1, the smaller the surer."""

    @abstractmethod
    def tables(self) -> tuple[tuple[str, np.ndarray], ...]:
        """Constant arrays that the kernel takes after the values and their count, with a name for each."""

    @abstractmethod
    def real_limit(self, threshold: float) -> float:
        """The limit of a threshold before it is rounded down; monotone."""

    @abstractmethod
    def real_threshold(self, limit: float) -> float:
        """The threshold of a limit: the inverse of `real_limit`."""

    @abstractmethod
    def c_limit(self, threshold: str) -> str:
        """A constant double expression of C for `real_limit` of the C expression `threshold`."""

    @classmethod
    @abstractmethod
    def holds(cls, threshold: float) -> bool:
        """Whether a finite number is a threshold of this criterion."""

    @classmethod
    def check(cls, threshold: Any) -> str | None:
        """What is wrong with a threshold, as a sentence fragment, or None."""
        if isinstance(threshold, bool) or not isinstance(threshold, int | float):
            return f"threshold {str(threshold)[:40]!r} is not a number"
        if threshold != threshold or abs(threshold) > 1e300 or not cls.holds(float(threshold)):
            return f"threshold {str(threshold)[:40]} is outside {cls.inside}"
        return None

    def limit(self, threshold: float | None) -> int:
        """The largest statistic that answers at a threshold; None, which means never, gives `NEVER`."""
        if threshold is None:
            return NEVER
        real = self.real_limit(threshold)
        return ALWAYS if real >= ALWAYS else max(NEVER, floor(real))

    def threshold(self, limit: int) -> float | None:
        """The shortest decimal that `limit` turns into exactly this limit; None for `NEVER` and what is as good."""
        if limit <= NEVER:
            return None
        limit = min(limit, self.most)
        ends = sorted((self.real_threshold(float(limit)), self.real_threshold(limit + 1.0)))
        for candidate in (*_decimals(*ends), self.real_threshold(limit + 0.5)):
            if self.holds(candidate) and self.limit(candidate) == limit:
                return candidate
        return None


def _decimals(low: float, high: float) -> list[float]:
    """Decimals in [low, high], and its ends, fewest digits first."""
    if not (isfinite(low) and isfinite(high)):
        return [end for end in (low, high) if isfinite(end)]
    size = max(abs(low), abs(high), 1e-300)
    found = []
    for digits in range(-floor(log10(size)), 25):
        unit = 10.0**digits
        found += [floor(high * unit) / unit, ceil(low * unit) / unit]
    return [*(x for x in found if low <= x <= high), low, high]
