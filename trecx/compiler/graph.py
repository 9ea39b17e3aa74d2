"""A model as the compiler sees it: its inputs, its operators in order, and the exits where it may answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from trecx.compiler.ir import Op, Tensor
from trecx.decision import Criterion


@dataclass(frozen=True)
class Input:
    """An input of the model, by the name that its file gives it."""

    name: str
    tensor: Tensor


@dataclass(frozen=True)
class Output:
    """An output of the model, by the name that its file gives it."""

    name: str
    tensor: Tensor


@dataclass(frozen=True)
class Exit:
    """A place where inference may answer with some of the model's outputs.

    Class scores are one output, and `logits` what SOFTMAX makes it of, or the output itself where it ends without; None
    where the answer is values or maps. An exit with a `decision` answers where the values `decides` are sure enough.
    """

    name: str
    outputs: tuple[Output, ...]
    logits: Tensor | None
    decision: Criterion | None = None
    decides: Tensor | None = None

    @property
    def scores(self) -> Tensor:
        """The tensor of the class scores, or of the first of several outputs."""
        return self.outputs[0].tensor

    @property
    def read(self) -> tuple[Tensor, ...]:
        """What must hold its value when the exit decides and answers; class scores are only made of the logits then."""
        answer = tuple(output.tensor for output in self.outputs) if self.logits is None else (self.logits,)
        decides = () if self.decides is None or self.decides in answer else (self.decides,)
        return (*answer, *decides)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor that the exit names."""
        return (*self.read, *(output.tensor for output in self.outputs))

    def mapped(self, current: Callable[[Tensor], Tensor]) -> Exit:
        """The exit with each of its tensors replaced."""
        return replace(
            self,
            outputs=tuple(replace(output, tensor=current(output.tensor)) for output in self.outputs),
            logits=None if self.logits is None else current(self.logits),
            decides=None if self.decides is None else current(self.decides),
        )


@dataclass(frozen=True)
class Graph:
    """A model: `ops` in an order that computes inputs first, `exits` in the order in which they are taken.

    `views` are the tensors that ops removed by a rewrite once produced and that now lie inside another tensor;
    `rewrites` names each exact rewrite with the number of times it applied. Where the last exit has a decision like the
    others, the surest of all exits answers if none is within its limit.
    """

    inputs: tuple[Input, ...]
    ops: tuple[Op, ...]
    exits: tuple[Exit, ...]
    views: tuple[Tensor, ...] = ()
    rewrites: tuple[tuple[str, int], ...] = ()

    @property
    def input(self) -> Tensor:
        """The input of a model that has one, as those have that are trained here."""
        (only,) = self.inputs
        return only.tensor

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of a sample: that of the one input; or the elements of several, one input after another."""
        several = len(self.inputs) > 1
        return (sum(one.tensor.size for one in self.inputs),) if several else self.input.shape[1:]

    def is_input(self, tensor: Tensor) -> bool:
        """Whether the caller writes it, and no operator."""
        return any(tensor.index == one.tensor.index for one in self.inputs)

    @property
    def most_confident(self) -> bool:
        """Whether the surest exit answers where none is within its limit."""
        return len(self.exits) > 1 and self.exits[-1].decision is not None

    @property
    def classes(self) -> int:
        """Number of classes; 0 where the answers are values or maps."""
        final = self.exits[-1]
        return 0 if final.logits is None else final.logits.size

    @property
    def states(self) -> tuple[Tensor, ...]:
        """What outlives a run, so that samples are a stream."""
        return tuple(tensor for op in self.ops if op.stateful for tensor in op.outputs)

    def op(self, index: int) -> Op:
        """The op that stands at `index` in the `.tflite`."""
        return next(op for op in self.ops if op.index == index)

    def producer(self, tensor: Tensor) -> Op | None:
        """The op that computes `tensor`; None for inputs and for views."""
        return next((op for op in self.ops if any(o.index == tensor.index for o in op.outputs)), None)

    @cached_property
    def _known(self) -> dict[int, Tensor]:
        every = (
            *(one.tensor for one in self.inputs),
            *self.views,
            *(output for op in self.ops for output in op.outputs),
        )
        return {tensor.index: tensor for tensor in every}

    def tensors(self) -> dict[int, Tensor]:
        """Every activation by its index."""
        return self._known

    def storage(self, tensor: Tensor) -> tuple[Tensor, int]:
        """The tensor whose memory `tensor` lies in, and the offset in bytes from its start."""
        offset = 0
        while tensor.view is not None:
            offset += tensor.view.offset
            tensor = self._known[tensor.view.base]
        return tensor, offset

    def place(self, tensor: Tensor) -> tuple[Tensor, int, int]:
        """The tensor whose memory `tensor` lies in, and the first byte in it and the one after the last."""
        root, offset = self.storage(tensor)
        channels = tensor.shape[-1]
        return root, offset, offset + (tensor.size // channels - 1) * tensor.pixel_stride + channels

    def check(self) -> None:
        """Assert what every pass must keep.

        Inputs exist before they are read, each tensor has one producer, and only a slice steps over foreign channels.
        """
        known = self._known
        ready = {one.tensor.index for one in self.inputs}
        filled = set(ready)
        for op in self.ops:
            for tensor in op.outputs:
                assert tensor.index not in ready, f"{op.name} computes tensor {tensor.index} again"
            for tensor in op.inputs:
                assert known[tensor.index] is tensor, f"{op.name} reads an outdated tensor {tensor.index}"
                assert self.storage(tensor)[0].index in filled, f"{op.name} reads tensor {tensor.index} too early"
            ready |= {tensor.index for tensor in op.outputs}
            filled |= {self.storage(tensor)[0].index for tensor in op.outputs}
        for tensor in known.values():
            if tensor.view is not None and tensor.pixel_stride == tensor.shape[-1] < tensor.size:
                base = known[tensor.view.base]
                dense = base.pixel_stride == base.shape[-1] or base.size == base.shape[-1]
                assert dense, f"tensor {tensor.index} takes {base.index} for dense"
        assert all(known[tensor.index] is tensor for e in self.exits for tensor in e.tensors)
