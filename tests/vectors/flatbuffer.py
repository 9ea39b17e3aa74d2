"""Nodes of the compiler's graph as flatbuffers, so that interpreters compute the very same thing."""

from collections.abc import Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from trecx.compiler.ir import Node, Quant, Tensor

TYPES = {name.lower(): value for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
OPTIONS = {name + "T": value for name, value in vars(schema.BuiltinOptions).items() if isinstance(value, int)}


def flatbuffer(node: Node) -> bytes:
    """The `.tflite` whose inputs are the node's activations, in order, and whose outputs are the node's."""
    sources = [tensor for tensor in node.inputs if tensor is not None and tensor.data is None]
    return network([node], sources, {f"output{k}": tensor for k, tensor in enumerate(node.outputs)})


def network(nodes: Sequence[Node], sources: Sequence[Tensor], outputs: dict[str, Tensor]) -> bytes:
    """A `.tflite` of `nodes` in this order, its outputs named by a signature."""
    tensors = {t.index: t for node in nodes for t in (*node.inputs, *node.outputs) if t is not None}
    tensors |= {t.index: t for t in sources}  # one that no operator reads is an input all the same
    place = {index: k for k, index in enumerate(tensors)}
    names = sorted({node.name for node in nodes})
    subgraph = schema.SubGraphT()
    subgraph.tensors = [_tensor(t, k + 1) for k, t in enumerate(tensors.values())]
    subgraph.inputs, subgraph.outputs = [place[t.index] for t in sources], [place[t.index] for t in outputs.values()]
    subgraph.operators = []
    for node in nodes:
        operator = schema.OperatorT()
        operator.opcodeIndex = names.index(node.name)
        operator.inputs = [-1 if t is None else place[t.index] for t in node.inputs]
        operator.outputs = [place[t.index] for t in node.outputs]
        if isinstance(node.options, bytes):
            operator.customOptions = list(node.options)
        elif node.options is not None:
            operator.builtinOptionsType = OPTIONS[type(node.options).__name__]
            operator.builtinOptions = node.options
        subgraph.operators.append(operator)
    model = schema.ModelT()
    model.version, model.subgraphs = 3, [subgraph]
    model.buffers = [schema.BufferT(), *(_buffer(t.data) for t in tensors.values())]
    model.operatorCodes = []
    for name in names:
        code = schema.OperatorCodeT()
        known = hasattr(schema.BuiltinOperator, name)
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name if known else "CUSTOM")
        code.customCode = None if known else name
        code.version = 1
        model.operatorCodes.append(code)
    model.signatureDefs = [_signature(sources, outputs, place)]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _signature(sources: Sequence[Tensor], outputs: dict[str, Tensor], place: dict[int, int]) -> schema.SignatureDefT:
    def entry(name: str, tensor: Tensor) -> schema.TensorMapT:
        packed = schema.TensorMapT()
        packed.name, packed.tensorIndex = name, place[tensor.index]
        return packed

    packed = schema.SignatureDefT()
    packed.signatureKey = "serving_default"
    packed.inputs = [entry(f"input{k}", source) for k, source in enumerate(sources)]
    packed.outputs = [entry(name, tensor) for name, tensor in outputs.items()]
    return packed


def _tensor(tensor: Tensor, buffer: int) -> schema.TensorT:
    packed = schema.TensorT()
    packed.name = tensor.name
    packed.shape = list(tensor.shape)
    packed.type = TYPES[tensor.dtype]
    packed.buffer = buffer
    packed.isVariable = tensor.variable
    if tensor.quant is not None:
        packed.quantization = schema.QuantizationParametersT()
        packed.quantization.scale = np.array(tensor.quant.scale, np.float32)
        packed.quantization.zeroPoint = np.array(tensor.quant.zero_point, np.int64)
        packed.quantization.quantizedDimension = tensor.quant.axis or 0
    return packed


def _buffer(data: np.ndarray | None) -> schema.BufferT:
    packed = schema.BufferT()
    if data is not None:
        packed.data = np.frombuffer(data.tobytes(), np.uint8)
    return packed


class NodeBuilder:
    """Gives tensors their indices and names while a node is put together."""

    def __init__(self) -> None:
        self.count = 0

    def activation(self, shape: tuple[int, ...], scale: float, zero_point: int) -> Tensor:
        """An int8 activation; the scale is rounded to the float32 that a file holds."""
        return self._new(shape, "int8", Quant((float(np.float32(scale)),), (zero_point,)), None)

    def weights(self, values: np.ndarray, scales: np.ndarray, axis: int) -> Tensor:
        """Symmetric int8 weights, per tensor or per channel along `axis`."""
        quant = Quant(tuple(np.float32(scales).tolist()), (0,) * len(scales), axis if len(scales) > 1 else None)
        return self._new(values.shape, "int8", quant, values)

    def bias(self, values: np.ndarray, source: Tensor, weights: Tensor) -> Tensor:
        """An int32 bias with the scale that TFLite wants it to have: input x weights."""
        assert weights.quant is not None
        scales = np.float32(weights.quant.scale) * np.float32(source.scale)
        quant = Quant(tuple(scales.tolist()), (0,) * len(scales), 0 if len(scales) > 1 else None)
        return self._new(values.shape, "int32", quant, values)

    def integers(self, values: list[int] | list[list[int]]) -> Tensor:
        """An int32 constant without quantization: axes, shapes, paddings."""
        data = np.array(values, np.int32)
        return self._new(data.shape, "int32", None, data)

    def _new(self, shape: tuple[int, ...], dtype: str, quant: Quant | None, data: np.ndarray | None) -> Tensor:
        self.count += 1
        return Tensor(self.count - 1, f"t{self.count - 1}", shape, dtype, quant, data)
