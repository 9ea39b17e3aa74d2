"""Quantized models: fully int8, outputs by name, the official input grid, operators that are compiled."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tf_keras")

from tiny_task import DATA, METHOD, TASK

from mlperf_tiny import KWS
from mlperf_tiny.task import Data, Split
from trecx.compiler.ops import OPS
from trecx.compiler.tflite import OPERATOR_NAMES
from trecx.errors import TrecxError
from trecx.judge.reference import litert_tensors
from trecx.learn.exits.trecx import TRecX
from trecx.learn.flatbuffer import ALLOWED, describe, problems
from trecx.learn.keras import keras, save
from trecx.learn.quantize import quantize, representative
from trecx.learn.settings import QuantizeSettings, TrainSettings
from trecx.learn.train import attach, plain, train

FEW = QuantizeSettings(samples=20, epochs=3, learning_rate=1e-3)


def quietly(done: int, total: int) -> None:
    assert 0 <= done <= total


def output_tensors(model: bytes) -> dict[str, int]:
    """Tensor indices of scores, by output name."""
    from ai_edge_litert import schema_py_generated as schema

    root = schema.ModelT.InitFromPackedBuf(model, 0)
    return {o.name.decode(): int(o.tensorIndex) for o in root.signatureDefs[0].outputs}


def int8_scores(model: bytes, task, x: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    scale, zero_point = task.input_quant
    q = np.clip(np.rint(x / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)
    scores = output_tensors(model)
    every = [litert_tensors(model, sample) for sample in q]
    found = np.stack([[one[scores[name]].reshape(-1) for name in names] for one in every])
    return (found.astype(np.float32) + 128) / 256


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    settings = TrainSettings(
        backbone_epochs=10, epochs=10, steps_per_epoch=20, batch=20, learning_rate=1e-2, schedule="cosine"
    )
    train(TASK, DATA, METHOD, settings, folder, quietly)
    return folder


def test_what_may_be_converted_is_what_can_be_compiled():
    """Two lists, since learning knows no compiler; states are made of no Keras layer that is allowed."""
    compiled = {OPERATOR_NAMES.get(code, code) for code in OPS}
    assert compiled - set(ALLOWED) == {"CIRCULAR_BUFFER"} and set(ALLOWED) <= compiled


def test_kws_converts_to_the_operators_and_input_grid_that_the_runner_and_the_compiler_expect(tmp_path):
    backbone = plain(KWS)
    save(backbone, tmp_path / "backbone.keras")
    save(attach(KWS, TRecX(KWS.attachments[0]), backbone), tmp_path / "model.keras")
    rng = np.random.default_rng(0)
    samples = Split("train", "", rng.normal(-20, 30, (30, *KWS.input_shape)).astype(np.float32), np.zeros(30, np.int32))
    quantize(KWS, Data(samples, samples, samples), TRecX(KWS.attachments[0]), tmp_path, tmp_path / "out", FEW, quietly)
    found = describe((tmp_path / "out/kws.tflite").read_bytes())
    assert found.outputs == ("early", "final")
    assert found.activations == ("INT8",)
    assert found.input_shape == (1, 49, 10, 1)
    assert (np.float32(found.input_scale), found.input_zero_point) == (np.float32(0.58470291), 83)
    assert set(found.operators) <= set(ALLOWED)
    assert found.operators.count("DEPTHWISE_CONV_2D") == 6
    assert found.operators.count("SOFTMAX") == 2
    alone = describe((tmp_path / "out/backbone.tflite").read_bytes())
    assert alone.outputs == ("final",)
    assert (np.float32(alone.input_scale), alone.input_zero_point) == (np.float32(0.58470291), 83)
    assert alone.operators.count("FULLY_CONNECTED") == 1


@pytest.fixture(scope="module", params=["ptq", "qat"])
def converted(request, trained, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    quantize(TASK, DATA, METHOD, trained, out, replace(FEW, scheme=request.param), quietly)
    return request.param, out


def test_a_quantized_model_answers_like_the_float_model(trained, converted):
    scheme, out = converted
    model = (out / "tiny.tflite").read_bytes()
    found = describe(model)
    assert problems(found, ("early", "final"), TASK.input_quant) == []
    assert set(found.operators) <= set(ALLOWED)
    expected = keras().models.load_model(trained / "model.keras", compile=False).predict(DATA.train.x, verbose=0)
    scores = int8_scores(model, TASK, DATA.train.x, METHOD.exits)
    for index in range(2):
        agree = (scores[:, index].argmax(-1) == expected[index].argmax(-1)).mean()
        # Eight filters and 40 samples: a few borderline samples flip, more where no fine-tuning makes up for rounding.
        assert agree >= (0.85 if scheme == "qat" else 0.6)
        assert (scores[:, index].argmax(-1) == DATA.train.y).mean() > 0.5  # chance is 0.2
        # A score's step is 1/256; the logits' rounding, through the exponential, moves it by several of them.
        assert np.abs(scores[:, index] - expected[index]).mean() < (0.05 if scheme == "qat" else 0.15)


def test_quantizing_leaves_models_and_history_and_nothing_half_done(converted):
    scheme, out = converted
    tuned = ["qat-history.json", "qat.h5"] if scheme == "qat" else []
    assert sorted(p.name for p in out.iterdir()) == ["backbone.tflite", *tuned, "tiny.tflite"]
    if tuned:
        assert len(json.loads((out / "qat-history.json").read_text())) == 3


def without_names(model: bytes) -> list[tuple]:
    """Content, shape and quantization of every tensor: Keras numbers its names through the whole process."""
    from ai_edge_litert import schema_py_generated as schema

    root = schema.ModelT.InitFromPackedBuf(model, 0)
    found = []
    for tensor in root.subgraphs[0].tensors:
        grid = tensor.quantization
        scales = None if grid is None or grid.scale is None else (list(grid.scale), list(grid.zeroPoint))
        content = root.buffers[tensor.buffer].data
        found.append((list(tensor.shape), tensor.type, scales, None if content is None else bytes(content)))
    return found


class Stop(Exception):
    """An interruption."""


@pytest.mark.parametrize("epochs", [1, 2])
def test_fine_tuning_lasts_as_many_epochs_as_set(trained, tmp_path, epochs):
    chosen = replace(FEW, scheme="qat", epochs=epochs)
    seen = []
    quantize(TASK, DATA, METHOD, trained, tmp_path, chosen, lambda done, total: seen.append((done, total)))
    assert seen[:-1] == [(step, 20 * epochs) for step in range(20 * epochs + 1)]  # 20 steps per epoch in training
    assert len(json.loads((tmp_path / "qat-history.json").read_text())) == epochs


# Three epochs of 20 steps: within the second, at the end of the last, and after it, while converting.
@pytest.mark.parametrize(("step", "continues_at"), [(30, 20), (60, 40), (1, 60)])
def test_interrupted_fine_tuning_ends_in_the_files_of_an_uninterrupted_one(
    trained, tmp_path, monkeypatch, step, continues_at
):
    chosen = replace(FEW, scheme="qat")
    quantize(TASK, DATA, METHOD, trained, tmp_path / "whole", chosen, quietly)

    def stop(*anything) -> None:
        if step == 1 or anything[0] == step:
            raise Stop

    with monkeypatch.context() as broken, pytest.raises(Stop):
        if step == 1:
            broken.setattr("trecx.learn.quantize.convert", stop)
        quantize(TASK, DATA, METHOD, trained, tmp_path / "cut", chosen, quietly if step == 1 else stop)
    assert not list((tmp_path / "cut").glob("*.tflite"))
    seen = []
    quantize(TASK, DATA, METHOD, trained, tmp_path / "cut", chosen, lambda done, total: seen.append(done))
    assert seen[0] == continues_at
    one, other = tmp_path / "cut", tmp_path / "whole"
    assert (one / "qat-history.json").read_bytes() == (other / "qat-history.json").read_bytes()
    for file in ("tiny.tflite", "backbone.tflite"):
        assert without_names((one / file).read_bytes()) == without_names((other / file).read_bytes())
    assert not list((tmp_path / "cut").glob("checkpoint*"))


def test_quantizing_again_gives_the_same_bytes(trained, tmp_path):
    for name in "ab":
        quantize(TASK, DATA, METHOD, trained, tmp_path / name, replace(FEW, samples=5), quietly)
    for file in ("tiny.tflite", "backbone.tflite"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_representative_samples_end_where_the_official_input_ends():
    wide = replace(DATA.train, x=DATA.train.x * 50)
    for samples in (representative(TASK, DATA.train, FEW), representative(TASK, wide, FEW)):
        assert len(samples) == 22
        assert (samples.min(), samples.max()) == (-105.5, 22.0)
    assert np.array_equal(representative(TASK, DATA.train, FEW), representative(TASK, DATA.train, FEW))
    free = representative(replace(TASK, input_quant=None), DATA.train, FEW)
    assert all(any(np.array_equal(sample, x) for x in DATA.train.x) for sample in free)


def test_without_an_official_grid_the_converter_chooses_the_input_range(trained, tmp_path):
    quantize(replace(TASK, input_quant=None), DATA, METHOD, trained, tmp_path, FEW, quietly)
    found = describe((tmp_path / "tiny.tflite").read_bytes())
    assert 0 < found.input_scale != 0.5
    assert problems(found, ("early", "final"), TASK.input_quant)


def test_a_folder_without_models_is_refused(tmp_path):
    with pytest.raises(TrecxError, match=r"model\.keras cannot be read") as refusal:
        quantize(TASK, DATA, METHOD, tmp_path, tmp_path / "out", FEW, quietly)
    assert "training" in refusal.value.hint
    (tmp_path / "model.keras").write_bytes(b"PK nonsense")
    with pytest.raises(TrecxError, match=r"model\.keras cannot be read"):
        quantize(TASK, DATA, METHOD, tmp_path, tmp_path / "out", FEW, quietly)


def test_a_conversion_that_breaks_its_promise_is_named():
    found = describe_like(operators=("CONV_2D", "TANH"), activations=("FLOAT32", "INT8"), outputs=("a",))
    told = "\n".join(problems(found, ("early", "final"), (0.5, 0)))
    assert [word in told for word in ("TANH", "FLOAT32", "outputs are a", "scale 0.25")] == [True] * 4


def describe_like(**fields):
    from trecx.learn.flatbuffer import Description

    return Description(input_shape=(1, 2, 2, 1), input_scale=0.25, input_zero_point=0, **fields)


def test_quantize_settings_out_of_range_are_refused():
    with pytest.raises(TrecxError) as refusal:
        QuantizeSettings(scheme="int4", samples=0, learning_rate=0)
    assert len(refusal.value.problems) == 3
