"""A C program that computes a list of cases with the kernels and the template of the generated firmware.

It calls `put(output, bytes)` for every case; an executor supplies that function and `main`.
"""

from collections.abc import Sequence

import numpy as np

from trecx.compiler.emit import Function, templates
from vectors.cases import Case

HEAD = """#include <stdint.h>

void put(const int8_t *data, int32_t bytes);
void run_vectors(void);
"""


def program(cases: Sequence[Case]) -> str:
    """The C text; every array has exactly its tensor's size, so that sanitizers see each access outside."""
    specialised = templates().get_template("kernel.c.j2").module.specialised
    calls = [case.op.call() for case in cases]
    parts = [HEAD, *(f'#include "kernels/{kernel}.h"' for kernel in sorted({call.kernel for call in calls}))]
    body = []
    for k, (case, call) in enumerate(zip(cases, calls, strict=True)):
        parts.append(str(specialised(Function(f"case{k}", case.node.name, call, len(case.inputs)))))
        arguments = [f"input{k}_{i}" for i in range(len(case.inputs))]
        for name, tensor, values in zip(arguments, case.op.inputs, case.inputs, strict=True):
            parts.append(array(name, "int8_t", spread(values, tensor.pixel_stride)))
        parts.append(f"static int8_t output{k}[{case.op.output.size}];")
        arguments.append(f"output{k}")
        for table in call.tables:
            parts.append(array(f"{table.name}{k}", table.ctype, table.values))
            arguments.append(f"{table.name}{k}")
        body += [f"  case{k}({', '.join(arguments)});", f"  put(output{k}, {case.op.output.size});"]
    return "\n".join([*parts, "void run_vectors(void) {", *body, "}", ""])


def array(name: str, ctype: str, values: np.ndarray) -> str:
    """A constant array."""
    return f"static const {ctype} {name}[{values.size}] = {{{', '.join(map(str, values.ravel().tolist()))}}};"


def spread(values: np.ndarray, pixel_stride: int) -> np.ndarray:
    """The bytes of a tensor whose pixels lie `pixel_stride` apart, up to its last byte, 85 in the gaps."""
    pixels = values.reshape(-1, values.shape[-1])
    wide = np.full((len(pixels), pixel_stride), 85, np.int8)
    wide[:, : pixels.shape[1]] = pixels
    return wide.ravel()[: wide.size - pixel_stride + pixels.shape[1]]


def split(output: bytes, cases: Sequence[Case]) -> tuple[np.ndarray, ...]:
    """The bytes that a program put, as one int8 array per case."""
    ends = np.cumsum([case.op.output.size for case in cases])
    assert len(output) == ends[-1], f"the program gave {len(output)} of {ends[-1]} bytes"
    flat = np.frombuffer(output, np.int8)
    return tuple(
        part.reshape(case.op.output.shape) for part, case in zip(np.split(flat, ends[:-1]), cases, strict=True)
    )
