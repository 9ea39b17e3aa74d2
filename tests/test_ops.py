"""Operators refuse what they cannot compile exactly, with every reason, and nothing else than Refused."""

import copy
from collections.abc import Callable
from dataclasses import replace
from math import nan

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from vectors.cases import DRAW, generate

from trecx.compiler.ir import Node, Op, Quant, Refused, Tensor, View
from trecx.compiler.ops import OPS
from trecx.compiler.params import numbers

Change = Callable[[Node], Node]


def node_of(operator: str) -> Node:
    """A node that is accepted."""
    return generate(operator, 1, seed=3)[0].node


def read(node: Node) -> Op:
    return OPS[getattr(schema.BuiltinOperator, node.name)].read(node)


def option(**values: object) -> Change:
    def change(node: Node) -> Node:
        options = copy.copy(node.options)
        for name, value in values.items():
            assert hasattr(options, name)
            setattr(options, name, value)
        return replace(node, options=options)

    return change


def operand(position: int, **fields: object) -> Change:
    def change(node: Node) -> Node:
        inputs = list(node.inputs)
        inputs[position] = replace(inputs[position], **fields)
        return replace(node, inputs=tuple(inputs))

    return change


def output(**fields: object) -> Change:
    return lambda node: replace(node, outputs=(replace(node.outputs[0], **fields),))


def without(position: int) -> Change:
    return lambda node: replace(node, inputs=(*node.inputs[:position], None, *node.inputs[position + 1 :]))


def constant(position: int, *values: object) -> Change:
    data = np.array(values, np.int32)
    return operand(position, data=data, shape=data.shape)


def parts(node: Node, *shapes: tuple[int, ...]) -> tuple[Tensor | None, ...]:
    """The node's first input in several shapes."""
    assert node.inputs[0] is not None
    return tuple(replace(node.inputs[0], shape=shape) for shape in shapes)


def unit(zero_point: int = 0) -> Quant:
    return Quant((1.0,), (zero_point,))


RELU_N1_TO_1 = schema.ActivationFunctionType.RELU_N1_TO_1
COMMON: tuple[tuple[Change, str], ...] = (
    (output(dtype="int16"), "output is int16; supported: int8"),
    (output(dtype="uint8"), "output is uint8; supported: int8"),
    (operand(0, dtype="float32"), "input 0 is float32; supported: int8"),
    (operand(0, quant=None), "input 0 is not quantized"),
    (operand(0, quant=Quant((0.0,), (0,))), "input 0 has a scale that is not positive"),
    (operand(0, quant=Quant((nan,), (0,))), "input 0 has a scale that is not positive"),
    (operand(0, quant=Quant((1.0, 2.0), (0, 0), 0)), "input 0 has 2 scales and 2 zero points"),
    (operand(0, quant=Quant((1.0,), ())), "input 0 has 1 scales and 0 zero points"),
    (operand(0, quant=unit(128)), "input 0 has a zero point outside -128..127"),
    (operand(0, shape=(2, 3)), "supported: batch 1"),
    (operand(0, shape=()), "input 0 has rank 0"),
    (operand(0, shape=(1, 0, 1, 1)), "supported: 1 to 8388608 elements"),
    (operand(0, shape=(1, 2**12, 2**12, 1)), "supported: 1 to 8388608 elements"),
    (operand(0, data=np.zeros(1, np.int8)), "is the constant"),
    (without(0), "input 0 is omitted"),
    (lambda node: replace(node, inputs=()), "has 0 inputs"),
    (lambda node: replace(node, outputs=node.outputs * 2), "has 2 outputs"),
)

