"""Every operator against the oracle, bit for bit, on random single-operator models."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from vectors import executors, oracle
from vectors.cases import DRAW, Case, generate
from vectors.flatbuffer import NodeBuilder
from vectors.program import program, runs

from trecx.compiler.fixed_point import multiplier, requantize
from trecx.compiler.ir import KernelCall, Node
from trecx.compiler.kernels import VARIANTS, Kernel, candidates
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.ops.fully_connected import FullyConnected
from trecx.compiler.params import numbers
from trecx.compiler.target import TARGETS, Target

# Cases of an operator: enough for every path of all its kernels, see `test_cases_reach_every_path`.
COUNTS = {
    "CONV_2D": 360,
    "DEPTHWISE_CONV_2D": 360,
    "FULLY_CONNECTED": 200,
    "ADD": 200,
    "AVERAGE_POOL_2D": 200,
    "MEAN": 150,
}
COUNT = 80
# So many cases meet all kernels that can compute them, the others that which a target prefers.
WITH_ALL = 150
# Cases of a kernel that are also compiled for themselves, which takes far longer than to share the kernel does.
SPECIALISED = 25

# LiteRT's reference FULLY_CONNECTED requantizes in float since TensorFlow 2.20: one step off where TFLM's two roundings
# fall on the other side.
STEPS_OFF = {"FULLY_CONNECTED": 1}
SECOND_OPINIONS = 100


@cache
def cases(operator: str) -> tuple[Case, ...]:
    return generate(operator, COUNTS.get(operator, COUNT))


@cache
def expected(operator: str) -> tuple[np.ndarray, ...]:
    return tuple(oracle.tflm(case) for case in cases(operator))


@dataclass(frozen=True)
class Attempt:
    """A kernel that can compute a case, with what it must give."""

    number: int
    case: Case
    call: KernelCall
    wanted: np.ndarray


def attempts(operator: str, target: Target) -> tuple[Attempt, ...]:
    """The kernels of a target on the cases that they can compute."""
    return tuple(
        Attempt(k, case, call, wanted)
        for k, (case, wanted) in enumerate(zip(cases(operator), expected(operator), strict=True))
        for call in candidates(case.op, target)[: None if k < WITH_ALL else 1]
    )


def faults(attempted: Sequence[Attempt], found: executors.Runs) -> list[str]:
    """What was wrong, run by run: differing elements, and guard bytes that were written to."""
    told = []
    for attempt, of_case in zip(attempted, found, strict=True):
        for run, overlapped in zip(of_case, runs(attempt.call), strict=True):
            where = f"case {attempt.number}: {attempt.call.kernel}"
            where += "" if overlapped is None else f" over input {overlapped}"
            wrong = np.count_nonzero(run.output != attempt.wanted)
            told += [f"{where}, {wrong} of {run.output.size} elements"] if wrong else []
            told += [f"{where} writes outside"] if run.broken else []
    return told


def outcome(every: Sequence[Attempt], target: Target, folder: Path, optimize: str | None) -> list[str]:
    """Faults of attempts on a target's emulator or on this machine, there under sanitizers without `optimize`."""
    chosen, calls = [a.case for a in every], [a.call for a in every]
    if target.emulator:
        return faults(every, executors.emulated(chosen, calls, target, folder, optimize or "flash"))
    return faults(every, executors.host(chosen, calls, folder, optimize))


def some(every: Sequence[Attempt], count: int) -> tuple[Attempt, ...]:
    """The first attempts of every kernel."""
    seen: Counter[str] = Counter()
    found = []
    for attempt in every:
        seen[attempt.call.kernel] += 1
        found += [attempt] if seen[attempt.call.kernel] <= count else []
    return tuple(found)


def need(target: Target) -> None:
    if not executors.available(target.compiler, *(target.emulator or ())[:1]):
        pytest.skip(f"needs {target.compiler} and its emulator")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("operator", DRAW)
def test_every_kernel_equals_tflm(operator, target, tmp_path):
    need(target)
    assert outcome(attempts(operator, target), target, tmp_path, None) == []


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("operator", DRAW)
def test_specialised_kernels_equal_tflm(operator, target, tmp_path):
    need(target)
    assert outcome(some(attempts(operator, target), SPECIALISED), target, tmp_path, "time") == []


# Parameters that choose between paths of a kernel, and their values.
FLAG = (0, 1)
PATHS: dict[str, dict[str, tuple[int, ...]]] = {
    "conv_1x1": {"shifts_right": FLAG},
    "conv_2d": {"shifts_right": FLAG},
    "depthwise_conv_2d": {"shifts_right": FLAG},
    "dsp/conv_1x1": {"rounding": (0, 1, 2)},
    "dsp/conv_2d": {"rounding": (0, 1, 2)},
    "dsp/depthwise_conv_2d": {"stride": (1, 2)},
    "mve/conv_2d": {"aligned": FLAG, "padded": FLAG},
    "mve/depthwise_conv_2d": {"aligned": FLAG, "rows.stride": (1, 2)},
    "portable/conv_2d": {"excess": FLAG, "narrow": FLAG, "padded": FLAG, "tile": (1, 2)},
    "portable/depthwise_conv_2d": {"narrow": FLAG},
}
LEAST_OF_KERNEL, LEAST_OF_PATH = 20, 10


