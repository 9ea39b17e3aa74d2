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
@pytest.mark.parametrize("outcome", [test_vectors.outcome, test_kernel_shapes.outcome], ids=["vectors", "shapes"])
def test_dsp_kernels_stay_inside_their_memory(operator, outcome, tmp_path):
    if outcome is test_kernel_shapes.outcome and operator not in test_kernel_shapes.SHAPES:
        pytest.skip("has no shapes of its own")
    assert outcome(operator, TARGET, tmp_path) == []
