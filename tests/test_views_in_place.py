"""Depthwise kernels that go through the image channel by channel: dense, and on a prefix of wider pixels, over its own
memory; against TFLM, and against an account of what each write covers."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from test_kernel_shapes import STYLES, VALID, Window, depthwise_conv_2d
from test_vectors import Attempt, faults
from vectors import executors, oracle
from vectors.cases import Case

from trecx.compiler.ir import Node, Tensor, View
from trecx.compiler.kernels import candidates
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.overlap import Exactly, Step, one_channel_after_another, pairs_of_rows
from trecx.compiler.target import CORTEX_M3, CORTEX_M4, TARGETS, Target

SMALL = (1, 1), (2, 7), (7, 5), (13, 3)
LARGE = (8, 12), (9, 13), (11, 12), (15, 15)
WINDOWS = (
    *(Window(image, (3, 3), stride) for stride in (1, 2) for image in (*SMALL, *LARGE)),
    *(Window(image, (3, 3), stride, VALID) for stride in (1, 2) for image in ((3, 3), (6, 5), (10, 14), (13, 13))),
    Window((25, 5), (3, 3)),
    Window((6, 4), (2, 2), 2),
    Window((5, 6), (5, 3)),
    Window((30, 16), (3, 3)),
)
CHANNELS = (5, 1, 4, 7)
# How many times as wide as the prefix the pixels are. 1 is no prefix.
WIDER = (1, 2, 3)
RECTIFIED = STYLES[0], STYLES[4]


def fine(node: Node) -> Node:
    """The node with weights of the first channel so small that it is shifted right by 18 or more bits."""
    _, weights, bias = node.inputs

    def smaller(tensor: Tensor | None) -> Tensor:
        assert tensor is not None and tensor.quant is not None
        first, *others = tensor.quant.scale
        return replace(tensor, quant=replace(tensor.quant, scale=(first * 2**-14, *others)))

    return replace(node, inputs=(node.inputs[0], smaller(weights), smaller(bias)))


def prefix(window: Window, channels: int, times: int, seed: int) -> Case:
    """A convolution of the first channels of pixels that are `times` as wide."""
    random = np.random.default_rng(seed)
    style = STYLES[seed % len(STYLES)] if seed % 3 == 0 else RECTIFIED[seed % 2]
    node = depthwise_conv_2d(window, channels, 1, random, style)
    node = fine(node) if channels == CHANNELS[0] else node
    op = DepthwiseConv2D.read(node)
    (source,) = op.inputs
    values = random.integers(-128, 128, source.shape).astype(np.int8)
    view = View(-1, 0, times * channels) if times > 1 else None
    return Case(node, replace(op, inputs=(replace(source, view=view),)), (values,))


@cache
def cases() -> tuple[Case, ...]:
    return tuple(
        prefix(window, CHANNELS[(k + times) % len(CHANNELS)], times, 3 * k + times)
        for k, window in enumerate(WINDOWS)
        for times in WIDER
    )


@cache
def expected() -> tuple[np.ndarray, ...]:
    return tuple(oracle.tflm(case) for case in cases())


def attempts(target: Target) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(k, case, call, wanted)
        for k, (case, wanted) in enumerate(zip(cases(), expected(), strict=True))
        for call in candidates(case.op, target)[:-1]  # the plain kernel is no such
    )


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_kernels_in_place_equal_tflm(target: Target, tmp_path):
    if not executors.available(target.compiler, *(target.emulator or ())[:1]):
        pytest.skip(f"needs {target.compiler} and its emulator")
    every = attempts(target)
    chosen, calls = [a.case for a in every], [a.call for a in every]
    emulated = target.emulator is not None
    found = executors.emulated(chosen, calls, target, tmp_path) if emulated else executors.host(chosen, calls, tmp_path)
    assert faults(every, found) == []


@pytest.mark.parametrize("kernel", ["dsp/depthwise_conv_2d", "portable/depthwise_conv_2d"])
def test_enough_cases_are_computed_in_place(kernel):
    in_place = [a.case for a in attempts(CORTEX_M4) if a.call.kernel == kernel and a.call.distances == (0,)]
    views = [case for case in in_place if case.op.inputs[0].view is not None]
    assert len(views) >= 20 and len(in_place) - len(views) >= 5
    assert {case.op.rows.stride for case in views} == {1, 2}  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", [CORTEX_M3, CORTEX_M4], ids=lambda target: target.name)
def test_the_first_choice_for_a_prefix_is_in_place(target):
    case = prefix(Window((25, 5), (3, 3)), 32, 2, 1)
    assert candidates(case.op, target)[0].distances == (Exactly(0),)


@pytest.mark.parametrize("times", WIDER)
def test_no_pixel_apart_from_a_whole_number_of_outputs(times):
    case = prefix(Window((9, 13), (3, 3)), 4, times, 1)
    (source,) = case.op.inputs
    wider = replace(case.op, inputs=(replace(source, view=View(-1, 0, 4 * times + 1)),))
    channelwise = [c for c in candidates(wider, CORTEX_M4) if c.kernel != "depthwise_conv_2d"]
    assert [call.distances for call in channelwise] == [(None,), (None,)]


def covers(steps: list[Step], apart: int) -> bool:
    """Whether a step writes over a pixel that is still to be read, pixels of the input being `apart` outputs apart."""
    written = 0
    for step, following in pairwise(steps):
        if any(
            place % apart == 0 and place // apart >= following.reads_from for place in range(written, step.writes_to)
        ):
            return True
        written = step.writes_to
    return False


@pytest.mark.parametrize("apart", [1, 2, 3])
@pytest.mark.parametrize("late", [0, 1, 3])
def test_the_inequality_agrees_with_an_account_of_every_write(apart, late):
    found = set()
    for window in WINDOWS:
        op = DepthwiseConv2D.read(depthwise_conv_2d(window, 1, 1, np.random.default_rng(0), STYLES[0]))
        steps = list(pairs_of_rows(op.rows, op.columns))
        read = [Step(max(step.reads_from - late * op.columns.size, 0), step.writes_to) for step in steps]
        found.add(safe := one_channel_after_another(read, apart, 1) is not None)
        assert safe or covers(read, apart) or apart > 1
        assert not (safe and covers(read, apart))
    assert late == 0 or apart > 1 or found == {False, True}
