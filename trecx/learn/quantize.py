"""Trained Keras models to int8 `.tflite` files whose outputs carry the names of the exits."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlperf_tiny.task import Data, Split, Task
from trecx import documents
from trecx.errors import TrecxError
from trecx.files import write_bytes, write_json
from trecx.learn.exits import Method
from trecx.learn.exits.method import FINAL
from trecx.learn.flatbuffer import describe, problems
from trecx.learn.fuse import fuse
from trecx.learn.keras import keras, quantization, quiet, save, seed, tensorflow
from trecx.learn.loop import Checkpoints, Progress, Record, Stage, fingerprint, fit
from trecx.learn.settings import QuantizeSettings, TrainSettings
from trecx.learn.train import BACKBONE, HISTORY, MODEL, accuracies, exit_scores

_CHECKPOINT = "checkpoint-qat.npz"
_QAT = "qat.h5"  # TFMOT's wrappers lose variables in the .keras format


def quantize(
    task: Task,
    data: Data,
    method: Method,
    folder: Path,
    out: Path,
    settings: QuantizeSettings,
    progress: Progress,
) -> tuple[str, ...]:
    """Write `<task>.tflite`, an int8 output per exit and gate, and `backbone.tflite`, the plain backbone, into `out`.

    Reads what `train` left in `folder`; a model that came with its exits has no backbone and cannot be fine-tuned.
    Activation ranges come from training samples only; where the task has an official input quantization, the files have
    exactly that. The backbone is always quantized after training, as the
    benchmark does it. Fine-tuning that was interrupted goes on from its checkpoint in `out` when called again with the
    same arguments; nothing of it stays once the files are written. Returns the names of the convolutions that were
    fused from two (`fuse.py`) before anything was fine-tuned or quantized. Raises TrecxError where a model is missing
    or the result is not what was promised.
    """
    if method.untunable and settings.scheme == "qat":
        raise TrecxError(method.untunable, "Quantize it after training: --quantize ptq.")
    model, fused = fuse(_load(folder / MODEL))
    backbone = _load(folder / BACKBONE) if method.grows else None
    out.mkdir(parents=True, exist_ok=True)
    calibration = representative(task, data.train, settings)
    if settings.scheme == "qat":
        tuned = tune(task, data, method, model, backbone, _trained_with(folder, settings), out, progress)
        converted = convert(tuned, task, method.outputs, None)
    else:
        converted = convert(model, task, method.outputs, calibration)
    progress(1, 2) if settings.scheme == "ptq" else None
    if backbone is not None:
        write_bytes(out / "backbone.tflite", convert(backbone, task, (FINAL,), calibration))
    write_bytes(out / f"{task.name}.tflite", converted)
    (out / _CHECKPOINT).unlink(missing_ok=True)
    progress(1, 1)
    return fused


def representative(task: Task, split: Split, settings: QuantizeSettings) -> np.ndarray:
    """Samples that fix the activation ranges, float32 `(samples, ...)`, drawn from the training data by seed.

    Where the task has an official input quantization they are clipped to its range, and for each end of the range the
    sample that comes closest joins them with that value put exactly there: the converter then finds exactly that scale
    and zero point, and no unlikely sample widens the ranges behind the input.
    """
    rng = np.random.default_rng(settings.seed)
    index = rng.choice(len(split), min(settings.samples, len(split)), replace=False)
    span = _input_range(task)
    if span is None:
        return split.x[index].astype(np.float32)
    flat = split.x.reshape(len(split), -1)
    ends = np.clip(flat[[flat.min(1).argmin(), flat.max(1).argmax()]], *span).astype(np.float32)
    ends[0, ends[0].argmin()], ends[1, ends[1].argmax()] = span
    chosen = np.clip(split.x[index], *span).astype(np.float32)
    return np.concatenate([chosen, ends.reshape(2, *split.x.shape[1:])])


def convert(model: Any, task: Task, outputs: tuple[str, ...], calibration: np.ndarray | None) -> bytes:
    """An int8 `.tflite` with batch 1 and the outputs `outputs`, in the order of the model's outputs.

    `calibration` are samples for the ranges of activations; None takes the ranges from a quantization-aware model.
    Dense weights have one scale per tensor in both cases. Raises TrecxError where the result is not fully int8, uses
    other operators than the compiler's, or has another input quantization than the task.
    """
    tf = tensorflow()

    def named(x: Any) -> dict[str, Any]:
        found = model(x, training=False)
        return dict(zip(outputs, found if isinstance(found, list) else [found], strict=True))

    def samples() -> Iterator[list[np.ndarray]]:
        for sample in calibration if calibration is not None else ():
            yield [sample[None]]

    with quiet():
        signature = tf.TensorSpec((1, *task.input_shape), tf.float32, name="input")
        function = tf.function(named).get_concrete_function(signature)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        if calibration is not None:  # with ranges in the model, asking for int8 operators would demand samples
            converter.representative_dataset = samples
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converted = bytes(converter.convert())
    wrong = problems(describe(converted), outputs, task.input_quant)
    if wrong:
        raise TrecxError(wrong, "Please report this with the versions that `trecx doctor` prints.")
    return converted


def tune(
    task: Task,
    data: Data,
    method: Method,
    model: Any,
    teacher: Any,
    settings: TrainSettings,
    out: Path,
    progress: Progress,
) -> Any:
    """Fine-tune `model` with quantization in the loop; returns the model as reloaded from `out`/qat.h5.

    The checkpoint stays in `out` for whoever is interrupted before the tuned model is converted.
    """
    seed(settings.seed)
    try:
        with quiet():
            aware = quantization().quantize_model(model)
    except (ValueError, RuntimeError) as error:  # TFMOT does not know a layer
        told = (str(error).splitlines() or [""])[0][:300]
        problem = f"The model cannot be fine-tuned with quantization in the loop: {told}"
        raise TrecxError(problem, "Quantize it after training: --quantize ptq.") from error
    train = replace(data.train, x=_clipped(task, data.train.x))
    _set_ranges(aware, model, train.x[np.random.default_rng(settings.seed).permutation(len(train))[:500]])
    _set_input_range(aware, task)
    # The last phase's loss, with everything learning: rounding moves the backbone too.
    loss = method.phases(model, replace(settings, frozen=False))[-1].loss
    stage = Stage("qat", 2, aware, method.outputs, loss, settings.epochs, teacher=teacher, prefix="quant_")
    identity = fingerprint("qat", task.name, method, settings, train.x, train.y, *model.get_weights())

    def evaluate() -> Record:
        return accuracies(data.validation, exit_scores(method, aware)(_clipped(task, data.validation.x)))

    history = fit(stage, train, settings, Checkpoints(out / _CHECKPOINT, identity), evaluate, progress)
    _set_input_range(aware, task)
    with quiet():
        save(aware, out / _QAT)
        with quantization().quantize_scope():
            reloaded = keras().models.load_model(out / _QAT, compile=False)
    write_json(out / "qat-history.json", history)
    return reloaded


def _set_ranges(aware: Any, model: Any, samples: np.ndarray) -> None:
    """Start every activation range of the quantization-aware model at what the trained model shows.

    TFMOT starts at [-6, 6] and moves by a thousandth per step, which costs far more steps than fine-tuning needs.
    """
    layers = {layer.name: layer for layer in model.layers[1:]}
    seen = keras().Model(model.input, {name: layer.output for name, layer in layers.items()})
    outputs = seen.predict_on_batch(samples)
    for wrapper in aware.layers:
        inner = getattr(wrapper, "layer", None)
        if inner is None or inner.name not in outputs:
            continue
        found = outputs[inner.name]
        for variable in wrapper.non_trainable_variables:
            kind = variable.name.split("/")[-1].removesuffix(":0")
            if kind.startswith(("output_", "post_activation_")):
                variable.assign(min(0.0, found.min()) if kind.endswith("_min") else max(0.0, found.max()))


def _set_input_range(aware: Any, task: Task) -> None:
    """Fix the quantization of the input to the task's."""
    span = _input_range(task)
    if span is None:
        return
    for layer in aware.layers:
        if type(layer).__name__ == "QuantizeLayer":
            for variable in layer.non_trainable_variables:
                if variable.name.endswith(("_min:0", "_max:0")):
                    variable.assign(span[variable.name.endswith("_max:0")])


