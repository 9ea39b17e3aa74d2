"""Operators that only move bytes: read or write the bytes where they are anyway (`Op.moved`)."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from trecx.compiler.graph import Graph
from trecx.compiler.ir import Moved, Op, Tensor, View

Views = tuple[tuple[Tensor, View], ...]


def slice_in_place(graph: Graph) -> tuple[Graph, int]:
    """Read some channels where they lie, stepping over the others."""
    return _in_place(graph, Moved.CHANNELS, _only_read_by_ops)


def reshape_in_place(graph: Graph) -> tuple[Graph, int]:
    """Read a reshaped tensor, or a part of one, where it already lies."""
    return _in_place(graph, Moved.BYTES, lambda _, views: views)


def concatenate_in_place(graph: Graph) -> tuple[Graph, int]:
    """Let the producers of a flat concatenation's parts write into the result."""
    return _in_place(graph, Moved.PARTS, _joined)


def _in_place(graph: Graph, how: Moved, allowed: Callable[[Graph, Views], Views | None]) -> tuple[Graph, int]:
    """The graph without the operators that move bytes in one way, as far as `allowed` gives views of them."""
    count = 0
    for index in [op.index for op in graph.ops]:
        op = graph.op(index)
        moved = op.moved()
        if moved is not None and moved[0] is how and (views := allowed(graph, moved[1])) is not None:
            graph, count = _without(graph, op, views), count + 1
    return graph, count


def _only_read_by_ops(graph: Graph, views: Views) -> Views | None:
    """The views unless an exit reads one: kernels step over channels between them, an exit wants its logits dense."""
    read = {tensor.index for e in graph.exits for tensor in e.tensors}
    return None if any(tensor.index in read for tensor, _ in views) else views


def _joined(graph: Graph, views: Views) -> Views | None:
    """The views of the tensors whose memory the parts lie in, where each is one of its own that is all of the part."""
    roots = [graph.storage(part)[0] for part, _ in views]
    whole = all(root.size == part.size for root, (part, _) in zip(roots, views, strict=True))
    distinct = len({root.index for root in roots}) == len(roots)
    if not whole or not distinct or any(root.variable or graph.is_input(root) for root in roots):
        return None
    return tuple(
        (root, replace(view, pixel_stride=root.pixel_stride)) for root, (_, view) in zip(roots, views, strict=True)
    )


def _without(graph: Graph, removed: Op, views: Views) -> Graph:
    """The graph without `removed`, with the tensors of `views` moved into others."""
    new = {tensor.index: replace(tensor, view=view) for tensor, view in views}

    def current(tensor: Tensor) -> Tensor:
        return new.get(tensor.index, tensor)

    def all_current(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
        return tuple(map(current, tensors))

    ops = tuple(
        replace(op, inputs=all_current(op.inputs), outputs=all_current(op.outputs))
        for op in graph.ops
        if op.index != removed.index
    )
    exits = tuple(e.mapped(current) for e in graph.exits)
    return replace(graph, ops=ops, exits=exits, views=(*all_current(graph.views), *all_current(removed.outputs)))
