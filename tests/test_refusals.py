"""Valid files that are not supported are refused for what they are, with what would help, and not as corrupt."""

from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema
from test_tflite import changed

from trecx.compiler import tflite
from trecx.errors import TrecxError

CASES = Path(__file__).parent / "cases"


def told(content: bytes) -> str:
    with pytest.raises(TrecxError) as caught:
        tflite.parse(content)
    return str(caught.value)


def weights(model):
    """The weights of the first operator."""
    graph = model.subgraphs[0]
    return graph.tensors[graph.operators[0].inputs[1]]


def test_int4_weights_are_named_as_that():
    assert "is int4; supported constants: int8, int32" in told((CASES / "m18_int4_weights.tflite").read_bytes())


def test_two_signatures_are_named_as_that():
    assert "2 subgraphs of 2 signatures" in told((CASES / "two_signatures.tflite").read_bytes())


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("m1_fc_weight_zero_point", ["FULLY_CONNECTED", "weights have a zero point"]),
        ("group_conv", ["CONV_2D", "weights expect 2 channels, input has 8; supported: one group"]),
        ("esptflm86_mul_broadcast", ["RESHAPE", "new shape must be a constant", "MUL", "not supported"]),
        ("keras3_dynamic_batch", ["PACK", "not supported", "RESHAPE", "new shape must be a constant"]),
        ("tflm3522_int16x8_nobias", ["input 0 is int16; supported: int8", "output is int16", "inference_input_type"]),
        ("relu_n1_clip", ["fused activation RELU_N1_TO_1; supported: NONE, RELU, RELU6"]),
    ],
)
def test_what_others_run_and_this_compiler_does_not_is_refused_with_every_reason(name, reasons):
    """Models after public reports, all of which TensorFlow Lite Micro runs."""
    found = told((CASES / f"{name}.tflite").read_bytes())
    assert [reason for reason in reasons if reason not in found] == []


def test_sparse_weights_are_named_as_that():
    def edit(model):
        weights(model).sparsity = schema.SparsityParametersT()

    assert "is sparse; supported: dense weights" in told(changed(edit))


def test_a_tensor_without_elements_is_that_of_its_operator():
    """As the scratch inputs of UNIDIRECTIONAL_SEQUENCE_LSTM are."""

    def edit(model):
        weights(model).shape = [0]
        model.operatorCodes[model.subgraphs[0].operators[1].opcodeIndex].builtinCode = 44

    found = told(changed(edit))
    assert "has shape (0,), no element" in found and "UNIDIRECTIONAL_SEQUENCE_LSTM" in found and "corrupt" not in found


def test_float_borders_are_said_with_the_operators_and_with_what_helps():
    def edit(model):
        graph = model.subgraphs[0]
        for index in (graph.inputs[0], graph.outputs[0]):
            graph.tensors[index].type = schema.TensorType.FLOAT32
        model.operatorCodes[graph.operators[1].opcodeIndex].builtinCode = 44

    found = told(changed(edit))
    assert "input 'serving_default_input:0' is float32; supported: int8." in found
    assert "output 'StatefulPartitionedCall:0' is float32; supported: int8." in found and "not supported" in found
    assert "inference_input_type = inference_output_type = tf.int8" in found