def _input_range(task: Task) -> tuple[np.float32, np.float32] | None:
    """Smallest and largest input that the task's official quantization can tell apart from its neighbours."""
    if task.input_quant is None:
        return None
    scale, zero_point = task.input_quant
    low, high = (scale * (q - zero_point) for q in (-128, 127))
    return np.float32(low), np.float32(high)


def _clipped(task: Task, x: np.ndarray) -> np.ndarray:
    span = _input_range(task)
    return x if span is None else np.clip(x, *span)


def _trained_with(folder: Path, settings: QuantizeSettings) -> TrainSettings:
    """The settings of the training in `folder`, with the length and speed of the fine-tuning."""
    path, known = folder / HISTORY, {field.name for field in fields(TrainSettings)}
    told = documents.required(path, "Train again.", "settings")
    try:
        kept = {name: value for name, value in dict(told["settings"]).items() if name in known}
        base: TrainSettings = documents.typed(TrainSettings, kept | {"weights": None, "teacher": None})
    except (ValueError, TypeError) as error:
        raise TrecxError(f"{path} is damaged: {error}.", "Train again.") from error
    return replace(
        base, seed=settings.seed, epochs=settings.epochs, learning_rate=settings.learning_rate, schedule="cosine"
    )


def _load(path: Path) -> Any:
    try:
        return keras().models.load_model(path, compile=False)
    except (OSError, ValueError) as error:
        problem = f"{path} cannot be read: {str(error).splitlines()[0]}"
        raise TrecxError(problem, "Run the training step first.") from error
