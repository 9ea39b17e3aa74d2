"""Every operator against the oracle, bit for bit, on random single-operator models."""

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
from trecx.compiler.kernels import candidates
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.ops.fully_connected import FullyConnected
from trecx.compiler.target import TARGETS, Target

COUNT = 200

# LiteRT's reference FULLY_CONNECTED requantizes in float since TensorFlow 2.20: one step off where TFLM's two roundings
# fall on the other side.
STEPS_OFF = {"FULLY_CONNECTED": 1}
SECOND_OPINIONS = 100


@cache
def cases(operator: str) -> tuple[Case, ...]:
    return generate(operator, COUNT)


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
    """Every kernel of a target on every case that it can compute."""
    return tuple(
        Attempt(k, case, call, wanted)
        for k, (case, wanted) in enumerate(zip(cases(operator), expected(operator), strict=True))
        for call in candidates(case.op, target)
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


def outcome(operator: str, target: Target, folder: Path) -> list[str]:
    """Faults of all of a target's kernels on the host under sanitizers, or on its emulator."""
    every = attempts(operator, target)
    chosen, calls = [a.case for a in every], [a.call for a in every]
    ran = (
        executors.emulated(chosen, calls, target, folder) if target.emulator else executors.host(chosen, calls, folder)
    )
    return faults(every, ran)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("operator", DRAW)
def test_every_kernel_equals_tflm(operator, target, tmp_path):
    if not executors.available(target.compiler, *(target.emulator or ())[:1]):
        pytest.skip(f"needs {target.compiler} and its emulator")
    assert outcome(operator, target, tmp_path) == []


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
