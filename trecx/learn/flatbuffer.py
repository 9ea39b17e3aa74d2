"""What a converted file says about itself, read from the flatbuffer: what the conversion promised is checked here."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

ALLOWED = (
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "ADD",
    "AVERAGE_POOL_2D",
    "MAX_POOL_2D",
    "MEAN",
    "RESHAPE",
    "SOFTMAX",
    "CONCATENATION",
    "STRIDED_SLICE",
    "SPLIT",
    "PAD",
    "QUANTIZE",
)
_OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_TYPES = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}


@dataclass(frozen=True)
class Description:
    """Operators in file order, activation types, quantization of the input, and outputs by signature name."""

    operators: tuple[str, ...]
    activations: tuple[str, ...]
    input_shape: tuple[int, ...]
    input_scale: float
    input_zero_point: int
    outputs: tuple[str, ...]


def describe(model: bytes) -> Description:
    """Read a `.tflite`'s first subgraph and signature."""
    root = schema.ModelT.InitFromPackedBuf(model, 0)
    graph = root.subgraphs[0]
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in root.operatorCodes]
    source = graph.tensors[graph.inputs[0]]
    active = {int(i) for op in graph.operators for i in (op.inputs[0], *op.outputs)}
    scale, zero_point = _quantization(source)
    return Description(
        operators=tuple(_OPERATORS[codes[op.opcodeIndex]] for op in graph.operators),
        activations=tuple(sorted({_TYPES[graph.tensors[i].type] for i in active})),
        input_shape=tuple(int(n) for n in source.shape),
        input_scale=scale,
        input_zero_point=zero_point,
        outputs=tuple(sorted(_text(o.name) for s in root.signatureDefs or [] for o in s.outputs)),
    )


def problems(found: Description, outputs: tuple[str, ...], input_quant: tuple[float, int] | None) -> list[str]:
    """What keeps a converted file from being the one that was asked for."""
    wrong = sorted(set(found.operators) - set(ALLOWED))
    answers = []
    if wrong:
        answers.append(f"The converted model uses operators that are not compiled: {', '.join(wrong)}.")
    if found.activations != ("INT8",):
        answers.append(f"The converted model is not int8 throughout: its tensors are {', '.join(found.activations)}.")
    if found.outputs != tuple(sorted(outputs)):
        answers.append(f"The converted model's outputs are {', '.join(found.outputs)}, not {', '.join(outputs)}.")
    if input_quant is not None:
        scale, zero_point = input_quant
        if (np.float32(scale), zero_point) != (np.float32(found.input_scale), found.input_zero_point):
            told = f"scale {found.input_scale!r}, zero point {found.input_zero_point}"
            answers.append(f"The input has {told}; the task's official inputs have {scale!r}, {zero_point}.")
    return answers


def _quantization(tensor: Any) -> tuple[float, int]:
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or not len(quantization.scale):
        return 0.0, 0
    return float(quantization.scale[0]), int(quantization.zeroPoint[0])


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
