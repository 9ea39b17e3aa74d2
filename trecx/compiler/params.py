"""What a kernel is told of a layer, as a tree: numbers, and structs that many kernels share.

Each struct here, like `Window`, `Runs` and `Multiplier`, has a counterpart of the same fields in
`firmware/kernels/layer.h`, and becomes a designated initializer of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from trecx.compiler.fixed_point import Multiplier
from trecx.compiler.ir import Tensor

# An int, one of the frozen dataclasses, or a tuple of these, which is an array in C.
Value = Any
Params = tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class Pixels:
    """Pixels of `channels` contiguous bytes, `stride` bytes from one to the next."""

    channels: int
    stride: int

    @classmethod
    def of(cls, tensor: Tensor) -> "Pixels":
        """The pixels of an activation."""
        return cls(tensor.shape[-1], tensor.pixel_stride)


@dataclass(frozen=True)
class Range:
    """What an activation lets through, of int8."""

    min: int
    max: int


@dataclass(frozen=True)
class Output:
    """The last step to an output: clamp(x + zero_point)."""

    zero_point: int
    range: Range


@dataclass(frozen=True)
class Addend:
    """An input of ADD: `stride` bytes from run to run, and the factor that takes it to the scale of the sum."""

    stride: int
    zero_point: int
    factor: Multiplier


@dataclass(frozen=True)
class Padding:
    """Along one axis, `before` of `output` places lie in front of the `size` of the input."""

    size: int
    before: int
    output: int


def params(**members: Value) -> Params:
    """The members of a kernel's struct, by name."""
    return tuple(members.items())


def members(value: Value) -> Params | None:
    """The members of a struct by name; None for what is none."""
    if is_dataclass(value):
        return tuple((field.name, getattr(value, field.name)) for field in fields(value))
    return None


def numbers(found: Params, path: str = "") -> Iterator[tuple[str, int]]:
    """Every number of a tree with its path, such as ("rows.stride", 2)."""
    for name, value in found:
        for k, item in enumerate(value) if isinstance(value, tuple) else (("", value),):
            place = path + name + (f"[{k}]" if isinstance(value, tuple) else "")
            inner = members(item)
            if inner is None:
                yield place, item
            else:
                yield from numbers(inner, place + ".")


def initializer(value: Value) -> str:
    """A value as C writes it: a number, or designated initializers in braces."""
    if isinstance(value, tuple):
        return "{ " + ", ".join(initializer(item) for item in value) + " }"
    inner = members(value)
    if inner is None:
        return str(value)
    return "{ " + ", ".join(f".{name} = {initializer(item)}" for name, item in inner) + " }"
