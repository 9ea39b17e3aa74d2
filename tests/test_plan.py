"""The memory planner: live tensors never overlap, whichever exit is taken."""

import pytest
from graphs import chain
from hypothesis import given, settings
from hypothesis import strategies as st

from trecx.compiler.plan import ALIGNMENT, lower_bound, plan_memory, split
from trecx.compiler.target import CORTEX_M4
from trecx.errors import AnswerIsNo


@st.composite
def graphs(draw: st.DrawFn):
    count = draw(st.integers(1, 14))
    sizes = draw(st.lists(st.integers(1, 900), min_size=count + 1, max_size=count + 1))
    reads = [draw(st.lists(st.integers(0, k), min_size=1, max_size=3, unique=True)) for k in range(count)]
    exits = draw(st.lists(st.integers(1, count), min_size=1, max_size=3, unique=True))
    return chain(sizes, reads, exits)


def reads_by_step(graph):
    """Tensors that each step touches, in execution order, written out again without the planner's lifetimes."""
    steps = [{graph.input.index}]
    for stage in split(graph):
        steps += [{*(t.index for t in op.inputs), op.output.index} for op in stage.ops]
        steps.append({stage.exit.logits.index})
    return steps


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_planner_never_overlaps_live_tensors(graph):
    plan = plan_memory(graph)
    steps = reads_by_step(graph)
    sizes = {t.index: t.size for t in graph.tensors().values()}
    touched = {k for step in steps for k in step}
    first = {k: min(s for s, step in enumerate(steps) if k in step) for k in touched}
    last = {k: max(s for s, step in enumerate(steps) if k in step) for k in touched}
    for a in touched:
        assert plan.offsets[a] % ALIGNMENT == 0
        assert plan.offsets[a] + sizes[a] <= plan.arena_size
        for b in touched:
            if a < b and first[a] <= last[b] and first[b] <= last[a]:
                apart = plan.offsets[a] + sizes[a] <= plan.offsets[b] or plan.offsets[b] + sizes[b] <= plan.offsets[a]
                assert apart, f"tensors {a} and {b} overlap while both are alive"


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_each_op_runs_once_and_after_its_inputs(graph):
    seen = {graph.input.index}
    ran = [op for stage in split(graph) for op in stage.ops]
    for op in ran:
        assert all(t.index in seen for t in op.inputs)
        seen.add(op.output.index)
    assert len({op.index for op in ran}) == len(ran)
    assert all(e.logits.index in seen for e in graph.exits)


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_arena_is_never_below_the_bytes_alive_at_once(graph):
    plan = plan_memory(graph)
    assert plan.arena_size >= lower_bound(plan.buffers)


def test_a_chain_needs_only_its_widest_pair():
    plan = plan_memory(chain([100, 800, 400, 800, 12], [[0], [1], [2], [3]], [4]))
    assert plan.arena_size == 1200


def test_a_tensor_read_after_the_exit_survives_the_exit_check():
    # The early head (op 1, op 2) computes logits from tensor 1, which the tail (op 3) reads again.
    graph = chain([10, 64, 32, 12, 12], [[0], [1], [2], [1]], [3, 4])
    plan = plan_memory(graph)
    alive = {b.tensor.index: (b.first, b.last) for b in plan.buffers}
    check = alive[3][1]
    assert alive[1][1] > check
    assert [len(stage.ops) for stage in plan.stages] == [3, 1]
    assert plan.macs_to(0) == 111
    assert plan.macs_to(1) == 1111


def test_logits_that_an_earlier_stage_computed_survive_until_their_own_check():
    # The second exit reads tensor 1, on the way to the first exit; op 2 must not take its memory.
    graph = chain([4, 12, 12, 12], [[0], [1], [2]], [3, 1])
    plan = plan_memory(graph)
    alive = {b.tensor.index: (b.first, b.last) for b in plan.buffers}
    assert alive[1][1] == max(last for _, last in alive.values())


def test_an_exit_head_that_the_file_lists_last_still_runs_before_the_tail():
    graph = chain([10, 64, 20, 12, 12], [[0], [1], [2], [1]], [4, 3])
    assert [[op.index for op in stage.ops] for stage in split(graph)] == [[0, 3], [1, 2]]


def test_a_model_that_does_not_fit_is_refused_with_its_peak():
    graph = chain([10, 3_000_000, 3_000_000, 12], [[0], [1], [2]], [3])
    with pytest.raises(AnswerIsNo, match=r"6000000 bytes.*t1 \(3000000 bytes\), t2"):
        plan_memory(graph, CORTEX_M4)
