"""The oracle: interpreters of the same `.tflite`. The only module that imports one.

TFLM (`tflite-micro`, the pinned wheel) defines what is right: its C++ reference kernels and CMSIS-NN on Cortex-M give
the same bytes. LiteRT's reference kernels are a second opinion.

Both interpreters are C++ that trusts its input and aborts the process on a malformed file, so they are given only
models that the compiler has already read and accepted; `isolated` keeps even an abort away from the caller.
"""

import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import metadata
from importlib.util import find_spec
from itertools import accumulate
from math import prod
from multiprocessing import get_context
from typing import Any

import numpy as np

from trecx.decision import exit_taken, statistics
from trecx.errors import ToolMissing, TrecxError
from trecx.judge.trace import Reading, Trace

Progress = Callable[[int, int], None]
_PROGRESS_STEP = 16
# What the interpreters and the flatbuffers' own reader raise on damaged files.
_REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, struct.error)


def tflm_version() -> str:
    """Name and version of the oracle, for reports."""
    return _version("tflite-micro")


def litert_version() -> str:
    """Name and version of the second opinion, for reports."""
    return _version("ai-edge-litert")


def tflm_trace(
    model: bytes,
    reading: Reading,
    inputs: np.ndarray,
    limits: Sequence[int],
    labels: np.ndarray | None = None,
    progress: Progress | None = None,
    apart: bool = False,
) -> Trace:
    """What TFLM answers to int8 `inputs` `(n, *Graph.sample_shape)`, every exit evaluated for every sample.

    `reading` says which tensors are the exits', `limits` has one for each decision. The exit taken is
    `decision.exit_taken`. Of a model with a state the samples are a stream, or, `apart`, the first of one each.
    """
    interpreter, shapes = _tflm(model), _inputs(model)

    def answer(sample: np.ndarray) -> dict[int, np.ndarray]:
        if apart:
            interpreter.reset()
        # The interpreter reuses the input's memory for later tensors: it must be set before every run.
        for number, values in enumerate(_parts(sample, shapes)):
            interpreter.set_input(values, number)
        interpreter.invoke()
        return {k: np.array(interpreter.GetTensor(k, 0)["tensor_data"]).reshape(-1) for k in _wanted(reading)}

    return _trace(answer, reading, inputs, limits, labels, progress)


def tflm_tensors(model: bytes, *samples: np.ndarray) -> dict[int, np.ndarray]:
    """Every int8 activation that TFLM computes for the last sample, by tensor index, in the tensor's own shape."""
    interpreter = _tflm(model)
    for sample in samples:
        for number, values in enumerate(_parts(sample, _inputs(model))):
            interpreter.set_input(values, number)
        interpreter.invoke()
    return {
        index: np.array(interpreter.GetTensor(index, 0)["tensor_data"], dtype=np.int8).reshape(shape)
        for index, shape in _operator_outputs(model).items()
    }


def litert_tensors(model: bytes, sample: np.ndarray) -> dict[int, np.ndarray]:
    """Every int8 activation that LiteRT's reference kernels compute for one sample, by tensor index."""
    interpreter = _litert(model)
    for entry, values in zip(interpreter.get_input_details(), _parts(sample, _inputs(model)), strict=True):
        interpreter.set_tensor(entry["index"], values)
    interpreter.invoke()
    return {index: np.array(interpreter.get_tensor(index), np.int8) for index in _operator_outputs(model)}


