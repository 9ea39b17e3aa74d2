"""The oracle on a two-exit model of four operators, written here byte by byte."""

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from synthetic_traces import taken

from trecx.decision import MaxScore
from trecx.errors import ToolMissing, TrecxError
from trecx.judge import reference
from trecx.judge.trace import Reading
from trecx.judge.verify import Operator, first_difference, pair_layers

PIXELS, CLASSES = 24, 5
EARLY_LOGITS, EARLY_SCORES, FINAL_LOGITS, FINAL_SCORES = 5, 6, 7, 8
LOGITS, SCORES = (EARLY_LOGITS, FINAL_LOGITS), (EARLY_SCORES, FINAL_SCORES)
SCALE = 0.1
DECISION = MaxScore(SCALE)
READING = Reading(((EARLY_SCORES,), (FINAL_SCORES,)), LOGITS, (DECISION,), (EARLY_LOGITS,))


def _tensor(name, shape, dtype, buffer, scale, zero_point=0):
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), list(shape), dtype, buffer
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
    return tensor


def _operator(opcode, inputs, output, kind, options):
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = opcode, inputs, [output]
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator


def two_exit_model(seed=7):
    """Input (1, 24) -> FULLY_CONNECTED -> SOFTMAX, twice; returns (bytes, weights, biases)."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (2, CLASSES, PIXELS), np.int8)
    biases = rng.integers(-3000, 3000, (2, CLASSES), np.int32)
    graph = schema.SubGraphT()
    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    graph.tensors = [_tensor("input", (1, PIXELS), int8, 0, 0.05, 3)]
    for k in range(2):
        graph.tensors.append(_tensor(f"weights{k}", (CLASSES, PIXELS), int8, 1 + 2 * k, 0.01))
        graph.tensors.append(_tensor(f"bias{k}", (CLASSES,), int32, 2 + 2 * k, 0.05 * 0.01))
    for name in ("early", "final"):
        graph.tensors.append(_tensor(f"{name}/logits", (1, CLASSES), int8, 0, SCALE, -4))
        graph.tensors.append(_tensor(name, (1, CLASSES), int8, 0, 1 / 256, -128))
    graph.operators = []
    for k in range(2):
        dense, softmax = schema.FullyConnectedOptionsT(), schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        kinds = schema.BuiltinOptions
        graph.operators.append(_operator(0, [0, 1 + 2 * k, 2 + 2 * k], LOGITS[k], kinds.FullyConnectedOptions, dense))
        graph.operators.append(_operator(1, [LOGITS[k]], SCORES[k], kinds.SoftmaxOptions, softmax))
    graph.inputs, graph.outputs = [0], list(SCORES)
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [schema.BufferT()], []
    for k in range(2):
        for array in (weights[k], biases[k]):
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(array.tobytes(), np.uint8)
            model.buffers.append(buffer)
    for builtin in (schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOperator.SOFTMAX):
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, builtin, 4 if builtin == 9 else 2
        model.operatorCodes.append(code)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output()), weights, biases


@pytest.fixture(scope="module")
def model():
    return two_exit_model()


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(1).integers(-128, 128, (200, PIXELS), np.int8)


@pytest.fixture(scope="module")
def trace(model, inputs):
    return reference.tflm_trace(model[0], READING, inputs, (DECISION.limit(0.6),))


def _doubly_rounded(accumulator, real):
    fraction, exponent = np.frexp(real)
    multiplier = int(np.floor(fraction * 2**31 + 0.5))
    high = (accumulator.astype(np.int64) * multiplier + 2**30) >> 31
    shift = -int(exponent)
    return (high + (high >> 63) + 2 ** (shift - 1)) >> shift


def test_logits_are_tflms_doubly_rounded_fully_connected(model, inputs, trace):
    _, weights, biases = model
    sums = (inputs.astype(np.int32) - 3) @ weights.astype(np.int32).transpose(0, 2, 1) + biases[:, None, :]
    real = float(np.float32(0.05) * np.float32(0.01)) / float(np.float32(SCALE))
    expected = np.clip(_doubly_rounded(sums, real) - 4, -128, 127).astype(np.int8)
    assert np.array_equal(trace.logits, expected.transpose(1, 0, 2))


def test_reference_decides_with_the_integer_criterion(trace):
    assert np.array_equal(trace.exit_taken, taken(trace.logits, (DECISION,), (DECISION.limit(0.6),)))
    assert 0 < (trace.exit_taken == 0).sum() < len(trace)
    assert trace.problems() == []


def test_every_sample_is_answered_as_if_it_were_alone(model, inputs, trace):
    alone = reference.tflm_trace(model[0], READING, inputs[77:78], (0,))
    assert np.array_equal(alone.logits[0], trace.logits[77])
    assert np.array_equal(alone.scores[0], trace.scores[77])


def test_layers_hold_what_the_trace_holds(model, inputs, trace):
    layers = reference.tflm_tensors(model[0], inputs[3])
    assert sorted(layers) == sorted((*LOGITS, *SCORES))
    assert layers[FINAL_SCORES].shape == (1, CLASSES)
    assert np.array_equal(layers[EARLY_LOGITS][0], trace.logits[3, 0])
    assert np.array_equal(layers[FINAL_SCORES][0], trace.scores[3, 1])


def test_layers_lead_to_the_operator_that_went_wrong(model, inputs):
    tensors = reference.tflm_tensors(model[0], inputs[3])
    operators = [
        Operator(k, name, tensor)
        for k, (name, tensor) in enumerate(
            [("FULLY_CONNECTED", 5), ("SOFTMAX", 6), ("FULLY_CONNECTED", 7), ("SOFTMAX", 8)]
        )
    ]
    dumps = {op.index: tensors[op.tensor].copy().reshape(-1) for op in operators}
    dumps[2][4] ^= 1
    dumps[3][0] ^= 1
    found = first_difference(pair_layers(operators, tensors, dumps))
    assert found is not None
    assert (found.index, found.name, found.element) == (2, "FULLY_CONNECTED", (0, 4))
    assert found.expected == tensors[7][0, 4]


def test_progress_counts_up_to_all_samples(model, inputs):
    seen = []
    reference.tflm_trace(model[0], READING, inputs[:40], (0,), progress=lambda *a: seen.append(a))
    assert seen[0] == (0, 40) and seen[-1] == (40, 40) and seen == sorted(seen)


def test_float_inputs_and_empty_input_sets_are_refused(model):
    with pytest.raises(TrecxError, match="int8"):
        reference.tflm_trace(model[0], READING, np.zeros((1, PIXELS), np.float32), (0,))
    with pytest.raises(TrecxError, match="no samples"):
        reference.tflm_trace(model[0], READING, np.zeros((0, PIXELS), np.int8), (0,))


def test_a_crash_of_the_interpreter_is_an_error_message(model, inputs):
    same = reference.isolated(reference.tflm_tensors, model[0], inputs[0])
    assert np.array_equal(same[EARLY_SCORES], reference.tflm_tensors(model[0], inputs[0])[EARLY_SCORES])
    with pytest.raises(TrecxError, match="crashed"):
        reference.isolated(_abort)


def _abort():
    import os

    os.abort()


def test_missing_interpreters_say_how_to_get_them(monkeypatch, model):
    monkeypatch.setattr(reference, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match="tflite-micro"):
        reference.tflm_tensors(model[0], np.zeros(PIXELS, np.int8))
    with pytest.raises(ToolMissing, match="litert"):
        reference.litert_tensors(model[0], np.zeros(PIXELS, np.int8))


def test_versions_name_package_and_number():
    assert reference.tflm_version().startswith("tflite-micro 0.")
    assert reference.litert_version().startswith("ai-edge-litert ")
