"""Fused activations as the range that an output is clamped to."""

from math import floor

import numpy as np
from ai_edge_litert.schema_py_generated import ActivationFunctionType

from trecx.compiler.fixed_point import INT8_MAX, INT8_MIN
from trecx.compiler.ir import Tensor
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.params import Output, Range

SUPPORTED = (ActivationFunctionType.NONE, ActivationFunctionType.RELU, ActivationFunctionType.RELU6)
_NAMES = {value: name for name, value in vars(ActivationFunctionType).items() if isinstance(value, int)}


def check(inspection: Inspection, function: int) -> None:
    """Require a supported fused activation."""
    name = _NAMES.get(function, str(function))
    supported = ", ".join(_NAMES[f] for f in SUPPORTED)
    inspection.require(function in SUPPORTED, f"fused activation {name}; supported: {supported}")


def output(function: int, tensor: Tensor) -> Output:
    """How results become values of `tensor` under the activation."""
    return Output(tensor.zero_point, Range(*limits(function, tensor)))


def limits(function: int, output: Tensor) -> tuple[int, int]:
    """Lowest and highest int8 value that the activation lets through.

    6 / scale is a float32 division, rounded half away from zero, as in TFLite.
    """
    low = INT8_MIN if function == ActivationFunctionType.NONE else max(INT8_MIN, output.zero_point)
    if function != ActivationFunctionType.RELU6:
        return low, INT8_MAX
    with np.errstate(over="ignore"):
        steps = min(float(np.float32(6.0) / np.float32(output.scale)), 1e6)
    return low, min(INT8_MAX, output.zero_point + floor(steps + 0.5))
