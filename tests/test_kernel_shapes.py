"""Every kernel of every target against TFLM where tiles end early: odd channel counts, few pixels, rows of one, sums of
hundreds of products, saturated values. `test_vectors.py` has the small random shapes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from test_vectors import Attempt, need, outcome
from vectors import oracle
from vectors.cases import Case
from vectors.flatbuffer import NodeBuilder

from trecx.compiler.ir import Node, Tensor, View
from trecx.compiler.kernels import candidates
from trecx.compiler.ops import OPS
from trecx.compiler.target import TARGETS, Target

Random = np.random.Generator
Function = schema.ActivationFunctionType
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID


@dataclass(frozen=True)
class Style:
    """What the numbers of a layer are like: its activation, the zero point of its output, and all values extreme; or
    sums so `fine` that requantization does not shift them."""

    activation: int
    zero_point: int
    saturated: bool = False
    gap: int = 0
    fine: bool = False


# With and without a clamp at zero, which kernels may round apart; the inputs' pixels lie `gap` bytes apart.
STYLES = (
    Style(Function.RELU, -128),
    Style(Function.NONE, 5, gap=3),
    Style(Function.RELU6, -20),
    Style(Function.NONE, -3, saturated=True),
    Style(Function.RELU, -128, saturated=True, gap=1),
    Style(Function.RELU6, -128),
    Style(Function.NONE, 5, fine=True),
)
STYLES_PER_SHAPE = 3  # the next shape takes the next ones


@dataclass(frozen=True)
class Window:
    """A kernel over an image, (height, width) each."""

    image: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: int = SAME

    @property
    def output(self) -> tuple[int, int]:
        axes = zip(self.image, self.kernel, strict=True)
        height, width = (
            -(-size // self.stride) if self.padding == SAME else (size - kernel) // self.stride + 1
            for size, kernel in axes
        )
        return height, width

    def fill(self, options: schema.Conv2DOptionsT | schema.DepthwiseConv2DOptionsT | schema.Pool2DOptionsT) -> None:
        options.padding, options.strideH, options.strideW = self.padding, self.stride, self.stride


def source(build: NodeBuilder, shape: tuple[int, ...], style: Style) -> Tensor:
    return build.activation(shape, 0.05, 127 if style.saturated else -9)


def filters(random: Random, build: NodeBuilder, shape: tuple[int, ...], axis: int, style: Style) -> Tensor:
    """Per-channel weights; the last channel has none."""
    values = random.integers(-127, 128, shape).astype(np.int8)
    if style.saturated:
        values = random.choice(np.array([-127, 127], np.int8), shape)
    if style.fine:
        return build.weights(random.integers(-1, 2, shape).astype(np.int8), np.full(shape[axis], 0.01), axis)
    if shape[axis] > 1:
        np.moveaxis(values, axis, 0)[-1] = 0
    return build.weights(values, 0.01 * 2 ** random.uniform(-2, 1, shape[axis]), axis)


def biases(random: Random, build: NodeBuilder, inputs: Tensor, weights: Tensor, style: Style) -> Tensor:
    assert weights.quant is not None
    most = 100 if style.fine else 3000
    return build.bias(random.integers(-most, most, len(weights.quant.scale)).astype(np.int32), inputs, weights)


def result(build: NodeBuilder, shape: tuple[int, ...], terms: int, style: Style) -> Tensor:
    """An output whose scale leaves the sum of `terms` random products in range, and saturates sums of extreme ones."""
    if style.fine:
        return build.activation(shape, 0.05 * 0.01 * 1.3, style.zero_point)
    return build.activation(shape, 0.05 * 0.01 * 80 * terms**0.5, style.zero_point)


def conv_2d(window: Window, depth: int, units: int, random: Random, style: Style) -> Node:
    build, terms = NodeBuilder(), window.kernel[0] * window.kernel[1] * depth
    inputs = source(build, (1, *window.image, depth), style)
    weights = filters(random, build, (units, *window.kernel, depth), 0, style)
    bias = biases(random, build, inputs, weights, style)
    output = result(build, (1, *window.output, units), terms, style)
    options = schema.Conv2DOptionsT()
    window.fill(options)
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = style.activation
    return Node(0, "CONV_2D", (inputs, weights, bias), (output,), options)


def depthwise_conv_2d(window: Window, depth: int, multiplier: int, random: Random, style: Style) -> Node:
    build, channels = NodeBuilder(), depth * multiplier
    inputs = source(build, (1, *window.image, depth), style)
    weights = filters(random, build, (1, *window.kernel, channels), 3, style)
    bias = biases(random, build, inputs, weights, style)
    output = result(build, (1, *window.output, channels), window.kernel[0] * window.kernel[1], style)
    options = schema.DepthwiseConv2DOptionsT()
    window.fill(options)
    options.depthMultiplier = multiplier
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = style.activation
    return Node(0, "DEPTHWISE_CONV_2D", (inputs, weights, bias), (output,), options)


def fully_connected(depth: int, units: int, random: Random, style: Style) -> Node:
    build = NodeBuilder()
    inputs = source(build, (1, depth), style)
    weights = filters(random, build, (units, depth), 0, style)
    bias = biases(random, build, inputs, weights, style)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = style.activation
    return Node(0, "FULLY_CONNECTED", (inputs, weights, bias), (result(build, (1, units), depth, style),), options)


def add(shape: tuple[int, int, int], random: Random, style: Style) -> Node:
    build = NodeBuilder()
    inputs = source(build, (1, *shape), style), build.activation((1, *shape), 0.03 * (1 + random.random()), 7)
    options = schema.AddOptionsT()
    options.fusedActivationFunction = style.activation
    return Node(0, "ADD", inputs, (build.activation((1, *shape), 0.04, style.zero_point),), options)


def average_pool_2d(window: Window, depth: int, random: Random, style: Style) -> Node:
    del random
    build = NodeBuilder()
    inputs = build.activation((1, *window.image, depth), 0.05, style.zero_point)
    output = build.activation((1, *window.output, depth), 0.05, style.zero_point)
    options = schema.Pool2DOptionsT()
    window.fill(options)
    options.filterHeight, options.filterWidth = window.kernel
    options.fusedActivationFunction = style.activation
    return Node(0, "AVERAGE_POOL_2D", (inputs,), (output,), options)


SHAPES: dict[str, tuple[Callable[[Random, Style], Node], ...]] = {
    "CONV_2D": (
        *(
            partial(conv_2d, Window((1, n)), depth, units)
            for n, depth, units in ((1, 1, 1), (2, 4, 2), (3, 5, 33), (4, 64, 6), (5, 33, 4), (7, 36, 5), (13, 8, 16))
        ),
        partial(conv_2d, Window((2, 1)), 600, 4),
        partial(conv_2d, Window((5, 5), stride=2), 16, 8),
        partial(conv_2d, Window((1, 9), (3, 3)), 3, 8),
        partial(conv_2d, Window((9, 1), (3, 3)), 16, 4),
        partial(conv_2d, Window((7, 6), (3, 3)), 16, 6),
        partial(conv_2d, Window((6, 7), (3, 3), 2), 12, 32),
        partial(conv_2d, Window((12, 7), (10, 4), 2), 1, 18),
        partial(conv_2d, Window((9, 8), (3, 3), 2), 3, 8),
        partial(conv_2d, Window((6, 6), (5, 5)), 24, 3),
        partial(conv_2d, Window((5, 8), (2, 3), 1, VALID), 7, 10),
        partial(conv_2d, Window((3, 3), (3, 3), 1, VALID), 64, 2),
    ),
    "DEPTHWISE_CONV_2D": (
        *(
            partial(depthwise_conv_2d, Window(image, (3, 3), stride), depth, 1)
            for image, stride, depth in (
                ((1, 1), 1, 1),
                ((1, 8), 1, 33),
                ((9, 1), 1, 16),
                ((5, 6), 1, 31),
                ((7, 7), 2, 12),
                ((8, 6), 2, 64),
                ((6, 5), 1, 60),
            )
        ),
        partial(depthwise_conv_2d, Window((7, 9), (3, 3), 1, VALID), 20, 1),
        partial(depthwise_conv_2d, Window((6, 6), (2, 2), 2), 24, 1),
        partial(depthwise_conv_2d, Window((6, 8), (5, 4)), 8, 1),
        partial(depthwise_conv_2d, Window((11, 6), (10, 4), 2), 1, 8),
        partial(depthwise_conv_2d, Window((5, 5), (3, 3)), 3, 5),
    ),
    "FULLY_CONNECTED": tuple(
        partial(fully_connected, *shape)
        for shape in ((1, 1), (3, 2), (33, 33), (64, 12), (256, 10), (599, 3), (600, 4))
    ),
    "ADD": tuple(partial(add, shape) for shape in ((1, 1, 1), (1, 5, 33), (7, 3, 16), (4, 4, 64), (33, 1, 3))),
    "AVERAGE_POOL_2D": (
        partial(average_pool_2d, Window((25, 5), (25, 5), 1, VALID), 64),
        partial(average_pool_2d, Window((8, 8), (8, 8), 8, VALID), 33),
        partial(average_pool_2d, Window((3, 3), (3, 3), 3, VALID), 17),
        partial(average_pool_2d, Window((1, 9), (1, 4), 2), 12),
        partial(average_pool_2d, Window((6, 5), (3, 3)), 16),
        partial(average_pool_2d, Window((16, 16), (16, 16), 1, VALID), 4),
    ),
}


def values(random: Random, tensor: Tensor, style: Style) -> np.ndarray:
    if style.saturated:
        return random.choice(np.array([-128, 127], np.int8), tensor.shape)
    return random.integers(-128, 128, tensor.shape).astype(np.int8)


def spread(tensor: Tensor, gap: int) -> Tensor:
    return replace(tensor, view=View(-1, 0, tensor.shape[-1] + gap)) if gap else tensor


def drawn(operator: str) -> Iterator[Case]:
    for k, shape in enumerate(SHAPES[operator]):
        for style in (*STYLES, *STYLES)[k % len(STYLES) :][:STYLES_PER_SHAPE]:
            random = np.random.default_rng([k, STYLES.index(style)])
            node = shape(random, style)
            op = OPS[getattr(schema.BuiltinOperator, operator)].read(node)
            inputs = tuple(values(random, tensor, style) for tensor in op.inputs)
            yield Case(node, replace(op, inputs=tuple(spread(t, style.gap) for t in op.inputs)), inputs)


@cache
def cases(operator: str) -> tuple[tuple[Case, np.ndarray], ...]:
    return tuple((case, oracle.tflm(case)) for case in drawn(operator))


def attempts(operator: str, target: Target) -> tuple[Attempt, ...]:
    """Every kernel of a target on every shape that it can compute."""
    return tuple(
        Attempt(k, case, call, wanted)
        for k, (case, wanted) in enumerate(cases(operator))
        for call in candidates(case.op, target)
    )


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("operator", SHAPES)
def test_kernels_equal_tflm_where_tiles_end_early(operator, target, tmp_path):
    need(target)
    assert outcome(attempts(operator, target), target, tmp_path, "time") == []


def test_shapes_reach_both_ends_of_the_output():
    for operator in SHAPES:
        wanted = [output for _, output in cases(operator)]
        assert min(output.min() for output in wanted) == -128 and max(output.max() for output in wanted) == 127, (
            operator
        )
        assert len(np.unique(np.concatenate([output.ravel() for output in wanted]))) > 50, operator
