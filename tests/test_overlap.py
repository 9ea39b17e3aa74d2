"""Outputs that run into dying inputs: the inequality, the kernels that promise it, and whole networks in memory that
is overwritten wherever the plan says that nobody needs it."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Network as Ordinary
from test_end_to_end import oracle, read, samples
from vectors import executors
from vectors.cases import DRAW, Case, generate

from trecx.compiler.emit import Names, emit
from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.kernels import candidates
from trecx.compiler.kernels.mve.groups import in_groups
from trecx.compiler.ops import OPS
from trecx.compiler.ops.window import Window
from trecx.compiler.overlap import Exactly, Step, channelwise, consecutive, distance, windows
from trecx.compiler.plan import Plan, memory, plan_memory, steps
from trecx.compiler.target import CORTEX_M4, CORTEX_M55, HOST, Target
from trecx.device.build import Options, build
from trecx.device.run import run_host, run_qemu
from trecx.errors import AnswerIsNo
from trecx.judge.record import record
from trecx.steps import firmware, pair


def survives(steps: Sequence[Step], lag: int) -> bool:
    """Whether every step still finds all its input, the input `lag` bytes above an output that writes all it may."""
    written = 0
    for step in steps:
        if step.reads_from + lag < written:
            return False
        written = max(written, step.writes_to)
    return True


step_lists = st.lists(st.builds(Step, st.integers(0, 60), st.integers(0, 60)), max_size=12)


@settings(max_examples=500, deadline=None)
@given(step_lists, st.integers(0, 20))
def test_a_distance_is_the_least_at_which_no_step_misses_input(steps, more):
    found = distance(steps)
    assert survives(steps, found + more)
    assert found == 0 or not survives(steps, found - 1)


@st.composite
def axes(draw: st.DrawFn) -> Window:
    kernel, padding = draw(st.integers(1, 4)), draw(st.sampled_from([0, 1]))
    return Window.over(draw(st.integers(kernel, 9)), kernel, draw(st.integers(1, 3)), padding)


@st.composite
def long_axes(draw: st.DrawFn) -> Window:
    kernel, padding = draw(st.integers(1, 30)), draw(st.sampled_from([0, 1]))
    size = draw(st.integers(1 if padding == 0 else kernel, 60))
    return Window.over(size, kernel, draw(st.integers(1, 9)), padding)


def every_consecutive(rows: Window, columns: Window, stride: int, channels: int, tile: int) -> list[Step]:
    """One step after another."""
    pixels = list(windows(rows, columns, 1, 1, 1, every=True))
    groups = [pixels[k : k + tile] for k in range(0, len(pixels), tile)]
    return [Step(min(p.reads_from for p in group) * stride, group[-1].writes_to * channels) for group in groups]


@settings(max_examples=1000, deadline=None)
@given(long_axes(), long_axes(), st.integers(1, 6), st.integers(0, 9), st.integers(1, 9), st.integers(1, 5))
def test_a_few_telling_steps_give_the_distance_of_all(rows, columns, depth, gap, units, tile):
    every = list(windows(rows, columns, depth + gap, units, tile, every=True))
    telling = list(windows(rows, columns, depth + gap, units, tile))
    assert distance(telling) == distance(every)
    for last in (0, depth - 1):
        assert distance(channelwise(telling, last)) == distance(channelwise(every, last))
    assert distance(in_groups(telling, units, 4)) == distance(in_groups(every, units, 4))
    arguments = rows, columns, depth + gap, units, tile
    assert distance(consecutive(*arguments)) == distance(every_consecutive(*arguments))


def test_a_map_of_millions_of_pixels_is_planned_by_a_few_steps():
    graph = pair.plain(Path(__file__).parent / "cases" / "pool_2896x2896.tflite").graph
    assert max(len(list(windows(op.rows, op.columns, 1, 1, 1))) for op in graph.ops[:2]) < 100


@settings(max_examples=200, deadline=None)
@given(axes(), axes(), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(1, 4))
def test_the_steps_of_windows_read_from_the_first_tap_inside_the_input(rows, columns, depth, gap, units, tile):
    stride, expected = depth + gap, []
    for y in range(rows.output):
        for x in range(0, columns.output, tile):
            end = min(x + tile, columns.output)
            taps = [
                (row * columns.size + column) * stride
                for row in range(y * rows.stride - rows.before, y * rows.stride - rows.before + rows.kernel)
                for column in range(
                    x * columns.stride - columns.before, (end - 1) * columns.stride - columns.before + columns.kernel
                )
                if 0 <= row < rows.size and 0 <= column < columns.size
            ]
            expected.append(Step(min(taps), (y * columns.output + end) * units))
    assert list(windows(rows, columns, stride, units, tile, every=True)) == expected


@settings(max_examples=200, deadline=None)
@given(axes(), axes(), st.integers(1, 3), st.integers(1, 3))
def test_two_steps_per_pixel_stand_for_one_per_channel(rows, columns, depth, multiplier):
    units = depth * multiplier
    pixels = list(windows(rows, columns, depth, units, 1, every=True))
    each = [Step(p.reads_from + o // multiplier, p.writes_to - units + o + 1) for p in pixels for o in range(units)]
    assert distance(channelwise(pixels, depth - 1)) == distance(each)


@cache
def ordinary() -> tuple[Case, ...]:
    """Convolutions as networks have them, which kernels are made for and random cases seldom are."""
    net = Ordinary(7)
    for shape in ((6, 5, 8), (7, 8, 12), (9, 4, 5)):
        for kernel, stride in ((3, 1), (3, 2), (1, 1), (1, 2)):
            for depthwise in (False, True):
                net.conv(net.activation(*shape), 1 if depthwise else 8, kernel, stride, depthwise)
    return tuple(
        Case(
            node,
            OPS[getattr(schema.BuiltinOperator, node.name)].read(node),
            (net.random.integers(-128, 128, node.inputs[0].shape).astype(np.int8),),
        )
        for node in net.nodes
    )


def overlapping(operator: str, target: Target, change) -> list[tuple[Case, KernelCall]]:
    """Each kernel of a target on random cases, with its distances changed; None where `change` gives no distance."""
    found = []
    for case in (*generate(operator, 60, seed=3), *(c for c in ordinary() if c.node.name == operator)):
        for call in candidates(case.op, target):
            changed = tuple(None if d is None else change(d, case) for d in call.distances)
            if any(d is not None for d in changed):
                found.append((case, replace(call, distances=changed)))
    return found


def wrong_runs(chosen: Sequence[tuple[Case, KernelCall]], target: Target, folder: Path) -> int:
    """Runs whose output is not that of the first run of their case, which has all tensors apart."""
    if not chosen:
        return 0
    cases, calls = zip(*chosen, strict=True)
    run = (lambda *a: executors.emulated(*a[:2], target, a[2])) if target.emulator else executors.host
    return sum(
        bool((other.output != of_case[0].output).any() or other.broken)
        for of_case in run(cases, calls, folder)
        for other in of_case[1:]
    )


@pytest.mark.parametrize("target", [HOST, CORTEX_M4, CORTEX_M55], ids=lambda target: target.name)
@pytest.mark.parametrize("operator", DRAW)
def test_kernels_are_exact_further_away_too(operator, target, tmp_path):
    """That they are exact at their distance is what the operator vectors show."""
    if not executors.available(target.compiler, *(target.emulator or ())[:1]):
        pytest.skip(f"needs {target.compiler} and its emulator")
    random = np.random.default_rng(9)

    def further(lag: int, case: Case) -> int | None:
        return None if isinstance(lag, Exactly) else lag + int(random.integers(1, 2 + case.op.output.shape[-1]))

    assert wrong_runs(overlapping(operator, target, further), target, tmp_path) == 0


@pytest.mark.parametrize("operator", ["CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D"])
def test_a_distance_one_pixel_too_small_is_seen(operator, tmp_path):
    def nearer(lag: int, case: Case) -> int | None:
        pixel = case.op.output.shape[-1]
        return lag - pixel if lag >= pixel else None

    chosen = overlapping(operator, HOST, nearer)
    assert wrong_runs(chosen, HOST, tmp_path) > len(chosen) // 4


POISON = """
#undef TRECX_HOOK
#define TRECX_HOOK(index, data, bytes) poison(arena, index)