WEIGHTED: tuple[tuple[Change, str], ...] = (
    (operand(1, data=None), "weights must be a constant"),
    (without(1), "weights must be a constant"),
    (operand(1, dtype="int16"), "weights has type int16"),
    (operand(1, quant=None), "weights is not quantized"),
    (operand(1, quant=unit(3)), "weights have a zero point"),
    (operand(1, quant=Quant((1.0,) * 99, (0,) * 99, 0)), "weights have 99 scales"),
    (operand(1, quant=Quant((-1.0,), (0,))), "weights has a scale that is not positive"),
    (operand(1, shape=(3, 3, 3)), "values in a tensor of shape (3, 3, 3)"),
    (operand(1, shape=(0,), data=np.zeros(0, np.int8)), "supported: rank"),
    (operand(2, dtype="int64"), "bias has type int64"),
    (operand(2, shape=(99,), data=np.zeros(99, np.int32)), "bias has shape (99,)"),
    (operand(2, quant=unit(1)), "bias has a zero point"),
    (operand(2, data=None), "bias must be a constant"),
    (option(fusedActivationFunction=RELU_N1_TO_1), "fused activation RELU_N1_TO_1; supported: NONE, RELU, RELU6"),
    (output(shape=(1, 1, 1, 9999)), "output has shape (1, 1, 1, 9999)"),
)

CONVOLUTION: tuple[tuple[Change, str], ...] = (
    *WEIGHTED,
    (option(dilationHFactor=2), "dilation 2x1; supported: 1x1"),
    (option(strideW=0), "stride is 0"),
    (option(strideH=2**31 - 1), "stride is 2147483647"),
    (option(padding=7), "padding 7; supported: SAME, VALID"),
    (operand(0, shape=(1, 5, 5, 64)), "channels"),
    (output(quant=Quant((1e-30,), (0,))), "amplify beyond int32"),
)

POOLING: tuple[tuple[Change, str], ...] = (
    (option(filterHeight=0), "filter height is 0"),
    (option(filterWidth=-3), "filter width is -3"),
    (option(padding=-1), "padding -1"),
    (output(quant=unit()), "differ in scale or zero point"),
    (option(fusedActivationFunction=99), "fused activation 99"),
)

SPECIFIC: dict[str, tuple[tuple[Change, str], ...]] = {
    "CONV_2D": CONVOLUTION,
    "DEPTHWISE_CONV_2D": CONVOLUTION,
    "FULLY_CONNECTED": (
        *WEIGHTED,
        (option(weightsFormat=1), "weights format 1"),
        (operand(0, shape=(1, 9999)), "the input has 9999"),
    ),
    "ADD": (
        (operand(1, shape=(1, 1)), "supported: equal shapes"),
        (output(quant=Quant((1e-30,), (0,))), "too fine"),
        (option(fusedActivationFunction=RELU_N1_TO_1), "fused activation RELU_N1_TO_1"),
    ),
    "AVERAGE_POOL_2D": POOLING,
    "MAX_POOL_2D": POOLING,
    "MEAN": (
        (constant(1, 1), "reduces axes [1]"),
        (constant(1, 1, 2, 3), "reduces axes [1, 2, 3]"),
        (constant(1, 77), "reduces axes [77]"),
        (operand(1, data=None), "axes must be a constant"),
        (output(quant=Quant((1e-30,), (0,))), "amplify beyond int32"),
    ),
    "RESHAPE": (
        (constant(1, 1, 99), "its inputs give (1, 99)"),
        (constant(1, -1, -1), "its inputs give (-1, -1)"),
        (constant(1, 0, -1), "its inputs give (0, -1)"),
        (operand(1, data=None), "new shape must be a constant"),
        (output(quant=unit(5)), "differ in scale or zero point"),
    ),
    "SOFTMAX": (
        (output(quant=Quant((1 / 255,), (-128,))), "another scale than 1/256"),
        (option(beta=0.0), "beta is 0.0"),
        (option(beta=nan), "beta is nan"),
        (operand(0, quant=Quant((1e-30,), (0,))), "2^-26 or less"),
        (
            lambda node: output(shape=(1, 512))(operand(0, shape=(1, 512))(node)),
            "rows of 512; supported: up to 511",
        ),
    ),
    "CONCATENATION": (
        (option(axis=0), "joins along axis 0"),
        (option(axis=9), "joins along axis 9"),
        (option(axis=-9), "joins along axis -9"),
        (lambda node: replace(node, inputs=parts(node, (1, 3), (1, 3, 3))), "cannot join shapes"),
        (lambda node: output(shape=(1, 7, 7))(replace(node, inputs=parts(node, (1, 3, 3), (1, 4, 4)))), "cannot join"),
        (output(quant=unit(5)), "differ in scale or zero point"),
        (lambda node: replace(node, inputs=node.inputs[:1] * 9), "has 9 inputs; supported: 1 to 8"),
        (option(fusedActivationFunction=1), "fused activation; supported: NONE"),
    ),
    "STRIDED_SLICE": (
        (option(shrinkAxisMask=1), "shrinkAxisMask is set"),
        (option(newAxisMask=1), "newAxisMask is set"),
        (option(ellipsisMask=1), "ellipsisMask is set"),
        (constant(3, *[2] * 4), "strides"),
        (operand(3, data=None), "strides must be a constant"),
        (constant(1, 0), "begin has 1 values"),
    ),
    "SPLIT": (
        (constant(0, 0), "splits along axis 0; supported: any but the batch"),
        (constant(0, 9), "splits along axis 9"),
        (constant(0, 1, 2), "axis has 2 values"),
        (operand(0, data=None), "axis must be a constant"),
        (operand(1, quant=unit(5)), "differ in scale or zero point"),
        (operand(1, shape=(1, 7)), "splits 7 into 3 parts; supported: equal parts"),
        (operand(1, shape=(1, 6)), "output has shape (1, 1); its inputs give (1, 2)"),
        (operand(1, data=np.zeros(1, np.int8)), "is the constant"),
        (operand(1, shape=(2, 3)), "supported: batch 1"),
        (without(1), "input 1 is omitted"),
        (option(numSplits=2), "says 2 parts and has 3 outputs"),
        (output(dtype="int16"), "output is int16; supported: int8"),
        (lambda node: replace(node, inputs=node.inputs[:1]), "has 1 inputs; supported: 2"),
        (lambda node: replace(node, outputs=node.outputs * 3), "has 9 outputs; supported: 1 to 8"),
    ),
    "PAD": (
        (constant(1, [1, 0], [0, 0], [0, 0], [0, 0]), "pads the batch"),
        (constant(1, [0, 0], [-1, 0], [0, 0], [0, 0]), "a padding is negative"),
        (constant(1, [0, 0]), "paddings has shape (1, 2); expected (4, 2)"),
        (output(quant=unit(5)), "differ in scale or zero point"),
    ),
    "QUANTIZE": (
        (output(quant=Quant((1e-30,), (0,))), "amplify beyond int32"),
        (output(shape=(1, 9999)), "output has shape (1, 9999)"),
    ),
}


