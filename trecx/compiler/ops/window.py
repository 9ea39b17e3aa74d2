"""Sliding windows along one axis: output size and padding of SAME and VALID."""

from dataclasses import dataclass

from ai_edge_litert.schema_py_generated import Padding

from trecx.compiler.ir import Tensor
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.params import Params, Pixels, params


@dataclass(frozen=True)
class Window:
    """A window of `kernel` taps moved by `stride` over `size` inputs; `before` taps of the first one are padding."""

    size: int
    kernel: int
    stride: int
    before: int
    output: int

    @classmethod
    def over(cls, size: int, kernel: int, stride: int, padding: int) -> "Window":
        """The window under SAME or VALID padding; `output` is below 1 where the kernel does not fit."""
        if padding == Padding.SAME:
            output = -(-size // stride)
            return cls(size, kernel, stride, max((output - 1) * stride + kernel - size, 0) // 2, output)
        return cls(size, kernel, stride, 0, (size - kernel) // stride + 1)

    @property
    def padded(self) -> bool:
        """Whether any output reads padding."""
        return self.before > 0 or (self.output - 1) * self.stride - self.before + self.kernel > self.size


def windowed(rows: Window, columns: Window, source: Tensor) -> Params:
    """The params that tell a kernel its windows and what they go over."""
    return params(rows=rows, columns=columns, input=Pixels.of(source), input_zero_point=source.zero_point)


def check_padding(inspection: Inspection, padding: int) -> None:
    """Require SAME or VALID."""
    known = padding in (Padding.SAME, Padding.VALID)
    inspection.require(known, f"padding {padding}; supported: SAME, VALID")


def check_dilation(inspection: Inspection, *factors: int) -> None:
    """Require dilation 1."""
    inspection.require(all(f == 1 for f in factors), f"dilation {'x'.join(map(str, factors))}; supported: 1x1")
