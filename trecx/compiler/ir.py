"""Tensors, operators and kernel calls between the `.tflite` reader and the C emitter. Every type is frozen; passes make
new graphs (`graph.py`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any, ClassVar, Self

import numpy as np

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
