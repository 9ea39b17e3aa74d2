"""Seeded random cases for every operator: shapes, strides, paddings, odd sizes, extreme scales and zero points."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from trecx.compiler.ir import Node, Op, Refused, Tensor, View
from trecx.compiler.ops import OPS
from vectors.flatbuffer import NodeBuilder

Random = np.random.Generator
ACTIVATIONS = tuple(getattr(schema.ActivationFunctionType, name) for name in ("NONE", "NONE", "RELU", "RELU6"))


@dataclass(frozen=True, eq=False)
class Case:
    """A node, the op read from it with some inputs as strided views, and one int8 array per input."""

    node: Node
    op: Op
    inputs: tuple[np.ndarray, ...]


def generate(operator: str, count: int, seed: int = 1) -> tuple[Case, ...]:
    """`count` cases that the compiler accepts; a case that it refuses (amplification beyond int32) is drawn again."""
    random = np.random.default_rng([seed, getattr(schema.BuiltinOperator, operator)])
    draw = DRAW[operator]
    return tuple(_accepted(operator, draw, random, count))


def _accepted(operator: str, draw: Callable[[Random], Node], random: Random, count: int) -> Iterator[Case]:
    op_type = OPS[getattr(schema.BuiltinOperator, operator)]
    found = 0
    for _ in range(2 * count):
        node = draw(random)
        try:
            op = op_type.read(node)
        except Refused as refused:
            assert all("int32" in problem or "too fine" in problem for problem in refused.problems), refused
            continue
        yield Case(node, _with_views(op, random), tuple(_values(random, tensor) for tensor in op.inputs))
        found += 1
        if found == count:
            return
    raise AssertionError(f"{operator}: more than half of the random cases were refused")


def _with_views(op: Op, random: Random) -> Op:
    """The op with every other input lying in a wider tensor."""
    inputs = tuple(
        replace(tensor, view=View(-1, 0, tensor.shape[-1] + int(random.integers(1, 5))))
        if random.random() < 0.5
        else tensor
        for tensor in op.inputs
    )
    return replace(op, inputs=inputs)


def _values(random: Random, tensor: Tensor) -> np.ndarray:
    """Uniform, saturated, or close to the zero point."""
    kind = random.integers(4)
    if kind == 0:
        return random.choice(np.array([-128, 127], np.int8), tensor.shape)
    if kind == 1:
        return np.clip(tensor.zero_point + random.integers(-3, 4, tensor.shape), -128, 127).astype(np.int8)
    return random.integers(-128, 128, tensor.shape).astype(np.int8)


def _size(random: Random, most: int) -> int:
    return int(random.integers(1, most + 1))


def _scale(random: Random, low: float = -3.0, high: float = 0.5) -> float:
    """Log-uniform between 10^low and 10^high, one in ten far outside."""
    if random.random() < 0.1:
        low, high = low - 3, high + 3
    return float(10 ** random.uniform(low, high))


def _zero_point(random: Random) -> int:
    return int(random.choice([-128, 127, 0, random.integers(-128, 128)]))


def _activation(random: Random, build: NodeBuilder, shape: tuple[int, ...], scale: float | None = None) -> Tensor:
    return build.activation(shape, scale or _scale(random), _zero_point(random))


def _weights(random: Random, build: NodeBuilder, shape: tuple[int, ...], axis: int) -> Tensor:
    """Random weights; some saturated, some with a channel of zeros."""
    values = random.integers(-127, 128, shape).astype(np.int8)
    if random.random() < 0.2:
        values = random.choice(np.array([-127, 127], np.int8), shape)
    if random.random() < 0.2:
        np.moveaxis(values, axis, 0)[0] = 0
    count = shape[axis] if random.random() < 0.7 else 1
    return build.weights(values, 10 ** random.uniform(-4, -1) * 2.0 ** random.uniform(-3, 3, count), axis)


def _bias(random: Random, build: NodeBuilder, source: Tensor, weights: Tensor, channels: int) -> Tensor:
    most = int(10 ** random.choice([random.uniform(1, 4), random.uniform(4, 8.5)], p=[0.8, 0.2]))
    return build.bias(random.integers(-most, most + 1, channels).astype(np.int32), source, weights)


def _output_scale(random: Random, source: Tensor, weights: Tensor, terms: int) -> float:
    """An output scale that leaves sums of `terms` products in range, mostly; sometimes far too fine or coarse."""
    assert weights.quant is not None
    typical = source.scale * float(np.mean(weights.quant.scale)) * 70 * terms**0.5
    gains = random.uniform(-0.5, 0.7), random.uniform(-4, -1), random.uniform(0, 8)
    return typical * float(10 ** random.choice(gains, p=[0.8, 0.1, 0.1]))


def _padding(random: Random) -> int:
    return int(random.choice([schema.Padding.SAME, schema.Padding.VALID]))


def _windows(padding: int, size: int, kernel: int, stride: int) -> int:
    return -(-size // stride) if padding == schema.Padding.SAME else (size - kernel) // stride + 1


@dataclass(frozen=True)
class _Geometry:
    """A window over a random image; the kernel fits the image where padding is VALID."""

    image: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: int

    @classmethod
    def draw(cls, random: Random, most: int = 9) -> "_Geometry":
        image = _size(random, most), _size(random, most)
        padding = _padding(random)
        limits = image if padding == schema.Padding.VALID else (5, 5)
        kernel = _size(random, min(5, limits[0])), _size(random, min(5, limits[1]))
        return cls(image, kernel, (_size(random, 3), _size(random, 3)), padding)

    @property
    def output(self) -> tuple[int, int]:
        height, width = (
            _windows(self.padding, *axis) for axis in zip(self.image, self.kernel, self.strides, strict=True)
        )
        return height, width

    def fill(self, options: schema.Conv2DOptionsT | schema.DepthwiseConv2DOptionsT | schema.Pool2DOptionsT) -> None:
        options.padding = self.padding
        options.strideH, options.strideW = self.strides


def conv_2d(random: Random) -> Node:
    build, geometry = NodeBuilder(), _Geometry.draw(random)
    if random.random() < 0.3:
        geometry = replace(geometry, kernel=(1, 1), strides=(1, 1) if random.random() < 0.7 else (2, 2))
    depth, channels = _size(random, 9), _size(random, 7)
    source = _activation(random, build, (1, *geometry.image, depth))
    weights = _weights(random, build, (channels, *geometry.kernel, depth), 0)
    bias = _bias(random, build, source, weights, channels) if random.random() < 0.8 else None
    terms = geometry.kernel[0] * geometry.kernel[1] * depth
    output = _activation(random, build, (1, *geometry.output, channels), _output_scale(random, source, weights, terms))
    options = schema.Conv2DOptionsT()
    geometry.fill(options)
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = int(random.choice(ACTIVATIONS))
    inputs = (source, weights) if bias is None else (source, weights, bias)
    return Node(0, "CONV_2D", inputs, (output,), options)


def depthwise_conv_2d(random: Random) -> Node:
    build, geometry = NodeBuilder(), _Geometry.draw(random)
    depth, multiplier = _size(random, 9), int(random.choice([1, 1, 2, 3]))
    channels = depth * multiplier
    source = _activation(random, build, (1, *geometry.image, depth))
    weights = _weights(random, build, (1, *geometry.kernel, channels), 3)
    # Always with a bias: this TFLM crashes on a depthwise convolution without one.
    bias = _bias(random, build, source, weights, channels)
    terms = geometry.kernel[0] * geometry.kernel[1]
    output = _activation(random, build, (1, *geometry.output, channels), _output_scale(random, source, weights, terms))
    options = schema.DepthwiseConv2DOptionsT()
    geometry.fill(options)
    options.depthMultiplier = multiplier
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = int(random.choice(ACTIVATIONS))
    return Node(0, "DEPTHWISE_CONV_2D", (source, weights, bias), (output,), options)


def fully_connected(random: Random) -> Node:
    build, units = NodeBuilder(), _size(random, 30)
    shape = (
        (1, _size(random, 70)) if random.random() < 0.7 else (1, _size(random, 4), _size(random, 4), _size(random, 9))
    )
    source = _activation(random, build, shape)
    weights = _weights(random, build, (units, source.size), 0)
    bias = _bias(random, build, source, weights, units) if random.random() < 0.8 else None
    output = _activation(random, build, (1, units), _output_scale(random, source, weights, source.size))
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = int(random.choice(ACTIVATIONS))
    return Node(0, "FULLY_CONNECTED", (source, weights, bias), (output,), options)


def _pool(name: str) -> Callable[[Random], Node]:
    def draw(random: Random) -> Node:
        build, geometry, depth = NodeBuilder(), _Geometry.draw(random), _size(random, 9)
        source = _activation(random, build, (1, *geometry.image, depth))
        output = build.activation((1, *geometry.output, depth), source.scale, source.zero_point)
        options = schema.Pool2DOptionsT()
        geometry.fill(options)
        options.filterHeight, options.filterWidth = geometry.kernel
        options.fusedActivationFunction = int(random.choice(ACTIVATIONS))
        return Node(0, name, (source,), (output,), options)

    return draw


def _shape(random: Random) -> tuple[int, ...]:
    """(1, n), (1, w, c) or (1, h, w, c)."""
    return (1, *(_size(random, 6) for _ in range(random.integers(1, 4))))


def add(random: Random) -> Node:
    build, shape = NodeBuilder(), _shape(random)
    first = _activation(random, build, shape)
    ratio = 10 ** random.choice([random.uniform(-1, 1), random.uniform(-6, 6)], p=[0.8, 0.2])
    second = _activation(random, build, shape, first.scale * float(ratio))
    gain = 10 ** random.choice([random.uniform(-1, 1), random.uniform(-6, 6)], p=[0.8, 0.2])
    output = _activation(random, build, shape, max(first.scale, second.scale) * float(gain))
    options = schema.AddOptionsT()
    options.fusedActivationFunction = int(random.choice(ACTIVATIONS))
    return Node(0, "ADD", (first, second), (output,), options)


def mean(random: Random) -> Node:
    build, depth = NodeBuilder(), _size(random, 9)
    source = _activation(random, build, (1, _size(random, 9), _size(random, 9), depth))
    options = schema.ReducerOptionsT()
    options.keepDims = bool(random.integers(2))
    shape = (1, 1, 1, depth) if options.keepDims else (1, depth)
    gain = 10 ** random.choice([random.uniform(-1, 1), random.uniform(-5, 5)], p=[0.8, 0.2])
    output = _activation(random, build, shape, source.scale * float(gain))
    return Node(0, "MEAN", (source, build.integers([1, 2])), (output,), options)


def reshape(random: Random) -> Node:
    build = NodeBuilder()
    source = _activation(random, build, _shape(random))
    shape = (1, source.size) if random.random() < 0.5 else (1, 1, *source.shape[1:])[:4]
    shape = shape if np.prod(shape) == source.size else (1, source.size)
    output = build.activation(shape, source.scale, source.zero_point)
    options = schema.ReshapeOptionsT()
    options.newShape = list(shape)
    return Node(0, "RESHAPE", (source, build.integers(list(shape))), (output,), options)


def softmax(random: Random) -> Node:
    build = NodeBuilder()
    shape = (1, _size(random, 40)) if random.random() < 0.7 else (1, 2, 3, _size(random, 12))
    source = _activation(random, build, shape, _scale(random, -3, 1))
    output = build.activation(shape, 1 / 256, -128)
    options = schema.SoftmaxOptionsT()
    options.beta = float(random.choice([1.0, 1.0, 0.5, 2.0]))
    return Node(0, "SOFTMAX", (source,), (output,), options)


def concatenation(random: Random) -> Node:
    build, shape, count = NodeBuilder(), list(_shape(random)), _size(random, 4)
    axis = int(random.integers(1, len(shape)))
    shapes = [(*shape[:axis], _size(random, 5), *shape[axis + 1 :]) for _ in range(count)]
    scale, zero_point = _scale(random), _zero_point(random)
    parts = tuple(build.activation(part, scale, zero_point) for part in shapes)
    joined = (*shape[:axis], sum(part[axis] for part in shapes), *shape[axis + 1 :])
    options = schema.ConcatenationOptionsT()
    options.axis = axis - len(shape) if random.random() < 0.5 else axis
    return Node(0, "CONCATENATION", parts, (build.activation(joined, scale, zero_point),), options)


def strided_slice(random: Random) -> Node:
    build, shape = NodeBuilder(), _shape(random)
    kept, rank = _size(random, shape[-1]), len(shape)
    source = _activation(random, build, shape)
    output = build.activation((*shape[:-1], kept), source.scale, source.zero_point)
    options = schema.StridedSliceOptionsT()
    end = [*shape[:-1], kept]
    if random.random() < 0.5:
        options.beginMask = options.endMask = (1 << (rank - 1)) - 1
        end = [0] * (rank - 1) + [kept]
    elif random.random() < 0.5 and kept < shape[-1]:
        end[-1] = kept - shape[-1]
    constants = build.integers([0] * rank), build.integers(end), build.integers([1] * rank)
    return Node(0, "STRIDED_SLICE", (source, *constants), (output,), options)


def pad(random: Random) -> Node:
    build = NodeBuilder()
    shape = (1, _size(random, 6), _size(random, 6), _size(random, 6))
    source = _activation(random, build, shape)
    around = [[0, 0], *random.integers(0, 4, (2, 2)).tolist()]
    around.append(random.integers(0, 3, 2).tolist() if random.random() < 0.3 else [0, 0])
    grown = tuple(size + sum(pair) for size, pair in zip(shape, around, strict=True))
    output = build.activation(grown, source.scale, source.zero_point)
    return Node(0, "PAD", (source, build.integers(around)), (output,), schema.PadOptionsT())


def quantize(random: Random) -> Node:
    build, shape = NodeBuilder(), _shape(random)
    source = _activation(random, build, shape)
    gain = 10 ** random.choice([random.uniform(-1, 1), random.uniform(-6, 6)], p=[0.8, 0.2])
    output = _activation(random, build, shape, source.scale * float(gain))
    return Node(0, "QUANTIZE", (source,), (output,), schema.QuantizeOptionsT())


DRAW: dict[str, Callable[[Random], Node]] = {
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "FULLY_CONNECTED": fully_connected,
    "ADD": add,
    "AVERAGE_POOL_2D": _pool("AVERAGE_POOL_2D"),
    "MAX_POOL_2D": _pool("MAX_POOL_2D"),
    "MEAN": mean,
    "RESHAPE": reshape,
    "SOFTMAX": softmax,
    "CONCATENATION": concatenation,
    "STRIDED_SLICE": strided_slice,
    "PAD": pad,
    "QUANTIZE": quantize,
}
