"""Random windows over images."""

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

Random = np.random.Generator


def size(random: Random, most: int) -> int:
    """1 to `most`."""
    return int(random.integers(1, most + 1))


def _padding(random: Random) -> int:
    return int(random.choice([schema.Padding.SAME, schema.Padding.VALID]))


def _windows(padding: int, size: int, kernel: int, stride: int) -> int:
    return -(-size // stride) if padding == schema.Padding.SAME else (size - kernel) // stride + 1


@dataclass(frozen=True)
class Geometry:
    """A window over a random image; the kernel fits the image where padding is VALID."""

    image: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: int

    @classmethod
    def draw(cls, random: Random, most: int = 9) -> "Geometry":
        if random.random() < 0.5:
            return cls.ordinary(random)
        image = size(random, most), size(random, most)
        padding = _padding(random)
        limits = image if padding == schema.Padding.VALID else (5, 5)
        kernel = size(random, min(5, limits[0])), size(random, min(5, limits[1]))
        return cls(image, kernel, (size(random, 3), size(random, 3)), padding)

    @classmethod
    def ordinary(cls, random: Random) -> "Geometry":
        """Mostly 3x3, of one stride."""
        kernel = (3, 3) if random.random() < 0.7 else (size(random, 4), size(random, 4))
        stride, padding = size(random, 2), _padding(random)
        least = (1, 1) if padding == schema.Padding.SAME else kernel
        image = int(random.integers(least[0], 15)), int(random.integers(least[1], 15))
        return cls(image, kernel, (stride, stride), padding)

    @property
    def output(self) -> tuple[int, int]:
        height, width = (
            _windows(self.padding, *axis) for axis in zip(self.image, self.kernel, self.strides, strict=True)
        )
        return height, width

    def fill(self, options: schema.Conv2DOptionsT | schema.DepthwiseConv2DOptionsT | schema.Pool2DOptionsT) -> None:
        options.padding = self.padding
        options.strideH, options.strideW = self.strides