static void poison(signed char *arena, int index) {{
  static const int dead[][3] = {{ {ranges} }}; /* after which operator, from, to */
  for (unsigned k = 0; k < sizeof dead / sizeof dead[0]; k++) {{
    for (int place = dead[k][1]; dead[k][0] == index && place < dead[k][2]; place++) {{
      arena[place] = (signed char)(place * 37 + index);
    }}
  }}
}}
"""


def dead(plan: Plan) -> list[tuple[int, int, int]]:
    """(op, from, to) of all bytes that nobody needs after an op, by the plan's own lifetimes."""
    found, step = [], 0
    for stage in plan.stages:
        for op in stage.ops:
            step += 1
            place = 0
            alive = [(plan.start(b), plan.start(b) + b.size) for b in plan.buffers if b.first <= step < b.last]
            for start, end in [*sorted(alive), (plan.arena_size, plan.arena_size)]:
                assert start >= place or not alive, "tensors alive together overlap"
                found.append((op.index, place, start))
                place = end
        step += 1
    return [entry for entry in found if entry[1] < entry[2]]


@dataclass(frozen=True)
class Network:
    """A two-exit network with what the oracle answers at both exits."""

    found: pair.Pair
    inputs: np.ndarray
    logits: np.ndarray
    scores: np.ndarray

    @classmethod
    def read(cls, folder: Path, seed: int, count: int = 20) -> "Network":
        found = read(folder, seed)
        inputs = samples(found, count)
        expected = oracle(found, inputs)
        return cls(found, inputs, expected.logits, expected.scores)

    def differs(self, plan: Plan, target: Target, folder: Path) -> bool:
        """Whether the program, its dead memory poisoned after every operator, answers anything else at any exit."""
        names = Names("net", "a network", "00", self.found.exits.classes, "net")
        answers = firmware.known_answers(self.found)
        sources = folder / "c"
        for name, text in emit(self.found.optimised, plan, names, self.found.thresholds, answers, hooks=True).items():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            (sources / name).write_text(text)
        ranges = ", ".join("{{ {}, {}, {} }}".format(*entry) for entry in dead(plan))
        model = sources / "net.c"
        model.write_text(POISON.format(ranges=ranges) + model.read_text())
        program = build(sources, target, folder / "out", options=Options(sanitize=target is HOST))
        run = run_host if target is HOST else run_qemu
        try:
            actual = record(lambda x, limits: run(program, x, limits), self.inputs, self.found.limits)
        except AnswerIsNo:
            return True
        return bool((actual.logits != self.logits).any() or (actual.scores != self.scores).any())


