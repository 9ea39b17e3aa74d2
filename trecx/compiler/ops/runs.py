"""Activations as pixels of contiguous channels, for kernels that go through all values alike."""

from dataclasses import dataclass

from trecx.compiler.ir import Tensor


@dataclass(frozen=True)
class Runs:
    """`count` runs of `length` contiguous bytes, `stride` bytes from one to the next."""

    count: int
    length: int
    stride: int

    @classmethod
    def of(cls, tensor: Tensor) -> "Runs":
        """The runs of an int8 tensor: its pixels, or one run where there is nothing between them."""
        channels = tensor.shape[-1]
        pixels = tensor.size // channels
        if pixels == 1 or tensor.pixel_stride == channels:
            return cls(1, tensor.size, tensor.size)
        return cls(pixels, channels, tensor.pixel_stride)
