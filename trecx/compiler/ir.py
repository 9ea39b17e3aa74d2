"""The typed graph between the `.tflite` reader and the C emitter. Every type is frozen; passes make new graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from math import prod
from typing import Any, ClassVar, Self

import numpy as np

from trecx.decision import Criterion

# The value of a channel that is not constant; no int8.
VARIES = 2**15
# The origin of an output channel that comes from no channel of an input.
ELSEWHERE = -1


@dataclass(frozen=True)
class Quant:
    """Affine quantization: real = scale * (q - zero_point); one entry per tensor, or one per slice along `axis`."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None


class Refused(Exception):
    """An op that cannot be compiled; `problems` are sentence fragments that say what about it is not supported."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, eq=False)
class View:
    """A tensor without memory of its own: it starts `offset` bytes into the tensor with index `base`.

    Its pixels lie `pixel_stride` bytes apart; only the channels of a wider tensor make that more than its own channels.
    """

    base: int
    offset: int
    pixel_stride: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph. `shape` is NHWC with batch 1, or (1, n); `data` is set for constants only.

    `channels` says which channels of the file's tensor remain, in order, where a rewrite removed some. A `variable`
    holds its value from one run to the next, at first the zero point.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    quant: Quant | None = None
    data: np.ndarray | None = None
    view: View | None = None
    channels: tuple[int, ...] | None = None
    variable: bool = False

    @property
    def pixel_stride(self) -> int:
        """Bytes from one pixel to the next: the number of channels, unless this is a view of something wider."""
        return self.view.pixel_stride if self.view else self.shape[-1]

    @property
    def size(self) -> int:
        """Number of elements, which is also the number of bytes of an int8 tensor."""
        return prod(self.shape)

    @property
    def scale(self) -> float:
        """The scale of a per-tensor quantized tensor."""
        assert self.quant is not None and len(self.quant.scale) == 1
        return self.quant.scale[0]

    @property
    def zero_point(self) -> int:
        """The zero point of a per-tensor quantized tensor."""
        assert self.quant is not None and len(self.quant.zero_point) >= 1
        return self.quant.zero_point[0]


@dataclass(frozen=True)
class Table:
    """A constant array of the generated C: `ctype` is int8_t, int16_t, int32_t, uint8_t or uint32_t."""

    name: str
    ctype: str
    values: np.ndarray


@dataclass(frozen=True)
class KernelCall:
    """How the generated C computes one op.

    Calls `trecx_<kernel>(inputs..., outputs..., [scratch,] tables..., (trecx_<kernel>_params){.field = value, ...})` of
    `firmware/kernels/<kernel>.h`, where a variant's kernel is `<variant>/<op>` and its functions start with
    `trecx_<variant>_<op>`. `params` are literals (see `params.py`), so the C compiler specialises the kernel; ops with
    the same kernel and params share one specialised function. A kernel for any number of inputs takes them as one array
    of pointers (`input_array`), one for any number of outputs so takes those (`output_array`).

    `scratch` is the kernel's working memory in bytes, part of the arena, 4-byte aligned; it takes the pointer only
    where that is above 0. `distances` says, per input, how far the output may run into it: the kernel is exact wherever
    the input starts at least that many bytes above the output's start (0: in place). None, or no entry, means the two
    must not overlap. Where there are several outputs none may overlap an input.

    A kernel with several tables takes them as one `const trecx_<kernel>_tables *`, a layer's own constant struct.
    """

    kernel: str
    params: tuple[tuple[str, Any], ...]
    tables: tuple[Table, ...] = ()
    input_array: bool = False
    scratch: int = 0
    distances: tuple[int | None, ...] = ()
    output_array: bool = False

    @property
    def symbol(self) -> str:
        """The kernel's name in C, after `trecx_`."""
        return self.kernel.replace("/", "_")

    @property
    def layered(self) -> bool:
        """Whether a layer's tables come in a struct; one alone is passed as it is."""
        return len(self.tables) > 1


