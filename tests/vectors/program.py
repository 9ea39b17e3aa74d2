"""A C program that computes a list of cases with the kernels and the template of the generated firmware.

Every case runs with its tensors apart, and once more per input that its kernel lets the output overlap, at exactly the
distance that it asks for. For each run the program puts its ticks (4 bytes), the output, and one byte that is 0 where
all guard bytes around output and scratch survived. An executor supplies `put`, `ticks` and `main`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trecx.compiler.emit import Function, templates
from trecx.compiler.ir import KernelCall
from vectors.cases import Case

GUARD = 16
HEAD = """#include <stdint.h>
#include <string.h>

#define TRECX_LAYER static
#define GUARD 16
#define GUARD_VALUE 0x6b
#define BUFFER(name, bytes) \\
  static struct { \\
    _Alignas(8) int8_t before[GUARD]; \\
    int8_t data[bytes]; \\
    int8_t after[GUARD]; \\
  } name

void put(const void *data, uint32_t bytes);
uint32_t ticks(void);
void run_vectors(void);

static void guard(int8_t *before, uint32_t bytes) {
  memset(before, GUARD_VALUE, bytes + 2 * GUARD);
}

static uint8_t broken(const int8_t *before, uint32_t bytes) {
  uint8_t found = 0;
  for (uint32_t k = 0; k < GUARD; k++) {
    found |= before[k] != GUARD_VALUE || before[GUARD + bytes + k] != GUARD_VALUE;
  }
  return found;
}
"""


@dataclass(frozen=True)
class Run:
    """One run of a case: `ticks` of the executor's clock, whether guards broke, and the output."""

    ticks: int
    broken: bool
    output: np.ndarray


def program(cases: Sequence[Case], calls: Sequence[KernelCall]) -> str:
    """The C text; inputs and tables have exactly their tensor's size, so that sanitizers see each access outside."""
    specialised = templates().get_template("kernel.c.j2").module.specialised
    parts = [HEAD, *(f'#include "kernels/{kernel}.h"' for kernel in sorted({call.kernel for call in calls}))]
    body = []
    for k, (case, call) in enumerate(zip(cases, calls, strict=True)):
        parts.append(
            str(specialised(Function(f"case{k}", case.node.name, call, len(case.inputs), len(case.op.outputs))))
        )
        inputs = [f"input{k}_{i}" for i in range(len(case.inputs))]
        for name, tensor, values in zip(inputs, case.op.inputs, case.inputs, strict=True):
            parts.append(array(name, "int8_t", spread(values, tensor.pixel_stride)))
        tables = [f"{table.name}{k}" for table in call.tables]
        parts += [array(name, table.ctype, table.values) for name, table in zip(tables, call.tables, strict=True)]
        if call.layered:
            members = ", ".join(f".{table.name} = {name}" for name, table in zip(tables, call.tables, strict=True))
            parts.append(f"static const trecx_{call.symbol}_tables layer{k} = {{ {members} }};")
            tables = [f"&layer{k}"]
        parts.append(f"static void run{k}(void) {{")
        for overlapped in runs(call):
            parts += _run(k, case, call, inputs, tables, overlapped)
        parts.append("}")
        body.append(f"  run{k}();")
    return "\n".join([*parts, "void run_vectors(void) {", *body, "}", ""])


def output_bytes(case: Case) -> int:
    """Bytes of all outputs."""
    return sum(tensor.size for tensor in case.op.outputs)


def runs(call: KernelCall) -> tuple[int | None, ...]:
    """The runs of a case: None with all tensors apart, else the input that the output overlaps."""
    return (None, *(i for i, distance in enumerate(call.distances) if distance is not None))


def _run(
    k: int, case: Case, call: KernelCall, inputs: list[str], tables: list[str], overlapped: int | None
) -> list[str]:
    """The C block of one run."""
    size, arguments = output_bytes(case), list(inputs)
    lines, block = [], size
    if overlapped is not None:
        distance = call.distances[overlapped] or 0
        source = case.op.inputs[overlapped]
        within = spread(case.inputs[overlapped], source.pixel_stride).size
        block = max(size, distance + within)
        arguments[overlapped] = f"buffer.data + {distance}"
        lines.append(f"    memcpy(buffer.data + {distance}, {inputs[overlapped]}, {within});")
    starts = np.cumsum([0, *(tensor.size for tensor in case.op.outputs)]).tolist()
    arguments += [f"buffer.data + {start}" for start in starts[:-1]]
    head = ["  {", f"    BUFFER(buffer, {block});", f"    guard(buffer.before, {block});"]
    check = f"broken(buffer.before, {block})"
    if call.scratch:
        head += [f"    BUFFER(scratch, {call.scratch});", f"    guard(scratch.before, {call.scratch});"]
        check += f" | broken(scratch.before, {call.scratch})"
        arguments.append("scratch.data")
    return [
        *head,
        *lines,
        "    const uint32_t begin = ticks();",
        f"    case{k}({', '.join([*arguments, *tables])});",
        "    const uint32_t spent = ticks() - begin;",
        f"    const uint8_t bad = {check};",
        "    put(&spent, sizeof spent);",
        f"    put(buffer.data, {size});",
        "    put(&bad, 1);",
        "  }",
    ]


def array(name: str, ctype: str, values: np.ndarray) -> str:
    """A constant array."""
    text = ", ".join("INT32_MIN" if v == -(2**31) else str(v) for v in values.ravel().tolist())
    return f"static const {ctype} {name}[{values.size}] = {{{text}}};"


def spread(values: np.ndarray, pixel_stride: int) -> np.ndarray:
    """The bytes of a tensor whose pixels lie `pixel_stride` apart, up to its last byte, 85 in the gaps."""
    pixels = values.reshape(-1, values.shape[-1])
    wide = np.full((len(pixels), pixel_stride), 85, np.int8)
    wide[:, : pixels.shape[1]] = pixels
    return wide.ravel()[: wide.size - pixel_stride + pixels.shape[1]]


def split(written: bytes, cases: Sequence[Case], calls: Sequence[KernelCall]) -> tuple[tuple[Run, ...], ...]:
    """What a program put: the runs of every case, apart first."""
    found = tuple(_runs(written, cases, calls))
    assert sum(len(of) for of in found) == sum(len(runs(call)) for call in calls)
    return found


def _runs(written: bytes, cases: Sequence[Case], calls: Sequence[KernelCall]) -> Iterator[tuple[Run, ...]]:
    place = 0
    for case, call in zip(cases, calls, strict=True):
        size, of_case = output_bytes(case), []
        for _ in runs(call):
            piece = written[place : place + size + 5]
            assert len(piece) == size + 5, "the program ended early"
            output = np.frombuffer(piece[4:-1], np.int8)
            if len(case.op.outputs) == 1:
                output = output.reshape(case.op.output.shape)
            of_case.append(Run(int.from_bytes(piece[:4], "little"), bool(piece[-1]), output))
            place += size + 5
        yield tuple(of_case)
    assert place == len(written), f"the program gave {len(written)} bytes, expected {place}"
