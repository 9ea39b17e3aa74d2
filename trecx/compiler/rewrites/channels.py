"""Channels that need not be computed: constant ones, and those that nobody reads.

Which channels can go is the largest set that every operator agrees to (`Op.agree`), found by starting from all
candidates and crossing out what some operator objects to, until none does:

- a convolution or FULLY_CONNECTED computes any subset of its outputs; it can do without an input channel that is
  absorbed by the bias (`ops/product.py`), or whose weights are zero in every output that stays;
- an operator that treats channels apart loses an output channel together with the input channels that it comes from;
- a slice may also lose the last of its channels alone: it stays a prefix of what its input keeps;
- the model's input and what an exit reads or answers lose nothing, and any other operator loses nothing.

The accumulators' bounds still hold: with |c| <= 128, the new bias b' = b + sum of w * c over the removed inputs gives
|b'| + 128 * sum of the other |w| <= |b| + 128 * sum of all |w|, which `read_channels` has checked.

A count that is no multiple of 4 is filled up with channels that could have gone, so that pixels start at whole words.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from trecx.compiler.graph import Graph
from trecx.compiler.ir import VARIES, Op, Tensor
from trecx.compiler.rewrites.constants import constants

WORD = 4

# Per tensor index, one flag per channel.
Flags = dict[int, np.ndarray]


def drop_constant_channels(graph: Graph) -> tuple[Graph, int]:
    """Compute no channel that is constant; the count is of channels that convolutions no longer compute."""
    values = constants(graph)
    return _drop(graph, values, {index: channels != VARIES for index, channels in values.items()})


def drop_unread_channels(graph: Graph) -> tuple[Graph, int]:
    """Compute no channel that nobody reads or that meets only zero weights; counted as above."""
    values = constants(graph)
    return _drop(graph, values, {index: np.ones(len(channels), bool) for index, channels in values.items()})


def _drop(graph: Graph, values: dict[int, np.ndarray], candidates: Flags) -> tuple[Graph, int]:
    assert not graph.views, "channels cannot leave the middle of another tensor's memory"
    borders = ((one.tensor for one in graph.inputs), *(e.tensors for e in graph.exits))
    for tensor in chain.from_iterable(borders):
        candidates[tensor.index][:] = False
    removed = _filled(graph, values, candidates)
    count = sum(int(flags.sum()) for op in graph.ops if op.computes for flags in _of(op.outputs, removed))
    if not any(flags.any() for flags in removed.values()):
        return graph, 0
    return _narrowed(graph, values, removed), count


def _filled(graph: Graph, values: dict[int, np.ndarray], candidates: Flags) -> Flags:
    """The channels to remove: all that can go but those that stay to fill up."""
    removed = _agreed(graph, values, candidates)
    while missing := next(_short_of_channels(graph, removed), None):
        flags, count = missing
        flags[np.flatnonzero(flags)[:count]] = False
        removed = _agreed(graph, values, removed)
    return removed


def _short_of_channels(graph: Graph, removed: Flags) -> Iterator[tuple[np.ndarray, int]]:
    """The flags of each tensor in which more channels must stay, and how many."""
    for op in graph.ops:
        for flags in _of(op.outputs, removed):
            if (count := _missing(op, flags)) > 0:
                yield flags, count


def _missing(op: Op, flags: np.ndarray) -> int:
    """How many more of the output's channels must stay: whole words where they are computed, else one at least."""
    kept, word = int((~flags).sum()), WORD if op.computes else 1
    return min(len(flags), max(word, -(-kept // word) * word)) - kept


def _agreed(graph: Graph, values: dict[int, np.ndarray], candidates: Flags) -> Flags:
    """The largest part of `candidates` that every operator agrees to remove."""
    removed = {index: flags.copy() for index, flags in candidates.items()}
    before = -1
    while before != (left := sum(int(flags.sum()) for flags in removed.values())):
        before = left
        for op in reversed(graph.ops):
            op.agree(_of(op.inputs, values), _of(op.inputs, removed), _of(op.outputs, removed))
    return removed


def _of(tensors: Sequence[Tensor], by_index: Mapping[int, np.ndarray]) -> list[np.ndarray]:
    return [by_index[tensor.index] for tensor in tensors]


def _narrowed(graph: Graph, values: dict[int, np.ndarray], removed: Flags) -> Graph:
    """The graph without the channels `removed`; constant `values` among them go into the bias of their readers."""
    kept = {index: np.flatnonzero(~flags) for index, flags in removed.items()}
    new = {index: _cut(tensor, kept[index]) for index, tensor in graph.tensors().items()}

    def narrow(op: Op) -> Op:
        narrowed = op.narrowed(_of(op.inputs, kept), _of(op.outputs, kept), _of(op.inputs, values))
        inputs, outputs = (tuple(new[tensor.index] for tensor in of) for of in (op.inputs, op.outputs))
        return replace(narrowed, inputs=inputs, outputs=outputs)

    exits = tuple(e.mapped(lambda tensor: new[tensor.index]) for e in graph.exits)
    return replace(graph, ops=tuple(map(narrow, graph.ops)), exits=exits)


def _cut(tensor: Tensor, kept: np.ndarray) -> Tensor:
    if len(kept) == tensor.shape[-1]:
        return tensor
    before = tensor.channels or range(tensor.shape[-1])
    return replace(tensor, shape=(*tensor.shape[:-1], len(kept)), channels=tuple(before[k] for k in kept))