@pytest.mark.parametrize("optimize", ["time", "ram"])
@pytest.mark.parametrize("seed", range(5))
def test_no_network_needs_what_the_plan_calls_dead(seed, optimize, tmp_path):
    network = Network.read(tmp_path, seed)
    plan = plan_memory(network.found.optimised, HOST, optimize)
    assert not network.differs(plan, HOST, tmp_path)


@pytest.mark.parametrize("optimize", ["time", "ram"])
@pytest.mark.parametrize("target", [CORTEX_M4, CORTEX_M55], ids=lambda target: target.name)
def test_no_firmware_needs_what_the_plan_calls_dead(target, optimize, tmp_path):
    if not (target.emulator and shutil.which(target.compiler) and shutil.which(target.emulator[0])):
        pytest.skip(f"needs {target.compiler} and its emulator")
    network = Network.read(tmp_path, 1, count=6)
    assert not network.differs(plan_memory(network.found.optimised, target, optimize), target, tmp_path)


def shortened(plan: Plan) -> list[Plan]:
    """The plan with one lifetime ending an op too early, for each tensor that anything but its producer needs."""
    ops = [k for k, step in enumerate(steps(plan.stages)) if isinstance(step, Op)]
    found = []
    for k, buffer in enumerate(plan.buffers):
        before = [step for step in ops if buffer.first <= step < buffer.last]
        if before:
            hasty = replace(buffer, last=before[-1])
            found.append(replace(plan, buffers=(*plan.buffers[:k], hasty, *plan.buffers[k + 1 :])))
    return found


def test_the_poison_finds_lifetimes_one_step_too_short(tmp_path):
    network = Network.read(tmp_path, 0)
    wrong = shortened(plan_memory(network.found.optimised))
    assert len(wrong) >= 8
    for k, plan in enumerate(wrong[::3]):
        assert network.differs(plan, HOST, tmp_path / str(k)), plan.buffers


def test_networks_find_distances_one_pixel_too_small(tmp_path, monkeypatch):
    right = memory._distances

    def optimistic(graph, op, call, *where):
        pixel = op.output.shape[-1]
        nearer = tuple(None if d is None else max(0, d - pixel) for d in call.distances)
        return right(graph, op, replace(call, distances=nearer), *where)

    monkeypatch.setattr(memory, "_distances", optimistic)
    wrong = []
    for seed in range(5):
        (tmp_path / str(seed)).mkdir()
        network = Network.read(tmp_path / str(seed), seed)
        wrong.append(network.differs(plan_memory(network.found.optimised), HOST, tmp_path / str(seed)))
    assert sum(wrong) >= 3
