"""A node of the compiler's graph as a flatbuffer of one operator, so that interpreters compute the very same thing."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from trecx.compiler.ir import Node, Quant, Tensor

TYPES = {name.lower(): value for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
OPTIONS = {name + "T": value for name, value in vars(schema.BuiltinOptions).items() if isinstance(value, int)}


def flatbuffer(node: Node) -> bytes:
    """The `.tflite` whose inputs are the node's activations, in order, and whose output is the node's."""
    tensors = [tensor for tensor in (*node.inputs, *node.outputs) if tensor is not None]
    place = {tensor.index: k for k, tensor in enumerate(tensors)}
    operator = schema.OperatorT()
    operator.inputs = [-1 if tensor is None else place[tensor.index] for tensor in node.inputs]
    operator.outputs = [place[tensor.index] for tensor in node.outputs]
    operator.opcodeIndex = 0
    if node.options is not None:
        operator.builtinOptionsType = OPTIONS[type(node.options).__name__]
        operator.builtinOptions = node.options
    subgraph = schema.SubGraphT()
    subgraph.tensors = [_tensor(tensor, k + 1) for k, tensor in enumerate(tensors)]
    subgraph.inputs = [place[tensor.index] for tensor in node.inputs if tensor is not None and tensor.data is None]
    subgraph.outputs = operator.outputs
    subgraph.operators = [operator]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, node.name)
    code.version = 1
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = [code]
    model.subgraphs = [subgraph]
    model.buffers = [schema.BufferT(), *(_buffer(tensor.data) for tensor in tensors)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(tensor: Tensor, buffer: int) -> schema.TensorT:
    packed = schema.TensorT()
    packed.name = tensor.name
    packed.shape = list(tensor.shape)
    packed.type = TYPES[tensor.dtype]
    packed.buffer = buffer
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
