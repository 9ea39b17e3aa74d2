"""Operators that only move bytes: read or write the bytes where they are anyway."""

from dataclasses import replace

from trecx.compiler.ir import Graph, Op, Tensor, View
from trecx.compiler.ops.concatenation import Concatenation
from trecx.compiler.ops.reshape import Reshape
from trecx.compiler.ops.strided_slice import StridedSlice


def concatenate_in_place(graph: Graph) -> tuple[Graph, int]:
    """Let the producers of a flat concatenation's parts write into the result."""
    count = 0
    for index in [op.index for op in graph.ops if isinstance(op, Concatenation)]:
        op = graph.op(index)
        if _can_join(graph, op):
            offset, views = 0, {}
            for part in op.inputs:
                root, _ = graph.storage(part)
                views[root.index] = View(op.output.index, offset, root.pixel_stride)
                offset += part.size
            graph, count = _without(graph, op, views), count + 1
    return graph, count


def _can_join(graph: Graph, op: Op) -> bool:
    """Whether each part is one whole tensor of its own, so that it can live inside the result."""
    roots = [graph.storage(part)[0] for part in op.inputs]
    flat = all(part.size == part.shape[-1] for part in op.inputs)
    whole = all(root.size == part.size for root, part in zip(roots, op.inputs, strict=True))
    distinct = len({root.index for root in roots}) == len(roots)
    return flat and whole and distinct and all(root.index != graph.input.index for root in roots)


def reshape_in_place(graph: Graph) -> tuple[Graph, int]:
    """Read a reshaped tensor where it already lies."""
    count = 0
    for index in [op.index for op in graph.ops if isinstance(op, Reshape)]:
        op = graph.op(index)
        source = op.inputs[0]
        if source.pixel_stride == source.shape[-1]:
            view = View(source.index, 0, op.output.shape[-1])
            graph, count = _without(graph, op, {op.output.index: view}), count + 1
    return graph, count


def slice_in_place(graph: Graph) -> tuple[Graph, int]:
    """Read a channel prefix where it lies, stepping over the other channels."""
    count = 0
    for index in [op.index for op in graph.ops if isinstance(op, StridedSlice)]:
        op = graph.op(index)
        if _only_read_by_ops(graph, op):
            source = op.inputs[0]
            view = View(source.index, 0, source.pixel_stride)
            graph, count = _without(graph, op, {op.output.index: view}), count + 1
    return graph, count


def _only_read_by_ops(graph: Graph, op: Op) -> bool:
    """Whether no exit reads the slice: kernels step over the channels cut off, an exit wants its logits dense."""
    return all(op.output.index not in (e.logits.index, e.scores.index) for e in graph.exits)


def _without(graph: Graph, removed: Op, views: dict[int, View]) -> Graph:
    """The graph without `removed`, with the tensors of `views` moved into others."""
    old = {t.index: t for t in (*graph.tensors().values(), removed.output)}
    new = {index: replace(old[index], view=view) for index, view in views.items()}

    def current(tensor: Tensor) -> Tensor:
        return new.get(tensor.index, tensor)

    ops = tuple(
        replace(op, inputs=tuple(map(current, op.inputs)), output=current(op.output))
        for op in graph.ops
        if op.index != removed.index
    )
    exits = tuple(replace(e, logits=current(e.logits), scores=current(e.scores)) for e in graph.exits)
    kept = tuple(map(current, graph.views))
    return replace(graph, ops=ops, exits=exits, views=(*kept, current(removed.output)))