def isolated(function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None) -> Any:
    """Call a function of a module in a process of its own, so that an interpreter's abort is an error message.

    `progress` cannot cross; leave it out. Costs about half a second for the new process, which ends after `timeout_s`.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        running = pool.submit(function, *arguments)
        try:
            return running.result(timeout_s)
        except TimeoutError as error:
            for process in list((pool._processes or {}).values()):
                process.kill()
            raise TrecxError(f"The reference interpreter took over {timeout_s:.0f} s.") from error
        except BrokenProcessPool as error:
            raise TrecxError(
                "The reference interpreter crashed on this model.",
                "The file is malformed in a way that only an interpreter notices; convert the model again.",
            ) from error


def _wanted(reading: Reading) -> set[int]:
    """The tensors that a trace is made of."""
    return {*(k for group in reading.outputs for k in group), *reading.logits, *reading.decides}


def _trace(
    answer: Callable[[np.ndarray], dict[int, np.ndarray]],
    reading: Reading,
    inputs: np.ndarray,
    limits: Sequence[int],
    labels: np.ndarray | None,
    progress: Progress | None,
) -> Trace:
    if inputs.dtype != np.int8:
        raise TrecxError(f"Inputs are {inputs.dtype}, the model takes int8.", "Quantize them with the input's scale.")
    rows: list[dict[int, np.ndarray]] = []
    try:
        for done, sample in enumerate(inputs):
            if progress and done % _PROGRESS_STEP == 0:
                progress(done, len(inputs))
            rows.append(answer(sample))
    except _REFUSALS as error:
        raise TrecxError(f"The reference interpreter cannot run this model: {error}.") from error
    if progress:
        progress(len(inputs), len(inputs))
    if not rows:
        raise TrecxError("There are no samples to run.", "Give the reference at least one input.")

    def every(index: int) -> np.ndarray:
        return np.stack([row[index] for row in rows]).astype(np.int8, copy=False)

    exits = len(reading.outputs)
    logits = [every(k) for k in reading.logits] or [np.zeros((len(rows), 0), np.int8)] * exits
    found = statistics(reading.decisions, [every(k) for k in reading.decides], len(rows))
    return Trace(
        logits=np.stack(logits, axis=1),
        scores=np.stack([np.concatenate([every(k) for k in group], axis=1) for group in reading.outputs], axis=1),
        exit_taken=exit_taken(found, limits, exits),
        labels=None if labels is None else np.asarray(labels, np.int32),
        statistics=found,
    )


def _tflm(model: bytes) -> Any:
    if find_spec("tflite_micro") is None:
        raise ToolMissing(
            "The oracle, tflite-micro, is not installed.", "Install trecx again; its wheels are for Linux on x86-64."
        )
    from tflite_micro import runtime

    try:
        # With every tensor preserved nothing shares memory: room for all of them, 16-byte aligned, and the bookkeeping.
        arena = sum(prod(shape) + 64 for shape in _activations(model).values()) + 4 * len(model) + 2**18
        return runtime.Interpreter.from_bytes(
            model, arena_size=arena, intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors
        )
    except _REFUSALS as error:
        raise TrecxError(f"TFLM refuses this model: {error}.") from error


def _litert(model: bytes) -> Any:
    if find_spec("ai_edge_litert") is None:
        raise ToolMissing("ai-edge-litert is not installed.", "Install it with: pip install ai-edge-litert.")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            model_content=model,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    except _REFUSALS as error:
        raise TrecxError(f"LiteRT refuses this model: {error}.") from error
    return interpreter


def _inputs(model: bytes) -> dict[int, tuple[int, ...]]:
    """Shapes of the inputs by tensor index, in order."""
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
    inputs = {int(graph.Inputs(k)): graph.Tensors(int(graph.Inputs(k))) for k in range(graph.InputsLength())}
    return {index: tuple(int(t.Shape(k)) for k in range(t.ShapeLength())) for index, t in inputs.items()}


def _parts(sample: np.ndarray, shapes: dict[int, tuple[int, ...]]) -> list[np.ndarray]:
    """A sample as what each input takes: those of several lie in it one after another."""
    ends = list(accumulate(prod(shape) for shape in shapes.values()))
    parts = np.split(sample.reshape(-1), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes.values(), strict=True)]


def _operator_outputs(model: bytes) -> dict[int, tuple[int, ...]]:
    """Shapes of the int8 tensors that operators write, by tensor index in execution order."""
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
    shapes = {}
    for position in range(graph.OperatorsLength()):
        operator = graph.Operators(position)
        for index in (int(operator.Outputs(k)) for k in range(operator.OutputsLength())):
            tensor = graph.Tensors(index)
            if tensor.Type() == schema.TensorType.INT8:
                shapes[index] = tuple(int(tensor.Shape(k)) for k in range(tensor.ShapeLength()))
    return shapes


def _activations(model: bytes) -> dict[int, tuple[int, ...]]:
    """Shapes of the inputs and of the int8 tensors that operators write, by tensor index."""
    return _inputs(model) | _operator_outputs(model)


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError as error:
        raise ToolMissing(f"{package} is not installed.") from error
