"""MAX_POOL_2D: int8, SAME or VALID."""

from dataclasses import dataclass
from typing import ClassVar

from trecx.compiler.ops.pooling import Pool2D


@dataclass(frozen=True, eq=False)
class MaxPool2D(Pool2D):
    """The highest of each window's valid taps."""

    kernel: ClassVar[str] = "max_pool_2d"
