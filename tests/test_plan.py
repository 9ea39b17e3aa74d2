"""The memory planner: no byte is lost before its last reader, whichever exit is taken and whatever overlaps."""

from dataclasses import dataclass, replace

import pytest
from graphs import QUANT, Plain, bind, chain, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from trecx.compiler import placement
from trecx.compiler.graph import Graph, Input
from trecx.compiler.ir import KernelCall, Tensor, View
from trecx.compiler.overlap import Exactly
from trecx.compiler.placement import ALIGNMENT, apart
from trecx.compiler.plan import Plan, memory, plan_memory, selection, split
from trecx.compiler.target import CORTEX_M4
from trecx.errors import AnswerIsNo

APART = KernelCall("overlapping", ())


@dataclass(frozen=True)
class Overlapping(Plain):
    """An op whose kernel needs working memory and lets its output run into its inputs."""

    kernel: KernelCall = APART

    def call(self) -> KernelCall:
        return self.kernel


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Ops with random distances and scratch on tensors, channel prefixes of them and parts of flat concatenations."""
    readable = [tensor(0, draw(st.integers(1, 9)), draw(st.integers(1, 9)))]
    source, ops, views = readable[0], [], []
    parts: list[tuple[int, Tensor]] = []  # position of the op, its flat output
    count = draw(st.integers(1, 10))
    for k in range(count):
        inputs = []
        for _ in range(draw(st.integers(1, 3))):
            read = draw(st.sampled_from(readable))
            if read.shape[-1] > 1 and read.pixel_stride == read.shape[-1] and draw(st.booleans()):
                width = draw(st.integers(1, read.shape[-1]))
                view = View(read.index, 0, read.shape[-1])
                read = Tensor(100 + len(views), "prefix", (*read.shape[:-1], width), "int8", QUANT, view=view)
                views.append(read)
            inputs.append(read)
        flat = draw(st.booleans())
        output = tensor(1 + k, draw(st.integers(1, 200))) if flat else tensor(1 + k, *(draw(st.integers(1, 9)),) * 2)
        exactly = draw(st.sampled_from([int, int, Exactly]))
        distances = tuple(draw(st.none() | st.integers(0, output.size + 3).map(exactly)) for _ in inputs)
        call = KernelCall("overlapping", (), scratch=draw(st.sampled_from([0, 0, 4, 40])), distances=distances)
        ops.append(Overlapping(k, "OVERLAPPING", tuple(inputs), (output,), kernel=call))
        if flat and draw(st.booleans()):
            parts.append((k, output))
        else:
            readable.append(output)
        if len(parts) == 2:
            joined = tensor(200 + k, sum(part.size for _, part in parts))
            offset = 0
            for place, part in parts:
                moved = replace(part, view=View(joined.index, offset, part.size))
                ops[place] = replace(ops[place], outputs=(moved,))
                offset += part.size
                readable.append(moved)
            views.append(joined)
            readable.append(joined)
            parts = []
    logits = draw(st.lists(st.sampled_from([*readable[1:], ops[-1].output]), min_size=1, max_size=3, unique=True))
    graph = Graph((Input("in", source),), tuple(ops), bind(logits), tuple(views))
    graph.check()
    return graph


def addresses(graph: Graph, read: Tensor) -> list[tuple[int, int]]:
    """(root, byte in it) of every byte of a tensor, found from its views one pixel at a time."""
    bytes_ = []
    for pixel in range(read.size // read.shape[-1]):
        base, first = read, pixel * read.pixel_stride
        while base.view is not None:
            base, first = graph.tensors()[base.view.base], first + base.view.offset
        bytes_ += [(base.index, first + c) for c in range(read.shape[-1])]
    return bytes_


def lost(graph: Graph, plan: Plan) -> list[str]:
    """Run the plan on an arena that remembers whose each byte is; what was read but no longer there.

    Every op writes its output byte by byte from the start and reads each input byte as late as its kernel promises:
    right before the output is more than `distance` bytes further; without a distance, after all of the output. Every
    other op that is exact at a certain distance only writes its output from the end, where a larger one loses bytes.
    Nothing of the planner's lifetimes or constraints is used.
    """
    arena: list[object] = [None] * plan.arena_size
    starts = {t.index: plan.offsets[t.index] for t in graph.tensors().values() if t.index in plan.offsets}
    problems = []

    def write(index: int, place: int, value: object) -> None:
        assert 0 <= starts[index] + place < plan.arena_size, "writes outside the arena"
        arena[starts[index] + place] = value

    def read(op: object, root: int, place: int) -> None:
        if arena[starts[root] + place] != (root, place):
            problems.append(f"{op}: byte {place} of tensor {root}")

    for root, place in addresses(graph, graph.input):
        write(root, place, (root, place))
    for stage in split(graph):
        for op in stage.ops:
            call = op.call()
            scratch = range(plan.scratch[op.index], plan.scratch[op.index] + call.scratch) if call.scratch else range(0)
            for k in scratch:
                arena[k] = ("scratch", k)
            results = addresses(graph, op.output)
            due: list[list[tuple[int, int]]] = [[] for _ in range(len(results) + 1)]
            for source, distance in zip(op.inputs, call.distances, strict=True):
                _, start = graph.storage(source)
                for root, place in addresses(graph, source):
                    late = len(results) if distance is None else min(place - start + distance, len(results))
                    due[late].append((root, place))
            exactly = any(isinstance(distance, Exactly) for distance in call.distances)
            for k, (root, place) in sorted(enumerate(results), reverse=exactly and op.index % 2 == 0):
                for wanted in due[k]:
                    read(op.index, *wanted)
                write(root, place, (root, place))
            for wanted in due[-1]:
                read(op.index, *wanted)
            problems += [f"{op.index}: scratch" for k in scratch if arena[k] != ("scratch", k)]
        for wanted in addresses(graph, stage.exit.logits):
            read(stage.exit.name, *wanted)
    return problems


@settings(max_examples=400, deadline=None)
@given(graphs())
def test_no_byte_is_lost_before_its_last_reader(graph):
    plan = plan_memory(graph)
    assert lost(graph, plan) == []
    assert plan.lower_bound <= plan.arena_size
    assert all(plan.start(b) % ALIGNMENT == 0 for b in plan.buffers)


def example(distances: tuple[int | None, ...], scratch: int = 0) -> Graph:
    """The early head (ops 1, 2) reads tensor 1, which the tail (ops 3, 4) reads again."""
    graph = chain([64, 400, 32, 12, 400, 12], [[0], [1], [2], [1], [4]], [3, 5])
    ops = tuple(
        Overlapping(
            o.index, o.name, o.inputs, o.outputs, kernel=KernelCall("overlapping", (), (), False, scratch, distances)
        )
        for o in graph.ops
    )
    return replace(graph, ops=ops)


def test_an_output_runs_into_its_dying_input_as_far_as_the_kernel_allows():
    apart, in_place, lagging = (plan_memory(example((d,))) for d in (None, 0, 64))
    assert (apart.arena_size, in_place.arena_size, lagging.arena_size) == (800, 432, 464)


def test_a_distance_too_small_loses_bytes(monkeypatch):
    honest = example((64,))
    right = memory._distances

    def optimistic(graph, op, call, *where):
        return right(graph, op, replace(call, distances=(60,)), *where)

    monkeypatch.setattr(memory, "_distances", optimistic)
    assert any(problem.startswith("3: byte") for problem in lost(honest, plan_memory(honest)))


@pytest.mark.parametrize("short", [0, 1, 2, 4, -5])
def test_a_lifetime_one_step_too_short_loses_bytes(monkeypatch, short):
    honest = example((64,), scratch=8)
    right = memory.lifetimes

    def hasty(*arguments):
        return tuple(replace(b, last=b.last - 1) if b.tensor.index == short else b for b in right(*arguments))

    monkeypatch.setattr(memory, "lifetimes", hasty)
    assert lost(honest, plan_memory(honest))


FAST = KernelCall("fast", (), scratch=500)
FRUGAL = KernelCall("frugal", (), distances=(0,))


@pytest.mark.parametrize("ram", [FAST, FRUGAL])
def test_frugal_kernels_are_taken_where_memory_is_short(monkeypatch, ram):
    """Even where each op for itself would rather have another one."""
    monkeypatch.setattr(selection, "choose", lambda op, target, optimize="time": ram if optimize == "ram" else FAST)
    monkeypatch.setattr(selection, "candidates", lambda op, target: (FAST, FRUGAL))
    graph, small = example((None,)), replace(CORTEX_M4, ram_size=600)
    fast, asked, needed = plan_memory(graph), plan_memory(graph, optimize="ram"), plan_memory(graph, small)
    assert (fast.arena_size, fast.optimize) == (1300, "time")
    assert (asked.arena_size, asked.optimize) == (needed.arena_size, needed.optimize) == (432, "ram")
    with pytest.raises(AnswerIsNo, match="has 400 bytes"):
        plan_memory(graph, replace(CORTEX_M4, ram_size=400))


def test_exchanges_of_kernels_come_to_an_end_however_many_operators_there_are(monkeypatch):
    tried, real = [], selection.planned
    monkeypatch.setattr(selection, "planned", lambda *given, **more: tried.append(1) or real(*given, **more))
    monkeypatch.setattr(selection, "candidates", lambda op, target: (FAST, FRUGAL))
    monkeypatch.setattr(selection, "choose", lambda op, target, optimize="time": FAST)
    monkeypatch.setattr(selection, "MOST_PAIRS", 0)
    plan_memory(example((None,)), optimize="ram")
    assert len(tried) <= 1 + 2 * 2 + selection.FEWEST_TRIALS


def test_many_pairs_make_the_search_for_places_shorter(monkeypatch):
    stacked, real = [], placement._stack
    monkeypatch.setattr(placement, "_stack", lambda *given: stacked.append(1) or real(*given))
    sizes = [4] * 60
    pairs = [apart(i, k, sizes) for k in range(60) for i in range(k)]
    placement.place(sizes, pairs, 0, [range(60)], effort=600)
    assert len(stacked) == 600 // (len(pairs) // placement.PAIRS_TO_A_BLOCK) + 2
    stacked.clear()
    placement.place(sizes, pairs[:100], 0, [range(60)], effort=600)
    assert len(stacked) == 600 // 60 + 2


def test_blocks_that_only_lie_apart_share_nothing_and_cost_no_thought(monkeypatch):
    monkeypatch.setattr(memory, "most_shared", lambda *_: pytest.fail("asked"))
    buffers = plan_memory(example((None,))).buffers
    sizes = [b.size for b in buffers]
    pairs = [apart(i, k, sizes) for k in range(len(buffers)) for i in range(k)]
    assert memory.lower_bound(buffers, pairs) > 0


def test_only_the_op_at_the_peak_takes_the_frugal_kernel(monkeypatch):
    """Even where another op alone would need less with it; and no op takes one that is slower without a reason."""
    fast, small, slow = KernelCall("fast", (), scratch=40), KernelCall("small", (), scratch=8), KernelCall("slow", ())
    calls = (fast, small, slow)
    monkeypatch.setattr(selection, "choose", lambda op, target, optimize="time": calls[-(optimize == "ram")])
    monkeypatch.setattr(selection, "candidates", lambda op, target: calls)
    graph = chain([64, 400, 400, 64, 400, 392, 12], [[0], [1], [2], [3], [4], [5]], [6])
    plan = plan_memory(graph, optimize="ram")
    assert plan.arena_size == 800
    assert [plan.calls[op.index].kernel for op in graph.ops] == ["fast", "slow", "fast", "fast", "small", "fast"]


@settings(max_examples=50, deadline=None)
@given(graphs())
def test_the_plan_for_least_memory_never_needs_more(graph):
    def calls(op: Overlapping, target: object) -> tuple[KernelCall, ...]:
        return replace(op.call(), kernel="fast", scratch=op.call().scratch + 40), op.call()

    def choose(op: Overlapping, target: object, optimize: str = "time") -> KernelCall:
        return calls(op, target)[-(optimize == "ram")]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "choose", choose)
        patch.setattr(selection, "candidates", calls)
        assert plan_memory(graph, optimize="ram").arena_size <= plan_memory(graph).arena_size


def test_a_kernel_that_is_exact_in_place_only_is_never_a_few_bytes_off():
    plan = plan_memory(example((Exactly(0),)))
    assert plan.arena_size == 432
    assert plan_memory(example((Exactly(1),))).arena_size == 800  # starts are aligned, so that is never met


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_each_op_runs_once_and_after_its_inputs(graph):
    filled = {graph.input.index}
    ran = [op for stage in split(graph) for op in stage.ops]
    for op in ran:
        assert all(graph.storage(t)[0].index in filled for t in op.inputs)
        filled.add(graph.storage(op.output)[0].index)
    assert len({op.index for op in ran}) == len(ran)
    assert all(graph.storage(e.logits)[0].index in filled for e in graph.exits)


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
