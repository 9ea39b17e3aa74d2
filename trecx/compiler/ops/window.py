"""Sliding windows along one axis: output size and padding of SAME and VALID."""

from dataclasses import dataclass

from ai_edge_litert.schema_py_generated import Padding

from trecx.compiler.ops.inspection import Inspection


@dataclass(frozen=True)
class Window:
    """A window of `kernel` taps moved by `stride` over `size` inputs; `before` taps of the first one are padding."""

    size: int
    kernel: int
    stride: int
    output: int
    before: int

    @classmethod
    def over(cls, size: int, kernel: int, stride: int, padding: int) -> "Window":
        """The window under SAME or VALID padding; `output` is below 1 where the kernel does not fit."""
        if padding == Padding.SAME:
            output = -(-size // stride)
            return cls(size, kernel, stride, output, max((output - 1) * stride + kernel - size, 0) // 2)
        return cls(size, kernel, stride, (size - kernel) // stride + 1, 0)

    @property
    def padded(self) -> bool:
        """Whether any output reads padding."""
        return self.before > 0 or (self.output - 1) * self.stride - self.before + self.kernel > self.size


def geometry(rows: Window, columns: Window) -> tuple[tuple[str, int], ...]:
    """The params that tell a kernel its windows."""
    return (
        ("input_height", rows.size),
        ("input_width", columns.size),
        ("kernel_height", rows.kernel),
        ("kernel_width", columns.kernel),
        ("stride_height", rows.stride),
        ("stride_width", columns.stride),
        ("pad_top", rows.before),
        ("pad_left", columns.before),
        ("output_height", rows.output),
        ("output_width", columns.output),
    )


def check_padding(inspection: Inspection, padding: int) -> None:
    """Require SAME or VALID."""
    known = padding in (Padding.SAME, Padding.VALID)
    inspection.require(known, f"padding {padding}; supported: SAME, VALID")


def check_dilation(inspection: Inspection, *factors: int) -> None:
    """Require dilation 1."""
    inspection.require(all(f == 1 for f in factors), f"dilation {'x'.join(map(str, factors))}; supported: 1x1")