@pytest.mark.parametrize(
    ("operator", "change", "reason"),
    [
        (operator, *entry)
        for operator, own in SPECIFIC.items()
        for entry in (*(COMMON if operator != "SPLIT" else ()), *own)
    ],
)
def test_an_operator_refuses(operator, change, reason):
    with pytest.raises(Refused) as refused:
        read(change(node_of(operator)))
    assert reason in str(refused.value)


def test_every_operator_is_drawn_and_has_refusals():
    names = {getattr(schema.BuiltinOperator, name) for name in DRAW}
    assert names == set(OPS) - {"CIRCULAR_BUFFER"} and set(SPECIFIC) == set(DRAW)  # test_state.py has that one


def test_all_reasons_are_given_at_once():
    node = option(dilationHFactor=2, fusedActivationFunction=RELU_N1_TO_1, padding=9)(node_of("CONV_2D"))
    with pytest.raises(Refused) as refused:
        read(output(dtype="int16")(node))
    assert len(refused.value.problems) == 4


@pytest.mark.parametrize("operator", DRAW)
def test_options_of_another_operator_are_refused_or_not_needed(operator):
    node = replace(node_of(operator), options=schema.LSTMOptionsT())
    if operator in ("RESHAPE", "PAD", "QUANTIZE"):
        assert read(node).output is node.outputs[0]
    else:
        with pytest.raises(Refused, match="its options are not"):
            read(node)


