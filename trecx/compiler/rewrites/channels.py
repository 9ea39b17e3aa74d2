"""Channels that need not be computed: constant ones, and those that nobody reads.

Which channels can go is the largest set that every operator agrees to, found by starting from all candidates and
crossing out what some operator objects to, until none does:

- a convolution or FULLY_CONNECTED computes any subset of its outputs; it can do without an input channel that is
  absorbed by the bias (`constants.py`), or whose weights are zero in every output that stays;
- an operator that treats channels apart loses an output channel together with the input channels that it comes from;
- a slice may also lose the last of its channels alone: it stays a prefix of what its input keeps;
- the model's input, logits and scores lose nothing, and any other operator loses nothing.

The accumulators' bounds still hold: with |c| <= 128, the new bias b' = b + sum of w * c over the removed inputs gives
|b'| + 128 * sum of the other |w| <= |b| + 128 * sum of all |w|, which `read_channels` has checked.

A count that is no multiple of 4 is filled up with channels that could have gone, so that pixels start at whole words.
"""

from dataclasses import replace
from itertools import chain

import numpy as np

from trecx.compiler.ir import Graph, Op, Tensor
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.ops.fully_connected import FullyConnected
from trecx.compiler.ops.strided_slice import StridedSlice
from trecx.compiler.rewrites.constants import ELSEWHERE, VARIES, Dense, absorbed, constants, origins

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
    for tensor in (graph.input, *chain.from_iterable((e.logits, e.scores) for e in graph.exits)):
        candidates[tensor.index][:] = False
    removed = _filled(graph, values, candidates)
    count = sum(int(removed[op.output.index].sum()) for op in graph.ops if _computes(op))
    if not any(flags.any() for flags in removed.values()):
        return graph, 0
    return _narrowed(graph, values, removed), count


def _computes(op: Op) -> bool:
    return isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected)


def _filled(graph: Graph, values: dict[int, np.ndarray], candidates: Flags) -> Flags:
    """The channels to remove: all that can go but those that stay to fill up."""
    removed = _agreed(graph, values, candidates)
    while missing := next(((op, n) for op in graph.ops if (n := _missing(op, removed[op.output.index])) > 0), None):
        flags = removed[missing[0].output.index]
        flags[np.flatnonzero(flags)[: missing[1]]] = False
        removed = _agreed(graph, values, removed)
    return removed


def _missing(op: Op, flags: np.ndarray) -> int:
    """How many more of the output's channels must stay: whole words where they are computed, else one at least."""
    kept, word = int((~flags).sum()), WORD if _computes(op) else 1
    return min(len(flags), max(word, -(-kept // word) * word)) - kept


def _agreed(graph: Graph, values: dict[int, np.ndarray], candidates: Flags) -> Flags:
    """The largest part of `candidates` that every operator agrees to remove."""
    removed = {index: flags.copy() for index, flags in candidates.items()}
    before = -1
    while before != (left := sum(int(flags.sum()) for flags in removed.values())):
        before = left
        for op in reversed(graph.ops):
            if isinstance(op, Conv2D | FullyConnected):
                _agree_dense(op, values[op.inputs[0].index], removed)
            else:
                _agree_channelwise(op, removed)
    return removed


def _agree_dense(op: Dense, values: np.ndarray, removed: Flags) -> None:
    weights = op.channels.weights.reshape(len(op.channels.bias), -1, len(values))
    read = weights[~removed[op.output.index]].any(axis=(0, 1))
    removed[op.inputs[0].index] &= absorbed(op, values) | ~read


def _agree_channelwise(op: Op, removed: Flags) -> None:
    output = removed[op.output.index]
    follows, made = np.ones(len(output), bool), np.zeros(len(output), bool)
    links = []
    for position, tensor in enumerate(op.inputs):
        origin, source = origins(op, position), removed[tensor.index]
        if origin is None:
            source[:] = False
        else:
            here = np.flatnonzero(origin != ELSEWHERE)
            follows[here] &= source[origin[here]]
            made[here] = True
            links.append((source, origin[here], here))
    if isinstance(op, StridedSlice):
        follows |= np.logical_and.accumulate(output[::-1])[::-1]
    # What comes from no input stays: the channels that PAD adds, and all that mixing operators make.
    output &= follows & made
    for source, taken, here in links:
        np.logical_and.at(source, taken, output[here])


def _narrowed(graph: Graph, values: dict[int, np.ndarray], removed: Flags) -> Graph:
    """The graph without the channels `removed`; constant `values` among them go into the bias of their readers."""
    kept = {index: np.flatnonzero(~flags) for index, flags in removed.items()}
    new = {index: _cut(tensor, kept[index]) for index, tensor in graph.tensors().items()}

    def narrow(op: Op) -> Op:
        inputs, output = tuple(new[t.index] for t in op.inputs), new[op.output.index]
        outputs = kept[op.output.index]
        if isinstance(op, Conv2D | FullyConnected):
            source = op.inputs[0].index
            folded = np.where(values[source] == VARIES, 0, values[source])
            channels = op.channels.dense(outputs, kept[source], folded)
            return replace(op, inputs=inputs, output=output, channels=channels)
        if isinstance(op, DepthwiseConv2D):
            return replace(op, inputs=inputs, output=output, channels=op.channels.depthwise(outputs))
        return replace(op, inputs=inputs, output=output)

    exits = tuple(replace(e, logits=new[e.logits.index], scores=new[e.scores.index]) for e in graph.exits)
    return replace(graph, ops=tuple(map(narrow, graph.ops)), exits=exits)


def _cut(tensor: Tensor, kept: np.ndarray) -> Tensor:
    if len(kept) == tensor.shape[-1]:
        return tensor
    before = tensor.channels or range(tensor.shape[-1])
    return replace(tensor, shape=(*tensor.shape[:-1], len(kept)), channels=tuple(before[k] for k in kept))
