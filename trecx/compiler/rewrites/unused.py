"""Operators that no exit needs."""

from dataclasses import replace

from trecx.compiler.graph import Graph
from trecx.compiler.ir import Tensor


def needed(graph: Graph, tensor: Tensor) -> set[int]:
    """Indices of the ops that must run before `tensor` holds its value.

    Ops whose output lies beside it in the same memory (other parts of a concatenation) are not among them.
    """
    places = [(op, *graph.place(output)) for op in graph.ops for output in op.outputs]
    found: set[int] = set()
    pending = [tensor]
    while pending:
        root, start, end = graph.place(pending.pop())
        for op, owner, first, last in places:
            if op.index not in found and owner is root and first < end and start < last:
                found.add(op.index)
                pending.extend(op.inputs)
    return found


def drop_unused(graph: Graph) -> tuple[Graph, int]:
    """Remove ops that no exit needs."""
    kept = set().union(*(needed(graph, tensor) for e in graph.exits for tensor in e.tensors))
    ops = tuple(op for op in graph.ops if op.index in kept)
    return replace(graph, ops=ops), len(graph.ops) - len(ops)