@cache
def calls(target: Target) -> tuple[tuple[Kernel | None, KernelCall], ...]:
    """Every call of every case, with the registered kernel that made it; None made the plain one."""
    found: list[tuple[Kernel | None, KernelCall]] = []
    for case in (case for operator in DRAW for case in cases(operator)):
        kernels = (kernel for variant in target.kernels for kernel in VARIANTS[variant].get(type(case.op), ()))
        made = [(kernel, call) for kernel in kernels if (call := kernel(case.op, target)) is not None]
        found += [*made, (None, case.op.call())]
    return tuple(found)


def test_cases_reach_every_kernel():
    registered = {kernel for variant in VARIANTS.values() for kernels in variant.values() for kernel in kernels}
    reached: Counter[Kernel | None] = Counter()
    for target in TARGETS:
        reached |= Counter(kernel for kernel, _ in calls(target))
    assert [kernel for kernel in registered if reached[kernel] < LEAST_OF_KERNEL] == []


def test_cases_reach_every_path():
    reached: Counter[tuple[str, str, int]] = Counter()
    for target in TARGETS:
        reached |= Counter(
            (call.kernel, name, value) for _, call in calls(target) for name, value in numbers(call.params)
        )
    wanted = [
        (kernel, name, value) for kernel, names in PATHS.items() for name, values in names.items() for value in values
    ]
    assert {path: reached[path] for path in wanted if reached[path] < LEAST_OF_PATH} == {}


@pytest.mark.parametrize("operator", DRAW)
def test_tflm_agrees_with_the_reference_kernels_of_litert(operator):
    # LiteRT insists on the bias of a convolution.
    biased = [k for k, case in enumerate(cases(operator)) if operator != "CONV_2D" or len(case.node.inputs) == 3]
    most = 0
    for k in biased[:SECOND_OPINIONS]:
        second = oracle.litert(cases(operator)[k]).astype(int)
        most = max(most, int(np.abs(second - expected(operator)[k]).max()))
    assert most <= STEPS_OFF.get(operator, 0)


@pytest.mark.parametrize("compiler", ["gcc", "clang", "arm-none-eabi-gcc"])
def test_kernels_compile_without_warnings(compiler, tmp_path):
    if not executors.available(compiler):
        pytest.skip(f"needs {compiler}")
    few = [case for operator in DRAW for case in cases(operator)[:5]]
    (tmp_path / "vectors.c").write_text(program(few, [case.op.call() for case in few]), encoding="utf-8")
    assert executors.compile_only(tmp_path / "vectors.c", compiler) == ""


def test_a_depthwise_convolution_without_bias_has_a_bias_of_zero():
    node = cases("DEPTHWISE_CONV_2D")[0].node
    source, weights, bias = node.inputs
    assert source is not None and weights is not None and bias is not None and bias.data is not None
    zero = replace(node, inputs=(source, weights, replace(bias, data=np.zeros_like(bias.data))))
    without = DepthwiseConv2D.read(replace(node, inputs=(source, weights, None)))
    assert np.array_equal(without.channels.bias, DepthwiseConv2D.read(zero).channels.bias)


def knife_edges(count: int, units: int = 2) -> tuple[Case, ...]:
    """Per-tensor FULLY_CONNECTED whose accumulator rounds differently where the scales' product is taken in float32."""
    random, found = np.random.default_rng(5), []
    while len(found) < count:
        build = NodeBuilder()
        source, weights = (
            build.activation((1, 1), random.uniform(0.01, 0.02), 3),
            build.weights(np.ones((units, 1), np.int8), np.array([random.uniform(0.001, 0.002)]), 0),
        )
        output = build.activation((1, units), random.uniform(2e6, 3e6) * source.scale * 0.001, 0)
        assert weights.quant is not None
        single = multiplier(float(np.float32(source.scale) * np.float32(weights.quant.scale[0])) / output.scale)
        double = multiplier(source.scale * weights.quant.scale[0] / output.scale)
        edge = round((random.integers(60, 120) + 0.5) * output.scale / (source.scale * weights.quant.scale[0]))
        between = [x for x in range(edge - 200, edge + 200) if requantize(x, single) != requantize(x, double)]
        if between:
            bias = build.bias(np.full(units, between[len(between) // 2], np.int32), source, weights)
            node = Node(0, "FULLY_CONNECTED", (source, weights, bias), (output,), schema.FullyConnectedOptionsT())
            found.append(Case(node, FullyConnected.read(node), (np.full((1, 1), 3, np.int8),)))
    return tuple(found)


def test_per_tensor_fully_connected_multiplies_its_scales_in_double_like_tflm(tmp_path):
    edges = knife_edges(20)
    found = executors.host(edges, [case.op.call() for case in edges], tmp_path)
    assert [int(of_case[0].output[0, 0]) for of_case in found] == [int(oracle.tflm(case)[0, 0]) for case in edges]
