"""The operators that trecx compiles: one file each, one entry here."""

from ai_edge_litert.schema_py_generated import BuiltinOperator

from trecx.compiler.ir import Op
from trecx.compiler.ops.add import Add
from trecx.compiler.ops.average_pool_2d import AveragePool2D
from trecx.compiler.ops.circular_buffer import CircularBuffer
from trecx.compiler.ops.concatenation import Concatenation
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.ops.fully_connected import FullyConnected
from trecx.compiler.ops.max_pool_2d import MaxPool2D
from trecx.compiler.ops.mean import Mean
from trecx.compiler.ops.pad import Pad
from trecx.compiler.ops.quantize import Quantize
from trecx.compiler.ops.reshape import Reshape
from trecx.compiler.ops.softmax import Softmax
from trecx.compiler.ops.split import Split
from trecx.compiler.ops.strided_slice import StridedSlice

# By code; custom operators by name.
OPS: dict[int | str, type[Op]] = {
    BuiltinOperator.CONV_2D: Conv2D,
    BuiltinOperator.DEPTHWISE_CONV_2D: DepthwiseConv2D,
    BuiltinOperator.FULLY_CONNECTED: FullyConnected,
    BuiltinOperator.ADD: Add,
    BuiltinOperator.AVERAGE_POOL_2D: AveragePool2D,
    BuiltinOperator.MAX_POOL_2D: MaxPool2D,
    BuiltinOperator.MEAN: Mean,
    BuiltinOperator.RESHAPE: Reshape,
    BuiltinOperator.SOFTMAX: Softmax,
    BuiltinOperator.CONCATENATION: Concatenation,
    BuiltinOperator.STRIDED_SLICE: StridedSlice,
    BuiltinOperator.SPLIT: Split,
    BuiltinOperator.PAD: Pad,
    BuiltinOperator.QUANTIZE: Quantize,
    "CIRCULAR_BUFFER": CircularBuffer,
}
