"""The DSP kernels in their portable C on this machine: under sanitizers, which no emulator offers."""

from dataclasses import replace

import pytest
import test_kernel_shapes
import test_vectors
from ai_edge_litert import schema_py_generated as schema

from trecx.compiler.kernels import dsp
from trecx.compiler.ops import OPS
from trecx.compiler.target import HOST

TARGET = replace(HOST, kernels=("dsp",))
OPERATORS = [name for name in test_vectors.DRAW if OPS[getattr(schema.BuiltinOperator, name)] in dsp.KERNELS]


@pytest.mark.parametrize("operator", OPERATORS)
def test_dsp_kernels_stay_inside_their_memory(operator, tmp_path):
    drawn = test_vectors.attempts(operator, TARGET)
    shapes = test_kernel_shapes.attempts(operator, TARGET) if operator in test_kernel_shapes.SHAPES else ()
    special = tuple(attempt for attempt in (*drawn, *shapes) if attempt.call.kernel.startswith("dsp/"))
    assert special
    assert test_vectors.outcome(special, TARGET, tmp_path, None) == []
