"""Random two-exit networks in the shape of T-RecX's, as `.tflite` files: every rewrite and the planner at work."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from vectors.flatbuffer import NodeBuilder, network

from trecx import exits as door
from trecx.compiler.ir import Node, Tensor

NONE, RELU = schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
CLASSES = 5


class Network:
    """Adds nodes one after another; activations get scales that keep values spread."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.build = NodeBuilder()
        self.nodes: list[Node] = []
        self.silent: dict[int, np.ndarray] = {}

    def activation(self, *shape: int, scale: float = 0.05, zero_point: int | None = None) -> Tensor:
        return self.build.activation(
            (1, *shape), scale, int(self.random.integers(-128, 128)) if zero_point is None else zero_point
        )

    def add(self, name: str, inputs: Sequence[Tensor], output: Tensor, options: object) -> Tensor:
        self.nodes.append(Node(len(self.nodes), name, tuple(inputs), (output,), options))
        return output

    def conv(
        self,
        x: Tensor,
        channels: int,
        kernel: int,
        stride: int,
        depthwise: bool = False,
        multiplier: int = 1,
        padding: int = SAME,
        zero: float = 0.0,
        blind: float = 0.0,
    ) -> Tensor:
        """CONV_2D or DEPTHWISE_CONV_2D with ReLU, weights per channel; depthwise, `multiplier` makes the channels.

        A part `zero` of the outputs has zero weights, except on some inputs of that kind; a part `blind` of the
        inputs has zero weights in all outputs.
        """
        height, width, depth = x.shape[1:]
        channels = depth * multiplier if depthwise else channels
        shape = (1, kernel, kernel, channels) if depthwise else (channels, kernel, kernel, depth)
        axis = 3 if depthwise else 0
        values = self.random.integers(-127, 128, shape).astype(np.int8)
        silent = np.zeros(channels, bool)
        if zero or blind:
            silent = self.random.random(channels) < zero
            loud = ~self.silent.get(x.index, np.zeros(depth, bool)) | (self.random.random(depth) < 0.7)
            values[(..., silent) if depthwise else np.ix_(silent, *map(range, shape[1:3]), loud)] = 0
            values[..., self.random.random(shape[-1]) < blind] = 0
        weights = self.build.weights(values, self.random.uniform(0.001, 0.01, channels), axis)
        bias = self.build.bias(self.random.integers(-3000, 3000, channels).astype(np.int32), x, weights)
        lost = 0 if padding == SAME else kernel - 1
        rows, columns = (-(-(size - lost) // stride) for size in (height, width))
        output = self.activation(rows, columns, channels, zero_point=-128)
        self.silent[output.index] = silent
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = padding, stride, stride
        options.dilationHFactor = options.dilationWFactor = 1
        options.fusedActivationFunction = RELU
        if depthwise:
            options.depthMultiplier = multiplier
        name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self.add(name, (x, weights, bias), output, options)

    def residual(self, a: Tensor, b: Tensor) -> Tensor:
        """ADD with ReLU."""
        options = schema.AddOptionsT()
        options.fusedActivationFunction = RELU
        return self.add("ADD", (a, b), self.activation(*a.shape[1:], zero_point=-128), options)

    def prefix(self, x: Tensor, channels: int) -> Tensor:
        """STRIDED_SLICE to the first channels."""
        ends = [0, 0, 0, channels]
        constants = [self.build.integers(v) for v in ([0] * 4, ends, [1] * 4)]
        options = schema.StridedSliceOptionsT()
        options.beginMask = options.endMask = 0b0111
        assert x.quant is not None
        output = self.build.activation((*x.shape[:3], channels), x.scale, x.zero_point)
        return self.add("STRIDED_SLICE", (x, *constants), output, options)

    def pool(self, x: Tensor, height: int, width: int, name: str = "AVERAGE_POOL_2D") -> Tensor:
        """AVERAGE_POOL_2D or MAX_POOL_2D, VALID, stride as the filter."""
        options = schema.Pool2DOptionsT()
        options.padding, options.strideH, options.strideW = VALID, height, width
        options.filterHeight, options.filterWidth = height, width
        shape = (1, x.shape[1] // height, x.shape[2] // width, x.shape[3])
        return self.add(name, (x,), self.build.activation(shape, x.scale, x.zero_point), options)

    def mean(self, x: Tensor) -> Tensor:
        """MEAN over height and width, to another scale."""
        output = self.activation(x.shape[-1], scale=0.04)
        return self.add("MEAN", (x, self.build.integers([1, 2])), output, schema.ReducerOptionsT())

    def pad(self, x: Tensor, rows: int, columns: int, channels: int) -> Tensor:
        """PAD before and after height and width, and after the channels."""
        paddings = self.build.integers([[0, 0], [rows, rows], [columns, columns], [0, channels]])
        shape = (1, x.shape[1] + 2 * rows, x.shape[2] + 2 * columns, x.shape[3] + channels)
        return self.add("PAD", (x, paddings), self.build.activation(shape, x.scale, x.zero_point), schema.PadOptionsT())

    def flat(self, x: Tensor) -> Tensor:
        """RESHAPE to one row."""
        output = self.build.activation((1, x.size), x.scale, x.zero_point)
        return self.add("RESHAPE", (x, self.build.integers([1, x.size])), output, schema.ReshapeOptionsT())

    def requantized(self, x: Tensor, like: Tensor) -> Tensor:
        """QUANTIZE to the scale of another tensor."""
        output = self.build.activation(x.shape, like.scale, like.zero_point)
        return self.add("QUANTIZE", (x,), output, schema.QuantizeOptionsT())

    def joined(self, a: Tensor, b: Tensor) -> Tensor:
        """CONCATENATION of the channels of two rows or maps, the second requantized to the first."""
        options = schema.ConcatenationOptionsT()
        options.axis = len(a.shape) - 1
        output = self.build.activation((*a.shape[:-1], a.shape[-1] + b.shape[-1]), a.scale, a.zero_point)
        return self.add("CONCATENATION", (a, self.requantized(b, a)), output, options)

    def dense(self, x: Tensor, classes: int, scale: float = 0.08) -> Tensor:
        """FULLY_CONNECTED."""
        values = self.random.integers(-127, 128, (classes, x.size)).astype(np.int8)
        weights = self.build.weights(values, np.array([0.01]), 0)
        bias = self.build.bias(self.random.integers(-500, 500, classes).astype(np.int32), x, weights)
        options = schema.FullyConnectedOptionsT()
        return self.add("FULLY_CONNECTED", (x, weights, bias), self.activation(classes, scale=scale), options)

    def classifier(self, x: Tensor, classes: int = CLASSES) -> Tensor:
        """FULLY_CONNECTED and SOFTMAX."""
        logits = self.dense(x, classes)
        softmax = schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        scores = self.build.activation((1, classes), 1 / 256, -128)
        return self.add("SOFTMAX", (logits,), scores, softmax)


def awkward(seed: int) -> tuple[bytes, door.Exits]:
    """A network whose views meet: a reshape right on a slice, slices of slices, tap features in the final row too."""
    net = Network(seed)
    source = net.activation(6, 5, 2)
    tap = net.conv(source, 8, 3, 1)
    narrow = net.prefix(net.prefix(tap, 6), 4)
    early_row = net.flat(net.pool(net.conv(narrow, 0, 3, 2, depthwise=True), 1, 1))
    early = net.classifier(early_row)
    late = net.conv(net.conv(tap, 8, 3, 1, depthwise=True), 8, 1, 1)
    final = net.classifier(net.joined(net.flat(net.prefix(late, 4)), early_row))
    return _pair(net, source, early, final)


def wide(classes: int) -> tuple[bytes, door.Exits]:
    """A network with so many classes."""
    net = Network(1)
    source = net.activation(4, 4, 2)
    tap = net.conv(source, 4, 3, 1)
    early = net.classifier(net.flat(net.pool(tap, 2, 2)), classes)
    final = net.classifier(net.flat(net.conv(tap, 4, 3, 1)), classes)
    return _pair(net, source, early, final, classes)


def two_exits(seed: int) -> tuple[bytes, door.Exits]:
    """A random network with an early exit, an early view of the final map, and the early head's ops listed last."""
    net = Network(seed)
    random = net.random
    source = net.activation(int(random.integers(7, 14)), int(random.integers(5, 12)), int(random.integers(1, 4)))
    width = 2 * int(random.integers(2, 5))
    x = net.conv(source, width, int(random.integers(2, 5)), int(random.integers(1, 3)))
    if random.random() < 0.5:
        x = net.residual(x, net.conv(net.conv(x, width, 3, 1), width, 3, 1))
    tap = net.conv(net.conv(x, width, 3, 1, depthwise=True), width, 1, 1)
    features = net.conv(net.conv(tap, width, 3, 1, depthwise=True), width, 1, int(random.integers(1, 3)))
    pooled = net.flat(net.pool(features, *features.shape[1:3]))
    view = net.conv(net.prefix(features, width // 2), 0, 3, 1, depthwise=True)
    final = net.classifier(net.joined(pooled, net.flat(net.pool(view, *view.shape[1:3]))))
    head = net.conv(net.prefix(tap, width // 2), 0, 3, 2, depthwise=True)
    early = net.classifier(net.flat(net.pool(head, *(min(2, d) for d in head.shape[1:3]))))
    return _pair(net, source, early, final)


def hollow(seed: int) -> tuple[bytes, door.Exits]:
    """A network that computes much in vain: zero outputs, unread inputs, and what carries constants between them."""
    net = Network(seed)
    random = net.random

    def sparse(x: Tensor, channels: int, kernel: int = 1, stride: int = 1, **options) -> Tensor:
        padding = SAME if min(x.shape[1:3]) < kernel else int(random.choice([SAME, VALID]))
        return net.conv(x, channels, kernel, stride, padding=padding, zero=0.4, blind=0.2, **options)

    def spatial(x: Tensor) -> Tensor:
        return sparse(x, 0, 3, depthwise=True, multiplier=int(random.choice([1, 1, 2])))

    source = net.activation(int(random.integers(11, 14)), int(random.integers(11, 14)), 3)
    x = sparse(source, int(random.integers(9, 17)), 3)
    x = sparse(spatial(x), int(random.integers(13, 29)), 3)
    if seed % 4 == 1:
        x = net.residual(x, sparse(x, x.shape[-1]))
    tap = net.pool(x, 1, 2, "MAX_POOL_2D")
    features = sparse(sparse(spatial(sparse(tap, 24)), 24, int(random.choice([1, 3]))), 22)
    if seed % 4 == 2:
        features = net.joined(features, sparse(features, 9))
    if seed % 3 == 0:
        features = net.pad(features, 1, 0, 3 * (seed % 2))
    view = net.prefix(spatial(net.prefix(features, 14)), 9)
    pooled = net.mean(features) if seed % 2 else net.flat(net.pool(features, *features.shape[1:3]))
    final = net.classifier(net.joined(pooled, net.flat(net.pool(view, *(min(2, d) for d in view.shape[1:3])))))
    head = spatial(net.prefix(tap, 10))
    early = net.classifier(net.flat(net.pool(head, *(min(2, d) for d in head.shape[1:3]))))
    return _pair(net, source, early, final)


def several_exits(
    seed: int, criteria: Sequence[str], otherwise: str = door.FINAL, thresholds: Sequence[float] = ()
) -> tuple[bytes, door.Exits]:
    """A network with an early exit for each criterion, gates of their own, and the final exit behind them."""
    net = Network(seed)
    source = x = net.activation(8, 8, 2)
    outputs: dict[str, Tensor] = {}
    exits = []
    for k, criterion in enumerate(criteria):
        x = net.conv(x, 8, 3, 1 + k % 2)
        row = net.flat(net.pool(x, *(min(4, d) for d in x.shape[1:3])))
        outputs[f"scores{k}"] = net.classifier(row)
        if criterion == "gate":
            outputs[f"gate{k}"] = net.dense(row, 1)
        exits.append(door.ExitSpec(f"exit{k}", f"scores{k}", criterion, f"gate{k}" if criterion == "gate" else None))
    final = net.classifier(net.flat(net.conv(x, 4, 3, 1)))
    exits.append(door.ExitSpec("final", "final"))
    content, spec = _pair(net, source, final, final)
    content = network(net.nodes, [source], {"final": final, **outputs})
    chosen = {e.name: t for e, t in zip(exits, thresholds, strict=False)}
    spec = replace(
        spec,
        model_sha256=hashlib.sha256(content).hexdigest(),
        exits=tuple(exits),
        otherwise=otherwise,
        operating_points=(door.OperatingPoint("chosen", chosen),),
    )
    return content, spec


def values(shape: tuple[int, ...], more: int = 0) -> bytes:
    """A network that answers with values of a shape, `(n,)` or a map, and with `more` further rows of three values."""
    net = Network(5)
    source = net.activation(12, 12, 2)
    x = net.conv(source, 4, 3, 1)
    if len(shape) == 1:
        answer = net.dense(net.flat(net.pool(x, 3, 3)), shape[0])
    else:
        answer = net.conv(x, shape[-1], 1, 12 // shape[0])
    others = {f"more{k}": net.dense(net.flat(net.pool(x, 6, 6)), 3) for k in range(more)}
    return network(net.nodes, [source], {"answer": answer, **others})


def scores(classes: int) -> bytes:
    """A network with one exit, of so many classes."""
    net = Network(6)
    source = net.activation(4, 4, 2)
    return network(net.nodes, [source], {"scores": net.classifier(net.flat(net.conv(source, 4, 3, 1)), classes)})


def _pair(
    net: Network, source: Tensor, early: Tensor, final: Tensor, classes: int = CLASSES
) -> tuple[bytes, door.Exits]:
    content = network(net.nodes, [source], {"late": final, "soon": early})
    exits = door.Exits(
        task="none",
        method="none",
        model_file="model.tflite",
        model_sha256=hashlib.sha256(content).hexdigest(),
        classes=tuple(f"class {k}" for k in range(classes)),
        exits=(door.ExitSpec("early", "soon", "max_score"), door.ExitSpec("final", "late")),
        operating_points=(door.OperatingPoint("middle", {"early": 0.5}),),
    )
    return content, exits