def test_a_slice_that_is_no_channel_prefix_is_refused():
    source = Tensor(0, "in", (1, 4, 4, 8), "int8", unit())
    fours = [
        Tensor(k, "constant", (4,), "int32", None, np.array(v, np.int32)) for k, v in ((2, (0,) * 4), (4, (1,) * 4))
    ]

    def slice_of(begin: tuple[int, ...], end: tuple[int, ...]) -> Op:
        shape = tuple(e - b for b, e in zip(begin, end, strict=True))
        ends = (replace(fours[0], data=np.array(v, np.int32)) for v in (begin, end))
        result = Tensor(9, "out", shape, "int8", unit())
        return read(Node(0, "STRIDED_SLICE", (source, *ends, fours[1]), (result,), schema.StridedSliceOptionsT()))

    assert slice_of((0, 0, 0, 0), (1, 4, 4, 3)).call().kernel == "copy"
    for begin, end in (((0, 0, 0, 1), (1, 4, 4, 3)), ((0, 1, 0, 0), (1, 4, 4, 3)), ((0, 0, 0, 0), (1, 4, 3, 8))):
        with pytest.raises(Refused, match="supported: channel prefixes"):
            slice_of(begin, end)


def test_accumulators_that_could_leave_int32_are_refused():
    node = node_of("FULLY_CONNECTED")
    bias = node.inputs[2]
    assert bias is not None
    with pytest.raises(Refused, match="could leave int32"):
        read(operand(2, data=np.full(bias.shape, 2**31 - 1, np.int32))(node))


HOSTILE_SHAPES = ((), (1,), (1, 1), (0, 0, 0, 0), (-1, -1), (1, -3, 2, 2), (1, 2**31 - 1, 2, 2), (2,) * 4, (1,) * 8)
HOSTILE_NUMBERS = (-(2**31), -1, 0, 1, 2, 3, 255, 2**31 - 1)


@pytest.mark.parametrize("operator", DRAW)
def test_damaged_nodes_are_refused_or_compiled_but_never_crash(operator):
    random = np.random.default_rng(7)

    def damaged(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or random.random() < 0.5:
            return tensor
        quant = tensor.quant or unit()
        return (
            None,
            replace(tensor, shape=HOSTILE_SHAPES[random.integers(len(HOSTILE_SHAPES))]),
            replace(tensor, dtype=str(random.choice(["int32", "int64", "uint8", "bool", "type 99"]))),
            replace(tensor, quant=None),
            replace(tensor, quant=Quant((), ())),
            replace(tensor, quant=Quant((1e-38,), quant.zero_point)),
            replace(tensor, quant=Quant((3e38,) * 3, (0,) * 3, -5)),
            replace(tensor, data=None),
            replace(tensor, data=np.array(random.choice(HOSTILE_NUMBERS, 4), np.int32)),
            replace(tensor, data=np.zeros((), np.int8)),
        )[random.integers(10)]

    refused = 0
    for case in generate(operator, 150, seed=11):
        node = case.node
        options = copy.copy(node.options)
        numbers = [k for k, v in vars(options).items() if isinstance(v, int)]
        if numbers and random.random() < 0.5:
            setattr(options, numbers[random.integers(len(numbers))], int(random.choice(HOSTILE_NUMBERS)))
        outputs = tuple(t for t in map(damaged, node.outputs) if t is not None)
        inputs = tuple(map(damaged, node.inputs))[
            : random.integers(len(node.inputs) + 1) if random.random() < 0.1 else None
        ]
        try:
            op = read(replace(node, inputs=inputs, outputs=outputs, options=options))
        except Refused as error:
            refused += 1
            assert error.problems and all(error.problems)
        else:
            assert op.call().params and op.macs() >= 0
    assert refused >= 50


def test_views_set_the_stride_that_kernels_read_with():
    op = next(case.op for case in generate("CONV_2D", 20) if case.op.inputs[0].view is None)
    view = replace(op.inputs[0], view=View(5, 0, 77))
    assert dict(numbers(replace(op, inputs=(view,)).call().params))["input.stride"] == 77


def test_a_fully_connected_layer_over_several_rows_is_refused():
    node = node_of("FULLY_CONNECTED")
    source, weights, *rest = node.inputs
    rows = replace(source, shape=(1, 2, weights.shape[1] // 2)) if weights.shape[1] % 2 == 0 else None
    if rows is None:
        data = np.ones((weights.shape[0], 4), np.int8)
        weights, rows = replace(weights, shape=data.shape, data=data), replace(source, shape=(1, 2, 2))
    several = replace(node.outputs[0], shape=(1, 2, weights.shape[0]))
    node = option(keepNumDims=True)(replace(node, inputs=(rows, weights, *rest), outputs=(several,)))
    with pytest.raises(Refused, match="supported: one row"):
        read(node)
