"""Files that contradict themselves: refused, or computed as TFLM computes them."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from differential import Judge
from flatbuffers import Builder
from networks import awkward

from trecx.compiler import tflite
from trecx.errors import TrecxError

CASES = Path(__file__).parent / "cases"
CONTENT, EXITS = awkward(0)


def changed(edit, content=CONTENT):
    """A model after an edit of its object tree."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    edit(model)
    builder = Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operator(model, code):
    """The first operator of a builtin code."""
    return next(o for o in model.subgraphs[0].operators if model.operatorCodes[o.opcodeIndex].builtinCode == code)


@pytest.mark.parametrize(
    ("name", "exits", "reason"),
    [
        ("differ_428", EXITS, "is a variable, which outlives a run"),
        ("differ_100919", EXITS, "depth multiplier is 0"),
        ("differ_911", None, "32 scales and 0 zero points"),
        ("m27_dw_wrong_multiplier", None, "depth multiplier is 1, but weights make 15 channels of 5"),
    ],
)
def test_what_tflm_computes_otherwise_is_refused(name, exits, reason):
    with pytest.raises(TrecxError, match=reason):
        tflite.load(CASES / f"{name}.tflite", exits)


def test_a_depth_multiplier_that_the_channels_contradict_is_refused():
    def edit(model):
        operator(model, schema.BuiltinOperator.DEPTHWISE_CONV_2D).builtinOptions.depthMultiplier = 2

    with pytest.raises(TrecxError, match="depth multiplier is 2"):
        tflite.parse(changed(edit), EXITS)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda m: m.subgraphs[0].outputs.pop(), "the signature names .* as an output, the graph does not"),
        (lambda m: m.signatureDefs[0].outputs.pop(), "the graph names .* as an output, the signature does not"),
        (lambda m: m.signatureDefs[0].outputs.clear(), "the graph names .* as an output, the signature does not"),
        (lambda m: m.signatureDefs[0].inputs.clear(), "the graph names .* as an input, the signature does not"),
        (lambda m: setattr(m.signatureDefs[0].outputs[0], "name", "soon"), "the signature names two outputs 'soon'"),
        (lambda m: setattr(m.signatureDefs[0].outputs[0], "tensorIndex", 999), "tensor 999, which does not exist,"),
    ],
)
def test_a_signature_and_a_graph_that_disagree_are_refused(edit, reason):
    def of_lists(model):
        model.subgraphs[0].outputs = list(model.subgraphs[0].outputs)
        edit(model)

    with pytest.raises(TrecxError, match=reason):
        tflite.parse(changed(of_lists), EXITS)


@pytest.mark.parametrize("zero_points", [(), (0, 0)])
def test_activations_with_another_number_of_zero_points_than_scales_are_refused(zero_points):
    def edit(model):
        tensor = operator(model, schema.BuiltinOperator.FULLY_CONNECTED).outputs[0]
        model.subgraphs[0].tensors[tensor].quantization.zeroPoint = np.array(zero_points, np.int64)

    with pytest.raises(TrecxError, match=f"1 scales and {len(zero_points)} zero points; supported: 1 of each"):
        tflite.parse(changed(edit), EXITS)


def test_one_zero_point_of_all_scales_is_what_tflm_takes_it_for(tmp_path):
    def edit(model):
        weights = operator(model, schema.BuiltinOperator.CONV_2D).inputs[1]
        model.subgraphs[0].tensors[weights].quantization.zeroPoint = np.array([0], np.int64)

    with Judge(tmp_path) as judge:
        assert judge.verdict(changed(edit), EXITS) == "equal"
