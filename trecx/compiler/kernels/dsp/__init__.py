"""Kernels for Armv7E-M with the DSP extension (Cortex-M4, M7). One file per operator, one entry here."""

from collections.abc import Callable, Mapping

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.kernels.dsp.add import add
from trecx.compiler.kernels.dsp.average_pool_2d import average_pool_2d
from trecx.compiler.kernels.dsp.conv_2d import conv_1x1, conv_2d
from trecx.compiler.kernels.dsp.depthwise_conv_2d import depthwise_conv_2d
from trecx.compiler.kernels.dsp.fully_connected import fully_connected
from trecx.compiler.kernels.dsp.mean import mean
from trecx.compiler.ops.add import Add
from trecx.compiler.ops.average_pool_2d import AveragePool2D
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.ops.fully_connected import FullyConnected
from trecx.compiler.ops.mean import Mean
from trecx.compiler.target import Target

KERNELS: Mapping[type[Op], tuple[Callable[[Op, Target], KernelCall | None], ...]] = {
    Conv2D: (conv_1x1, conv_2d),
    FullyConnected: (fully_connected,),
    DepthwiseConv2D: (depthwise_conv_2d,),
    Add: (add,),
    AveragePool2D: (average_pool_2d,),
    Mean: (mean,),
}
