"""Seeded random cases for every operator: shapes, strides, paddings, odd sizes, extreme scales and zero points.

Half of them are ordinary, as networks have them and as fast kernels are made for; the others are anything.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from trecx.compiler.ir import Node, Op, Refused, Tensor, View
from trecx.compiler.ops import OPS
from vectors.flatbuffer import NodeBuilder
from vectors.geometry import Geometry, Random, size

# Bytes of a case's inputs, weights and outputs: all are in the program that computes it.
MOST_BYTES = 5000
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
    refusals = 0
    while refusals <= count:
        node = _exact(draw(random)) if random.random() < 0.25 else draw(random)
        if sum(tensor.size for tensor in (*node.inputs, *node.outputs) if tensor is not None) > MOST_BYTES:
            continue
        try:
            op = op_type.read(node)
        except Refused as refused:
            assert all("int32" in problem or "too fine" in problem for problem in refused.problems), refused
            refusals += 1
            continue
        half_way = operator == "ADD" and random.random() < 0.5
        inputs = _half_way(random, op) if half_way else tuple(_values(random, tensor) for tensor in op.inputs)
        yield Case(node, _with_views(op, random), inputs)
        found += 1
        if found == count:
            return
    raise AssertionError(f"{operator}: more than half of the random cases were refused")


def _exact(node: Node) -> Node:
    """A node whose scales are powers of two, so that what is rounded often lies half-way."""

    def powers(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or tensor.quant is None:
            return tensor
        scales = 2.0 ** np.round(np.log2(tensor.quant.scale))
        return replace(tensor, quant=replace(tensor.quant, scale=tuple(scales.tolist())))

    inputs, outputs = (tuple(powers(tensor) for tensor in of) for of in (node.inputs, node.outputs))
    return replace(node, inputs=inputs, outputs=tuple(tensor for tensor in outputs if tensor is not None))


def _with_views(op: Op, random: Random) -> Op:
    """The op with some inputs lying in a wider tensor, as a prefix of few more channels or of a multiple of them."""

    def view(tensor: Tensor) -> View | None:
        channels = tensor.shape[-1]
        return random.choice([None, None, View(-1, 0, channels + size(random, 4)), View(-1, 0, 2 * channels)])

    return replace(op, inputs=tuple(replace(tensor, view=view(tensor)) for tensor in op.inputs))


def _values(random: Random, tensor: Tensor) -> np.ndarray:
    """Uniform, saturated, all the same extreme, close to the zero point, or mostly at it."""
    kind = random.integers(8)
    # Sums of so many pixels may no longer fit 16 bits.
    if kind == 0 or (kind > 2 and tensor.size // tensor.shape[-1] > 255):
        return np.full(tensor.shape, random.choice([-128, 127]), np.int8)
    if kind == 2:
        return random.choice(np.array([-128, 127], np.int8), tensor.shape)
    if kind in (3, 4):
        rare = random.random(tensor.shape) < 0.03
        return np.where(rare, random.integers(-128, 128, tensor.shape), tensor.zero_point).astype(np.int8)
    if kind == 1:
        return np.clip(tensor.zero_point + random.integers(-3, 4, tensor.shape), -128, 127).astype(np.int8)
    return random.integers(-128, 128, tensor.shape).astype(np.int8)


def _half_way(random: Random, op: Op) -> tuple[np.ndarray, ...]:
    """Two inputs whose sums lie as close as possible to the middle of two outputs."""
    pairs = np.array(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))).reshape(2, -1)
    first, second = op.inputs
    sums = first.scale * (pairs[0] - first.zero_point) + second.scale * (pairs[1] - second.zero_point)
    outputs = sums / op.output.scale
    away = np.abs(outputs - np.floor(outputs) - 0.5) + (np.abs(outputs + op.output.zero_point) > 128)
    chosen = random.permutation(np.argsort(away)[: first.size])
    return tuple(pair[chosen].reshape(first.shape).astype(np.int8) for pair in pairs)


def _ordinary(random: Random) -> bool:
    return bool(random.random() < 0.5)


def _channels(random: Random) -> int:
    """As kernels like them, as they like them less, or few."""
    if random.random() < 0.4:
        return int(random.choice([4, 8, 16, 16, 20, 32, 32, 64]))
    return size(random, 9 if random.random() < 0.8 else 70)


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
    kind = random.random()
    if kind < 0.15:
        values = random.choice(np.array([-127, 127], np.int8), shape)
    elif kind < 0.3:
        values = np.full(shape, random.choice([-128, -127, 127]), np.int8)
    elif kind < 0.4:
        values = random.integers(-128, -120, shape).astype(np.int8)
    if random.random() < 0.2:
        np.moveaxis(values, axis, 0)[0] = 0
    count = shape[axis] if random.random() < 0.7 else 1
    return build.weights(values, 10 ** random.uniform(-4, -1) * 2.0 ** random.uniform(-3, 3, count), axis)


@dataclass(frozen=True)
class _Sums:
    """What the sums of a layer are like: the largest bias, and the scale of an output that holds them."""

    bias: int
    output_scale: float

    @classmethod
    def draw(cls, random: Random, source: Tensor, weights: Tensor, terms: int) -> "_Sums":
        """Mostly in range of the output, with biases that may matter far more than products."""
        assert weights.quant is not None
        bias = int(10 ** random.choice([random.uniform(1, 4), random.uniform(4, 8.5)], p=[0.6, 0.4]))
        reach = 5000 * terms**0.5 + (bias if random.random() < 0.6 else 0)
        # In range, amplified or left as they are, far too small.
        steps = (
            reach / 80 * 10 ** random.uniform(-0.5, 0.7),
            10 ** random.uniform(-2, 0.3),
            reach * 10 ** random.uniform(-2, 6),
        )
        step = random.choice(steps, p=[0.8, 0.12, 0.08])
        return cls(bias, source.scale * float(np.mean(weights.quant.scale)) * float(step))

    def biases(self, random: Random, build: NodeBuilder, source: Tensor, weights: Tensor, channels: int) -> Tensor:
        """Anything; or what lies half-way between two outputs where all inputs are at their zero point."""
        values = random.integers(-self.bias, self.bias + 1, channels).astype(float)
        if random.random() < 0.4:
            assert weights.quant is not None
            steps = self.output_scale / (source.scale * np.array(weights.quant.scale))
            values = np.clip((random.integers(-128, 128, channels) + 0.5) * steps, -3e8, 3e8)
            values += random.integers(-1, 2, channels)
        return build.bias(np.rint(values).astype(np.int32), source, weights)


def _result(
    random: Random, build: NodeBuilder, shape: tuple[int, ...], scale: float, rectified: float = 0.35
) -> tuple[Tensor, int]:
    """An output and its activation: ordinarily a RELU whose output begins at zero, or none."""
    kind = random.random()
    if kind < rectified:
        return build.activation(shape, scale, -128), schema.ActivationFunctionType.RELU
    function = schema.ActivationFunctionType.NONE if kind < 0.75 else int(random.choice(ACTIVATIONS))
    return _activation(random, build, shape, scale), function


def conv_2d(random: Random) -> Node:
    build, geometry = NodeBuilder(), Geometry.draw(random)
    if random.random() < 0.3:
        geometry = replace(geometry, kernel=(1, 1), strides=(1, 1) if random.random() < 0.7 else (2, 2))
    depth, channels = _channels(random), 2 * size(random, 8) if _ordinary(random) else size(random, 9)
    source = _activation(random, build, (1, *geometry.image, depth))
    weights = _weights(random, build, (channels, *geometry.kernel, depth), 0)
    sums = _Sums.draw(random, source, weights, geometry.kernel[0] * geometry.kernel[1] * depth)
    bias = sums.biases(random, build, source, weights, channels) if random.random() < 0.8 else None
    options = schema.Conv2DOptionsT()
    geometry.fill(options)
    options.dilationHFactor = options.dilationWFactor = 1
    output, options.fusedActivationFunction = _result(random, build, (1, *geometry.output, channels), sums.output_scale)
    inputs = (source, weights) if bias is None else (source, weights, bias)
    return Node(0, "CONV_2D", inputs, (output,), options)


def depthwise_conv_2d(random: Random) -> Node:
    build, geometry = NodeBuilder(), Geometry.draw(random)
    depth, multiplier = _channels(random), int(random.choice([1, 1, 1, 1, 2, 3]))
    usual = random.random() < 0.3
    if usual:
        stride = size(random, 2)
        image = stride * int(random.integers(4, 8)), stride * int(random.integers(6, 8)) - int(random.integers(2))
        geometry = replace(geometry, image=image, kernel=(3, 3), strides=(stride, stride))
        depth, multiplier = int(random.choice([1, 3, 4, 8, 11, 16])), 1
    channels = depth * multiplier
    source = _activation(random, build, (1, *geometry.image, depth))
    weights = _weights(random, build, (1, *geometry.kernel, channels), 3)
    sums = _Sums.draw(random, source, weights, geometry.kernel[0] * geometry.kernel[1])
    # Always with a bias: this TFLM crashes on a depthwise convolution without one.
    bias = sums.biases(random, build, source, weights, channels)
    options = schema.DepthwiseConv2DOptionsT()
    geometry.fill(options)
    options.depthMultiplier = multiplier
    options.dilationHFactor = options.dilationWFactor = 1
    output, options.fusedActivationFunction = _result(
        random, build, (1, *geometry.output, channels), sums.output_scale, 0.8 if usual else 0.35
    )
    return Node(0, "DEPTHWISE_CONV_2D", (source, weights, bias), (output,), options)


def fully_connected(random: Random) -> Node:
    build, units = NodeBuilder(), size(random, 30)
    if _ordinary(random):
        shape = (1, size(random, 600) if random.random() < 0.5 else _channels(random))
    elif random.random() < 0.5:
        shape = (1, size(random, 70))
    else:
        shape = (1, size(random, 4), size(random, 4), _channels(random))
    source = _activation(random, build, shape)
    weights = _weights(random, build, (units, source.size), 0)
    sums = _Sums.draw(random, source, weights, source.size)
    bias = sums.biases(random, build, source, weights, units) if random.random() < 0.8 else None
    options = schema.FullyConnectedOptionsT()
    output, options.fusedActivationFunction = _result(random, build, (1, units), sums.output_scale)
    return Node(0, "FULLY_CONNECTED", (source, weights, bias), (output,), options)


def _pool(name: str) -> Callable[[Random], Node]:
    def draw(random: Random) -> Node:
        build, geometry, depth = NodeBuilder(), Geometry.draw(random), _channels(random)
        if random.random() < 0.2:
            # The whole image, up to where 16 bits no longer hold its sum.
            image = random.choice([(16, 16), (1, 257), (1, 257), (size(random, 25), size(random, 14))])
            geometry = Geometry(image, image, (size(random, 3),) * 2, schema.Padding.VALID)
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
    return (1, *(size(random, 6) for _ in range(random.integers(1, 4))))


def add(random: Random) -> Node:
    build = NodeBuilder()
    shape = (1, size(random, 6), size(random, 6), _channels(random)) if _ordinary(random) else _shape(random)
    first = _activation(random, build, shape)
    ratio = 10 ** random.choice([random.uniform(-1, 1), random.uniform(-6, 6)], p=[0.8, 0.2])
    second = _activation(random, build, shape, first.scale * float(ratio))
    # As fine as 2^-20: then the sum is not shifted to the right.
    gains = random.uniform(-1, 1), random.uniform(-6, 6), random.uniform(-7, -5)
    gain = 10 ** random.choice(gains, p=[0.75, 0.15, 0.1])
    options = schema.AddOptionsT()
    scale = max(first.scale, second.scale) * float(gain)
    if random.random() < 0.3:
        # A sum of a few steps lies as close to the middle of two outputs as float32 can tell.
        total = abs(random.integers(-9, 9) * first.scale + random.integers(1, 9) * second.scale)
        scale = max(float(total), first.scale) / (size(random, 8) - 0.5)
    output, options.fusedActivationFunction = _result(random, build, shape, scale)
    return Node(0, "ADD", (first, second), (output,), options)


def mean(random: Random) -> Node:
    build, depth = NodeBuilder(), _channels(random)
    # Up to where 16 bits no longer hold a sum.
    image = (size(random, 9), size(random, 9)) if random.random() < 0.8 else (16, int(random.integers(15, 18)))
    source = _activation(random, build, (1, *image, depth))
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
    shape = (1, size(random, 40)) if random.random() < 0.7 else (1, 2, 3, size(random, 12))
    source = _activation(random, build, shape, _scale(random, -3, 1))
    output = build.activation(shape, 1 / 256, -128)
    options = schema.SoftmaxOptionsT()
    options.beta = float(random.choice([1.0, 1.0, 0.5, 2.0]))
    return Node(0, "SOFTMAX", (source,), (output,), options)


def concatenation(random: Random) -> Node:
    build, shape, count = NodeBuilder(), list(_shape(random)), size(random, 4)
    axis = int(random.integers(1, len(shape)))
    shapes = [(*shape[:axis], size(random, 5), *shape[axis + 1 :]) for _ in range(count)]
    scale, zero_point = _scale(random), _zero_point(random)
    parts = tuple(build.activation(part, scale, zero_point) for part in shapes)
    joined = (*shape[:axis], sum(part[axis] for part in shapes), *shape[axis + 1 :])
    options = schema.ConcatenationOptionsT()
    options.axis = axis - len(shape) if random.random() < 0.5 else axis
    return Node(0, "CONCATENATION", parts, (build.activation(joined, scale, zero_point),), options)


def split(random: Random) -> Node:
    build, shape, parts = NodeBuilder(), list(_shape(random)), size(random, 5)
    axis = int(random.integers(1, len(shape)))
    shape[axis] = parts * size(random, 4)
    source = _activation(random, build, tuple(shape))
    part = (*shape[:axis], shape[axis] // parts, *shape[axis + 1 :])
    outputs = tuple(build.activation(part, source.scale, source.zero_point) for _ in range(parts))
    options = schema.SplitOptionsT()
    options.numSplits = parts
    where = build.integers([axis - len(shape) if random.random() < 0.5 else axis])
    return Node(0, "SPLIT", (replace(where, shape=()), source), outputs, options)


def strided_slice(random: Random) -> Node:
    build, shape = NodeBuilder(), _shape(random)
    kept, rank = size(random, shape[-1]), len(shape)
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
    shape = (1, size(random, 6), size(random, 6), size(random, 6))
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
    "SPLIT": split,
    "PAD": pad,
    "QUANTIZE": quantize,
}
