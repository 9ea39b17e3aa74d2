"""Kernels for Armv8.1-M with the vector extension (Cortex-M55). One file per operator, one entry here."""

from collections.abc import Callable, Mapping

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.kernels.mve.add import add
from trecx.compiler.kernels.mve.average_pool_2d import average_pool_2d
from trecx.compiler.kernels.mve.conv_2d import conv_2d
from trecx.compiler.kernels.mve.depthwise_conv_2d import depthwise_conv_2d, depthwise_conv_2d_any
from trecx.compiler.kernels.mve.fully_connected import fully_connected
from trecx.compiler.ops.add import Add
from trecx.compiler.ops.average_pool_2d import AveragePool2D
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.ops.fully_connected import FullyConnected
from trecx.compiler.target import Target

KERNELS: Mapping[type[Op], tuple[Callable[[Op, Target], KernelCall | None], ...]] = {
    Add: (add,),
    AveragePool2D: (average_pool_2d,),
    Conv2D: (conv_2d,),
    DepthwiseConv2D: (depthwise_conv_2d, depthwise_conv_2d_any),
    FullyConnected: (fully_connected,),
}
