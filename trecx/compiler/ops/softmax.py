"""SOFTMAX: int8 logits to int8 scores of scale 1/256 and zero point -128."""

from dataclasses import dataclass
from math import isfinite
from typing import Self

import numpy as np
from ai_edge_litert.schema_py_generated import SoftmaxOptionsT

from trecx.compiler.fixed_point import softmax_table
from trecx.compiler.ir import KernelCall, Node, Op, Refused, Table
from trecx.compiler.ops.inspection import Inspection
from trecx.compiler.ops.runs import Runs
from trecx.compiler.params import params
from trecx.exits import MOST_CLASSES

# Of more values the sum of exponentials could pass 2^28, where TFLM's shift by 32 and more is undefined. This bounds
# the operator wherever it stands; what a model answers with is bounded by `exits.MOST_CLASSES`.
MOST_VALUES = 511


@dataclass(frozen=True, eq=False)
class Softmax(Op):
    """Softmax over the channels of each pixel; `exponentials` holds exp(-beta * scale * d) for d = 0..255."""

    exponentials: np.ndarray

    @classmethod
    def read(cls, node: Node) -> Self:
        """`exponentials` is int32 `(256,)`, fractions of 2^31."""
        inspection = Inspection(node)
        inspection.operands(1)
        options = inspection.options(SoftmaxOptionsT)
        source, output = inspection.activation(0), inspection.output()
        inspection.shape(output, source.shape)
        row = source.shape[-1] if source.shape else 0
        wide = f"has rows of {row}; supported: up to {MOST_VALUES}, and up to {MOST_CLASSES} classes as an answer"
        inspection.require(row <= MOST_VALUES, wide)
        fixed = output.quant is None or (output.quant.scale, output.quant.zero_point) == ((1 / 256,), (-128,))
        inspection.require(fixed, "output has another scale than 1/256 or another zero point than -128")
        usable = isfinite(options.beta) and options.beta > 0
        inspection.require(usable, f"beta is {options.beta}; supported: positive")
        inspection.finish()
        exponentials = softmax_table(source.scale, options.beta)
        if exponentials is None:
            raise Refused("beta x input scale is 2^-26 or less, below what int8 softmax can express")
        return cls(node.index, node.name, (source,), (output,), exponentials)

    def call(self) -> KernelCall:
        """`softmax`."""
        classes = self.output.shape[-1]
        runs = Runs(self.output.size // classes, classes, self.inputs[0].pixel_stride)
        tables = (Table("exponentials", "int32_t", self.exponentials),)
        return KernelCall("softmax", params(input=runs), tables, distances=(0,))
