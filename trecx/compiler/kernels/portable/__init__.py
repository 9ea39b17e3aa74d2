"""Portable C with a target's own tiles. One file per operator, one entry here."""

from collections.abc import Callable, Mapping

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.kernels.portable.add import add
from trecx.compiler.kernels.portable.conv_2d import conv_2d
from trecx.compiler.kernels.portable.conv_2d_dot import conv_2d_dot
from trecx.compiler.kernels.portable.depthwise_conv_2d import depthwise_conv_2d
from trecx.compiler.ops.add import Add
from trecx.compiler.ops.conv_2d import Conv2D
from trecx.compiler.ops.depthwise_conv_2d import DepthwiseConv2D
from trecx.compiler.target import Target

KERNELS: Mapping[type[Op], tuple[Callable[[Op, Target], KernelCall | None], ...]] = {
    Add: (add,),
    Conv2D: (conv_2d_dot, conv_2d),
    DepthwiseConv2D: (depthwise_conv_2d,),
}
