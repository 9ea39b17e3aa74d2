"""What every operator checks of its node. Problems are collected, so that a node is refused once, with everything."""

from math import isfinite, prod
from typing import Any, TypeVar

import numpy as np

from trecx.compiler.fixed_point import INT8_MAX, INT8_MIN
from trecx.compiler.ir import Node, Quant, Refused, Tensor

# Of an activation. Sums of that many int8 values, and every index, stay within int32.
MAX_ELEMENTS = 2**23
MAX_EXTENT = 2**16

_Options = TypeVar("_Options")


class Inspection:
    """Looks at one node on behalf of an operator; nothing in it may be trusted."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.problems: list[str] = []

    def require(self, condition: bool, problem: str) -> bool:
        """Note `problem` unless `condition` holds."""
        if not condition:
            self.problems.append(problem)
        return condition

    def finish(self) -> None:
        """Raise Refused if there was any problem so far; what follows may rely on all earlier checks."""
        if self.problems:
            raise Refused(self.problems)

    def operands(self, least: int, most: int | None = None, outputs: int = 1) -> None:
        """Refuse at once a node without the operands that the operator is made of, or with more than `outputs`."""
        most = most or least
        count = len(self.node.inputs)
        wanted = str(least) if least == most else f"{least} to {most}"
        self.require(least <= count <= most, f"has {count} inputs; supported: {wanted}")
        made, supported = len(self.node.outputs), "1" if outputs == 1 else f"1 to {outputs}"
        self.require(1 <= made <= outputs, f"has {made} outputs; supported: {supported}")
        self.finish()

    def options(self, kind: type[_Options]) -> _Options:
        """The node's options table, or Refused at once where it is of another operator or missing."""
        options = self.node.options
        if not isinstance(options, kind):
            self.problems.append(f"its options are not {kind.__name__.removesuffix('T')}")
            raise Refused(self.problems)
        return options

    def activation(self, position: int, ranks: tuple[int, ...] = (2, 3, 4)) -> Tensor:
        """The int8 activation at input `position`; Refused at once where it is omitted or constant."""
        tensor = self.node.inputs[position]
        if tensor is None or tensor.data is not None:
            what = "omitted" if tensor is None else f"the constant {tensor.name!r}"
            self.problems.append(f"input {position} is {what}; supported: an activation")
            raise Refused(self.problems)
        self._value(tensor, f"input {position}", ranks)
        return tensor

    def output(self, ranks: tuple[int, ...] = (2, 3, 4), part: int = 0) -> Tensor:
        """The int8 output, or one of several."""
        tensor = self.node.outputs[part]
        self.require(tensor.data is None, "its output is a constant")
        self._value(tensor, "output", ranks)
        return tensor

    def _value(self, tensor: Tensor, what: str, ranks: tuple[int, ...]) -> None:
        """Checks of an activation: dtype, per-tensor quantization, rank, batch 1, size."""
        self.require(tensor.dtype == "int8", f"{what} is {tensor.dtype}; supported: int8")
        self.scales(tensor.quant, what, 1)
        supported = " or ".join(str(rank) for rank in ranks)
        self.require(len(tensor.shape) in ranks, f"{what} has rank {len(tensor.shape)}; supported: {supported}")
        self.require(tensor.shape[:1] == (1,), f"{what} has shape {tensor.shape}; supported: batch 1")
        sized = all(d >= 1 for d in tensor.shape) and prod(map(int, tensor.shape)) <= MAX_ELEMENTS
        self.require(sized, f"{what} has shape {tensor.shape}; supported: 1 to {MAX_ELEMENTS} elements")

    def scales(self, quant: Quant | None, what: str, count: int) -> None:
        """Require `count` usable scales and zero points."""
        if quant is None or not quant.scale:
            self.problems.append(f"{what} is not quantized")
            return
        if not (len(quant.scale) == len(quant.zero_point) == count):
            found = f"{len(quant.scale)} scales and {len(quant.zero_point)} zero points"
            self.problems.append(f"{what} has {found}; supported: {count} of each")
            return
        self.require(all(isfinite(s) and s > 0 for s in quant.scale), f"{what} has a scale that is not positive")
        inside = all(INT8_MIN <= z <= INT8_MAX for z in quant.zero_point)
        self.require(inside, f"{what} has a zero point outside {INT8_MIN}..{INT8_MAX}")

    def constant(self, position: int, what: str, dtypes: tuple[str, ...], shape: tuple[int, ...] | None) -> np.ndarray:
        """The values of the constant at input `position`; Refused at once where it cannot be read.

        `shape` None leaves the shape open.
        """
        tensor = self.node.inputs[position] if position < len(self.node.inputs) else None
        if tensor is None or tensor.data is None:
            self.problems.append(f"{what} must be a constant")
            raise Refused(self.problems)
        self.require(tensor.dtype in dtypes, f"{what} has type {tensor.dtype}; supported: {', '.join(dtypes)}")
        if shape is not None:
            self.require(tensor.shape == shape, f"{what} has shape {tensor.shape}; expected {shape}")
        sized = all(d >= 0 for d in tensor.shape) and tensor.data.size == prod(map(int, tensor.shape))
        self.require(sized, f"{what} has {tensor.data.size} values in a tensor of shape {tensor.shape}")
        self.finish()
        return tensor.data.reshape(tensor.shape)

    def integers(self, position: int, what: str, count: int | None = None) -> tuple[int, ...]:
        """A constant list of int32 (or int64), flattened; `count` None leaves its length open."""
        values = tuple(int(v) for v in self.constant(position, what, ("int32", "int64"), None).ravel())
        if not self.require(count in (None, len(values)), f"{what} has {len(values)} values; expected {count}"):
            self.finish()
        return values

    def same_quantization(self, *tensors: Tensor) -> None:
        """Require that a value means the same in all of `tensors`, for operators that only move or compare values."""
        pairs = {(t.quant.scale, t.quant.zero_point) for t in tensors if t.quant is not None}
        self.require(len(pairs) <= 1, "its inputs and output differ in scale or zero point; supported: all equal")

    def shape(self, tensor: Tensor, *expected: tuple[int, ...]) -> None:
        """Require the output shape that follows from inputs and options."""
        wanted = " or ".join(str(e) for e in expected)
        self.require(tensor.shape in expected, f"output has shape {tensor.shape}; its inputs give {wanted}")

    def extent(self, value: Any, what: str) -> int:
        """A positive attribute (stride, filter size) of reasonable size; Refused at once otherwise."""
        number = int(value)
        if not self.require(1 <= number <= MAX_EXTENT, f"{what} is {number}; supported: 1 to {MAX_EXTENT}"):
            self.finish()
        return number