@dataclass(frozen=True)
class Node:
    """An operator as it stands in the `.tflite`: None is an omitted input, `options` is the schema's table."""

    index: int
    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any


class Moved(Enum):
    """How an operator that only moves bytes can be done without: one rewrite each."""

    CHANNELS = "its outputs are channels of its input's pixels"
    BYTES = "its outputs are consecutive bytes of its input"
    PARTS = "its inputs are consecutive bytes of its output"


@dataclass(frozen=True)
class Op(ABC):
    """One operator. Subclasses live in `compiler/ops/`, one file each, and add their attributes as fields.

    `inputs` are the activations it reads, in kernel order; every kernel can read inputs whose pixels lie further apart
    than their channels (`Tensor.pixel_stride`). Constants (weights, bias, axes) are fields of the subclass.
    `index` is its position in the `.tflite`, for messages and layer-by-layer comparison.

    What rewrites ask of an operator are the methods from `constants` on; their defaults forbid everything. Channels are
    the last axis; flags and values of channels are arrays of that length, one per input and one per output.
    """

    index: int
    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    # Whether it computes channels from weights: one that goes is counted, and what stays fills whole words.
    computes: ClassVar[bool] = False
    # Whether its output depends on earlier runs: it is a variable then, which it reads and writes.
    stateful: ClassVar[bool] = False

    @property
    def output(self) -> Tensor:
        """The output of an operator that has one."""
        (output,) = self.outputs
        return output

    @classmethod
    @abstractmethod
    def read(cls, node: Node) -> Self:
        """Build the op from a node; raise Refused with everything about it that is not supported."""

    def macs(self) -> int:
        """Multiply-accumulates: output elements x kernel volume, padding taps counted; 0 where it has none."""
        return 0

    @abstractmethod
    def call(self) -> KernelCall:
        """The call of the plain portable kernel, which can compute every op that `read` accepts."""

    def constants(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The value of each output channel as int64, VARIES where it is not constant, from those of the inputs.

        Values are computed as the kernels compute them.
        """
        return tuple(np.full(tensor.shape[-1], VARIES, np.int64) for tensor in self.outputs)

    def origins(self, position: int, output: int = 0) -> np.ndarray | None:
        """The channel of input `position` from which each channel of an output comes, or ELSEWHERE.

        None for an operator that mixes channels.
        """
        return None

    def agree(self, values: Sequence[np.ndarray], inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        """Clear the flags of the channels that must stay, given those that go at the other end.

        Unless overridden, an output channel goes together with the input channels that it comes from.
        """
        for tensor, flags in enumerate(outputs):
            follows, made = np.ones(len(flags), bool), np.zeros(len(flags), bool)
            links = []
            for position, source in enumerate(inputs):
                origin = self.origins(position, tensor)
                if origin is None:
                    source[:] = False
                else:
                    here = np.flatnonzero(origin != ELSEWHERE)
                    follows[here] &= source[origin[here]]
                    made[here] = True
                    links.append((source, origin[here], here))
            # What comes from no input stays: the channels that PAD adds, and all that mixing operators make.
            flags &= self.loses(flags, follows & made)
            for source, taken, here in links:
                np.logical_and.at(source, taken, flags[here])

    def loses(self, flags: np.ndarray, follows: np.ndarray) -> np.ndarray:
        """Which of an output's channels can go, where those in `follows` go with their input's."""
        return follows

    def narrowed(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], values: Sequence[np.ndarray]
    ) -> Self:
        """The op for the channels that stay, by their numbers; `values` are those of the inputs' channels before.

        The caller replaces the tensors.
        """
        return self

    def moved(self) -> tuple[Moved, tuple[tuple[Tensor, View], ...]] | None:
        """Which tensors can lie where, if the op is left out; None where it computes or packs something."""
        return None


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
