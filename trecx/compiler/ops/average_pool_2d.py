"""AVERAGE_POOL_2D: int8, SAME or VALID; padding counts neither in the sum nor in the number of taps."""

from dataclasses import dataclass
from typing import ClassVar

from trecx.compiler.ops.pooling import Pool2D


@dataclass(frozen=True, eq=False)
class AveragePool2D(Pool2D):
    """The mean of each window's valid taps, rounded half away from zero."""

    kernel: ClassVar[str] = "average_pool_2d"
