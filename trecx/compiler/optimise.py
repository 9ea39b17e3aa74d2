"""Exact rewrites of the graph. Each is named, counted for the report, and leaves every output bit unchanged."""

from collections.abc import Callable
from dataclasses import replace

from trecx.compiler.graph import Graph
from trecx.compiler.rewrites.channels import drop_constant_channels, drop_unread_channels
from trecx.compiler.rewrites.unused import drop_unused, needed
from trecx.compiler.rewrites.views import concatenate_in_place, reshape_in_place, slice_in_place

__all__ = ["REWRITES", "needed", "optimise"]

REWRITES: tuple[tuple[str, Callable[[Graph], tuple[Graph, int]]], ...] = (
    ("drop unused operators", drop_unused),
    # Channels before views: a channel can leave a tensor, but not the middle of another tensor's memory.
    ("drop constant channels", drop_constant_channels),
    ("drop unread channels", drop_unread_channels),
    # Slices first: a reshape of a slice whose pixels lie apart must stay a copy, which it sees by then.
    ("read channel prefixes in place", slice_in_place),
    ("read reshaped tensors in place", reshape_in_place),
    ("concatenate in place", concatenate_in_place),
)


def optimise(graph: Graph) -> Graph:
    """Apply every rewrite in order; `rewrites` of the result says how often each applied."""
    for name, rewrite in REWRITES:
        graph, count = rewrite(graph)
        graph = replace(graph, rewrites=(*graph.rewrites, (name, count)))
        graph.check()
    return graph
