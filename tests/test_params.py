"""What Python passes to a kernel is what the kernel's header declares: the same members, struct by struct.

A designated initializer leaves out what it does not name, and C then takes 0 without a word; so a member that only one
side knows must be found here.
"""

import re
from dataclasses import replace
from functools import cache

import pytest
from vectors.cases import DRAW, Case, generate

from trecx import resources
from trecx.compiler.fixed_point import Multiplier
from trecx.compiler.ir import KernelCall
from trecx.compiler.kernels import candidates
from trecx.compiler.ops.runs import Runs
from trecx.compiler.ops.window import Window
from trecx.compiler.params import Output, Params, Pixels, Range, initializer, members, numbers, params
from trecx.compiler.target import TARGETS

KERNELS = resources.folder("firmware") / "kernels"
STRUCT = re.compile(r"typedef struct \{([^}]*)\} (\w+);|typedef (\w+) (\w+);")
MEMBER = re.compile(r"(int32_t|trecx_\w+) ([^;]+);")


@cache
def cases(operator: str) -> tuple[Case, ...]:
    return tuple(generate(operator, 100))


@cache
def structs(header: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """The structs of a header and of layer.h: (member, type) in order; an array's type ends in []."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for name in ("layer", header):
        text = re.sub(r"/\*.*?\*/", "", (KERNELS / f"{name}.h").read_text(), flags=re.DOTALL)
        for body, struct, original, alias in STRUCT.findall(text):
            if alias:
                found[alias] = found.get(original, ())
            else:
                found[struct] = tuple(
                    (item.strip().split("[")[0], kind + "[]" * item.count("["))
                    for kind, items in MEMBER.findall(body)
                    for item in items.split(",")
                )
    return found


def differences(declared: dict[str, tuple[tuple[str, str], ...]], struct: str, given: Params) -> list[str]:
    """What one side has and the other lacks, in a struct and in those inside it."""
    types, values = dict(declared[struct]), dict(given)
    found = [f"{struct}.{name} is not passed" for name in types if name not in values]
    found += [f"{struct} has no {name}" for name in values if name not in types]
    for name in types.keys() & values.keys():
        kind, value = types[name], values[name]
        for item in value if kind.endswith("[]") and isinstance(value, tuple) else (value,):
            inner = members(item)
            if inner is not None and kind != "int32_t":
                found += differences(declared, kind.removesuffix("[]"), inner)
            elif (inner is None) != (kind.removesuffix("[]") == "int32_t") or isinstance(item, tuple):
                found.append(f"{struct}.{name} is {kind}, given {item!r}")
    return found


def of_call(call: KernelCall) -> list[str]:
    """The differences of a call from its kernel's header."""
    return differences(structs(call.kernel), f"trecx_{call.symbol}_params", call.params)


@pytest.mark.parametrize("operator", DRAW)
def test_params_are_the_members_of_the_header(operator):
    calls = {call.kernel: call for case in cases(operator) for t in TARGETS for call in candidates(case.op, t)}
    assert calls
    assert {kernel: of_call(call) for kernel, call in calls.items() if of_call(call)} == {}


def test_every_header_with_params_is_compared():
    declared = {
        str(path.relative_to(KERNELS).with_suffix(""))
        for path in KERNELS.rglob("*.h")
        if re.search(r"_params;", path.read_text())
    }
    reached = {
        call.kernel for operator in DRAW for case in cases(operator) for t in TARGETS for call in candidates(case.op, t)
    }
    assert declared == reached | {"circular_buffer"}  # whose vectors are the streams of test_state.py


@pytest.mark.parametrize("operator", DRAW)
def test_tables_are_the_members_of_the_header(operator):
    for call in (call for case in cases(operator) for t in TARGETS for call in candidates(case.op, t) if call.layered):
        header = (KERNELS / f"{call.kernel}.h").read_text()
        struct = "channel" if f"typedef trecx_channel_tables trecx_{call.symbol}_tables;" in header else call.symbol
        both = header + (KERNELS / "layer.h").read_text()
        body = re.search(r"typedef struct \{([^}]*)\} trecx_" + struct + "_tables;", both)
        assert body is not None, call.kernel
        declared = re.findall(r"const (\w+) \*(\w+);", body[1])
        assert declared == [(table.ctype, table.name) for table in call.tables], call.kernel


def some_call() -> KernelCall:
    return next(c for case in cases("CONV_2D") if (c := case.op.call()).kernel == "conv_2d")


def test_a_member_that_python_forgets_is_seen():
    call = some_call()
    left = tuple((name, value) for name, value in call.params if name != "input_zero_point")
    assert of_call(replace(call, params=left)) == ["trecx_conv_2d_params.input_zero_point is not passed"]


def test_a_member_that_c_does_not_have_is_seen():
    call = some_call()
    assert of_call(replace(call, params=call.params + params(dilation=1))) == ["trecx_conv_2d_params has no dilation"]


def test_a_difference_inside_a_struct_is_seen():
    call = some_call()
    wrong = tuple((name, Runs(1, 2, 3) if name == "input" else value) for name, value in call.params)
    assert "trecx_pixels has no count" in of_call(replace(call, params=wrong))
    number = tuple((name, 3 if name == "rows" else value) for name, value in call.params)
    assert of_call(replace(call, params=number)) == ["trecx_conv_2d_params.rows is trecx_window, given 3"]


def test_structs_become_designated_initializers():
    assert initializer(Pixels(3, 4)) == "{ .channels = 3, .stride = 4 }"
    assert initializer(Output(-1, Range(-128, 127))) == "{ .zero_point = -1, .range = { .min = -128, .max = 127 } }"
    assert initializer((Multiplier(5, -6), 7)) == "{ { .value = 5, .shift = -6 }, 7 }"


def test_every_number_of_a_tree_has_its_path():
    tree = params(rows=Window(9, 3, 2, 1, 5), inputs=(Runs(1, 2, 3),), narrow=1)
    assert dict(numbers(tree)) == {
        "rows.size": 9,
        "rows.kernel": 3,
        "rows.stride": 2,
        "rows.before": 1,
        "rows.output": 5,
        "inputs[0].count": 1,
        "inputs[0].length": 2,
        "inputs[0].stride": 3,
        "narrow": 1,
    }
