"""Turns a planned graph into C text. Decisions are made here, templates only lay them out; the same input always gives
the same bytes: no time, no path, no machine."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from posixpath import dirname, join, normpath
from typing import Any

import jinja2
import numpy as np

from trecx import __version__, decision, resources
from trecx.compiler.graph import Exit, Graph
from trecx.compiler.ir import KernelCall, Op, Quant, Table, Tensor
from trecx.compiler.layout import BorderText, ExitText, LayerText, PointText, StageText, Step, TableText
from trecx.compiler.params import initializer
from trecx.compiler.plan import Plan, Stage, heads
from trecx.compiler.text import filled, folded, listed
from trecx.decision import Criterion
from trecx.exits import OperatingPoint
from trecx.naming import check_name

SOFTMAX_QUANT = Quant((1 / 256,), (-128,))  # where the file gives its output none


@dataclass(frozen=True)
class Names:
    """What the C is called and what it says of itself. `runner_offset` is 128 where the runner's payload is uint8."""

    name: str
    title: str
    sha256: str
    class_names: tuple[str, ...]
    runner_name: str
    runner_offset: int = 0


@dataclass(frozen=True)
class KnownAnswer:
    """One recorded inference on the bytes of the test's generator started at `seed`.

    `scores` are all values of the answer where it is no class; they are then compared by their `checksum`.
    """

    seed: int
    limits: tuple[int, ...]
    exit: int
    label: int
    scores: tuple[int, ...]
    logits: tuple[int, ...]

    @property
    def checksum(self) -> int:
        """FNV-1a of the answer's bytes, 32 bits, as `model_test.c` computes it."""
        state = 2166136261
        for value in self.scores:
            state = ((state ^ (value & 0xFF)) * 16777619) & 0xFFFFFFFF
        return state


@dataclass(frozen=True)
class KnownAnswers:
    """Recorded inferences and the name and version of the interpreter that gave them."""

    oracle: str
    cases: tuple[KnownAnswer, ...]


@dataclass(frozen=True)
class Function:
    """A kernel specialised for constants, shared by all ops with the same kernel, params and table types."""

    name: str
    comment: str
    call: KernelCall
    inputs: int
    outputs: int = 1


def known_answer_input(seed: int, size: int) -> np.ndarray:
    """The known-answer test's input, int8 `(size,)`: top bytes of the generator in `model_test.c`."""
    values = np.empty(size, np.int8)
    state = seed
    for k in range(size):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        values[k] = (state >> 24) - 128
    return values


def emit(
    graph: Graph,
    plan: Plan,
    names: Names,
    thresholds: Sequence[float | None],
    answers: KnownAnswers,
    hooks: bool = False,
    points: Sequence[OperatingPoint] = (),
) -> dict[str, str]:
    """All generated files by name, kernels included; with `hooks` a program can look at every operator and decision.

    Where there are several operating points the program can change between them; the first has `thresholds`.

    Raises TrecxError where the model's name is no C identifier.
    """
    check_name(names.name)
    writer = _Writer(graph, plan)
    stages = tuple(writer.stage(k, stage) for k, stage in enumerate(plan.stages))
    exits = tuple(_exit(graph.exits[k], plan.macs_to(k), thresholds[k : k + 1]) for k in range(len(plan.stages)))
    decisions = [e.decision for e in graph.exits if e.decision is not None]
    limits = decision.limits(decisions, thresholds)
    model: dict[str, Any] = {
        "name": names.name,
        "NAME": names.name.upper(),
        "title": _comment(names.title),
        "version": __version__,
        "sha256": names.sha256,
        "exits": exits,
        "class_names": names.class_names,
        "inputs": _inputs(graph, plan),
        "arena_bytes": plan.arena_size,
        "states": tuple((plan.offsets[t.index], t) for t in graph.states),
        "state_bytes": sum(t.size for t in graph.states),
        "hooks": hooks,
        "limits": limits,
        "default_limits": ", ".join(map(_limit, limits, exits)),
        "most_confident": graph.most_confident,
        "classes": graph.classes,
        "outputs": _outputs(graph),
        "points": _points(graph, decisions, points) if len(points) > 1 and limits else (),
        "skips": len(points) > 1 and len(limits) > 0 and not graph.most_confident,
        "softmax": graph.classes > 0 and all(e.scores is not e.logits for e in graph.exits),
        # One macro for all exits where the same threshold has the same limit at each.
        "one_threshold": len({e.limit for e in exits if e.limit}) == 1,
        "checks": sorted({f"exit/{one.name}" for one in decisions}),
        "stages": stages,
        "functions": tuple(writer.functions.values()),
        "tables": tuple(writer.tables.values()),
        "layers": tuple(writer.layers.values()),
        "layered": sorted({f.call.kernel for f in writer.functions.values() if f.call.layered}),
        "kernels": sorted({f.call.kernel for f in writer.functions.values()}),
        "optimize": plan.optimize,
        "runner_name": names.runner_name,
        "runner_offset": names.runner_offset,
    }
    environment = templates()
    files = {
        target: folded(environment.get_template(source).render(m=model, answers=answers))
        for target, source in (
            (f"{names.name}.h", "model.h.j2"),
            (f"{names.name}.c", "model.c.j2"),
            (f"{names.name}_layers.h", "model_layers.h.j2"),
            (f"{names.name}_data.h", "model_data.h.j2"),
            (f"{names.name}_test.c", "model_test.c.j2"),
            ("trecx_model.h", "trecx_model.h.j2"),
        )
    }
    return files | kernel_files([*(f.call.kernel for f in writer.functions.values()), *model["checks"]])


def templates() -> jinja2.Environment:
    """The Jinja environment of every generated file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.folder("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["c_string"] = c_string
    environment.filters["initializer"] = initializer
    environment.filters["listed"] = listed
    environment.filters["runs"] = runs
    return environment


def runs(steps: Sequence[Step], head: Collection[int]) -> list[tuple[bool, list[Step]]]:
    """Steps in order, parted where those that only an exit's head needs begin and end."""
    return [(own, list(part)) for own, part in groupby(steps, key=lambda step: step.index in head)] or [(False, [])]


def kernel_files(kernels: Sequence[str]) -> dict[str, str]:
    """The kernel headers in `kernels` and the headers they include, by path in the generated folder."""
    root = resources.folder("firmware") / "kernels"
    files: dict[str, str] = {}
    pending = sorted(set(kernels))
    while pending:
        name = pending.pop()
        if f"kernels/{name}.h" not in files:
            text = (root / f"{name}.h").read_text(encoding="utf-8")
            files[f"kernels/{name}.h"] = text
            included = re.findall(r'#include "([a-z0-9_./]+)\.h"', text)
            pending += [normpath(join(dirname(name), other)) for other in included]
    return files


def c_string(text: str) -> str:
    """A C string literal of UTF-8 `text`: everything but plain ASCII as octal escapes, no trigraphs."""
    plain = set(range(32, 127)) - set(b'"\\?')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode("utf-8", "replace")) + '"'


def _limit(limit: int, exit_: ExitText) -> str:
    """A default limit beside the threshold that it comes from."""
    return f"{limit}u" + (f" /* {exit_.criterion} {exit_.threshold} */" if exit_.threshold is not None else "")


def _comment(text: str) -> str:
    """`text` made safe to stand in a C comment or string: names come from untrusted files."""
    return re.sub(r"[^A-Za-z0-9 _.,:;()=+-]", "_", text)[:100]


def _exit(exit_: Exit, macs: int, threshold: Sequence[float | None]) -> ExitText:
    kind = exit_.decision
    if kind is None or not threshold:
        return ExitText(_comment(exit_.name), macs, None)
    return ExitText(_comment(exit_.name), macs, threshold[0], kind.name, kind.of, kind.c_limit("(t)"))


def _points(graph: Graph, decisions: Sequence[Criterion], points: Sequence[OperatingPoint]) -> tuple[PointText, ...]:
    """The operating points as limits; the first does without no exit, nor do any where the surest of all may answer."""
    early = [e.name for e in graph.exits[:-1]]
    found = []
    for number, point in enumerate(points):
        at = [point.thresholds.get(name) for name in early]
        rest = [False] * (len(decisions) - len(early))
        off = [threshold is None and number > 0 and not graph.most_confident for threshold in at]
        found.append(PointText(_comment(point.name), decision.limits(decisions, at), (*off, *rest), _told(point)))
    return tuple(found)


def _told(point: OperatingPoint) -> str:
    """What an operating point did where it was chosen."""
    known = point.predicted
    if known is None:
        return ""
    rates = " + ".join(f"{100 * rate:.1f}" for rate in known.exit_rates[:-1])
    right = f"{100 * known.accuracy:.2f} % of {known.samples:,} right"
    counted = "".join(f", {count:,.0f} instructions on {name}" for name, count in (known.instructions or {}).items())
    return f"{right}; {rates} % leave early; {known.macs:,.0f} MACs{_comment(counted) if counted else ''}"


def _inputs(graph: Graph, plan: Plan) -> tuple[BorderText, ...]:
    """What the caller writes before a run."""
    places = (plan.offsets[one.tensor.index] for one in graph.inputs)
    count = len(graph.inputs)
    texts = (_border("input", one.tensor, one.name, k, count) for k, one in enumerate(graph.inputs))
    return tuple(replace(text, offset=place) for text, place in zip(texts, places, strict=True))


def _outputs(graph: Graph) -> tuple[BorderText, ...]:
    """The answer of every exit: class scores, or one or more outputs of other kinds."""
    answer = graph.exits[-1].outputs
    return tuple(_border("output", output.tensor, output.name, k, len(answer)) for k, output in enumerate(answer))


def _border(what: str, tensor: Tensor, name: str, number: int, count: int) -> BorderText:
    quant = tensor.quant or SOFTMAX_QUANT
    one = count == 1
    return BorderText(
        name=_comment(name),
        suffix="" if one else f"_{number}",
        function=what if one else f"{what}_{number}",
        shape=_shape(tensor),
        dimensions=tensor.shape[1:] or tensor.shape,
        bytes=tensor.size,
        scale=_real(quant.scale[0]),
        zero_point=quant.zero_point[0],
    )


def _real(value: float) -> str:
    """A float literal of C."""
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if set(text) & set(".e") else f"{text}.0f"


def _shape(tensor: Tensor) -> str:
    return "x".join(str(d) for d in tensor.shape[1:] or tensor.shape)


def _shapes(op: Op) -> str:
    inputs, outputs = (" + ".join(map(_shape, of)) for of in (op.inputs, op.outputs))
    return f"{inputs} -> {outputs}"


class _Writer:
    """Collects functions and tables while the stages are laid out, so that equal ones are written once."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph = graph
        self.plan = plan
        self.heads = heads(graph)
        self.functions: dict[object, Function] = {}
        several = len(graph.inputs) > 1
        self.inputs = {one.tensor.index: f"input_{k}" if several else "input" for k, one in enumerate(graph.inputs)}
        self.places: dict[str, tuple[str, str, str]] = {}
        self.makers = {t.index: (op, k) for op in graph.ops for k, t in enumerate(op.outputs)}
        self.tables: dict[object, TableText] = {}
        self.layers: dict[object, LayerText] = {}

    def stage(self, number: int, stage: Stage) -> StageText:
        """One stage with its exit check and its softmax."""
        exit_, known = stage.exit, set(self.places)
        steps = tuple(self.step(op, *map(self.at, op.outputs)) for op in stage.ops)
        scored = exit_.logits is not None and exit_.scores is not exit_.logits
        answering = self.graph.producer(exit_.scores) if scored else None
        softmax = self.step(answering, "result->scores") if answering is not None else None
        statistic = self.statistic(number, exit_)
        logits = None if exit_.logits is None else self.at(exit_.logits)
        outputs = () if exit_.logits is not None else tuple(self.plan.offsets[o.tensor.index] for o in exit_.outputs)
        first_used = (place for name, place in self.places.items() if name not in known)
        places = tuple(sorted(first_used, key=lambda place: not place[0].startswith("input")))
        head = self.heads[number] if number < len(self.heads) else frozenset()
        return StageText(_comment(exit_.name), stage.macs, steps, statistic, logits, softmax, outputs, places, head)

    def statistic(self, number: int, exit_: Exit) -> str | None:
        """The C expression of what an exit decides by; None where it always answers."""
        if exit_.decision is None or exit_.decides is None:
            return None
        comment = f'exit check of "{_comment(exit_.name)}"'
        tables = [
            self.table(Table(name, f"{values.dtype}_t", values), f"exit{number}_{name}", f"{comment}: {name}")
            for name, values in exit_.decision.tables()
        ]
        arguments = (self.at(exit_.decides), f"{exit_.decides.size}u", *tables)
        return f"trecx_exit_{exit_.decision.name}({', '.join(arguments)})"

    def at(self, tensor: Tensor) -> str:
        """The C name of a tensor's address: after the operator that makes it."""
        if self.graph.is_input(tensor):
            name = self.inputs[tensor.index]
        elif tensor.index in self.makers:
            op, number = self.makers[tensor.index]
            name = f"{op.name.lower()}_{op.index}" + (f"_{number}" if len(op.outputs) > 1 else "")
        else:
            name = f"view_{tensor.index}"
        return self.place(name, self.plan.offsets[tensor.index], _shape(tensor))

    def place(self, name: str, offset: int, comment: str) -> str:
        """The C name of a place in the arena."""
        self.places.setdefault(name, (name, f"arena + {offset}", comment))
        return name

    def step(self, op: Op, *outputs: str) -> Step:
        """The call that computes `op` into the C expressions `outputs`."""
        call = self.plan.calls[op.index]
        place = f"{op.index} {op.name}"
        tables = tuple(self.table(t, f"op{op.index}_{t.name}", f"{place}: {t.name}") for t in call.tables)
        if call.layered:
            tables = (f"&{self.layer(call, op, tables)}",)
        scratch: tuple[str, ...] = ()
        if call.scratch:
            scratch = (self.place(f"scratch_{op.index}", self.plan.scratch[op.index], f"{call.scratch} bytes"),)
        return Step(
            index=op.index,
            function=self.function(call, op).name,
            arguments=(*(self.at(t) for t in op.inputs), *outputs, *scratch, *tables),
            comment=f"{place} {_shapes(op)}",
            outputs=tuple((to, tensor.size) for to, tensor in zip(outputs, op.outputs, strict=True)),
        )

    def layer(self, call: KernelCall, op: Op, tables: tuple[str, ...]) -> str:
        """The C name of the struct with a layer's tables; layers of equal tables share one."""
        named = tuple((table.name, name) for table, name in zip(call.tables, tables, strict=True))
        text = LayerText(f"layer_{op.index}", f"trecx_{call.symbol}_tables", f"{op.index} {op.name}", named)
        return self.layers.setdefault((text.struct, named), text).name

    def function(self, call: KernelCall, op: Op) -> Function:
        """The specialised function for a call, made on its first use."""
        tables = tuple((t.name, t.ctype) for t in call.tables)
        key = (call.kernel, call.params, tables, len(op.inputs), len(op.outputs), call.scratch > 0)
        if key not in self.functions:
            number = sum(f.call.kernel == call.kernel for f in self.functions.values())
            comment, arity = f"{op.name} {_shapes(op)}", (len(op.inputs), len(op.outputs))
            self.functions[key] = Function(f"run_{call.symbol}_{number}", comment, call, *arity)
        return self.functions[key]

    def table(self, table: Table, name: str, comment: str) -> str:
        """The C name of a constant array; equal arrays are one."""
        values = np.ascontiguousarray(table.values).ravel()
        key = (table.ctype, values.tobytes())
        if key not in self.tables:
            shape = "x".join(str(d) for d in table.values.shape)
            self.tables[key] = TableText(
                name, table.ctype, f"{comment}, {shape}", values.size, _lines(values, table.ctype)
            )
        return self.tables[key].name


def _lines(values: np.ndarray, ctype: str) -> tuple[str, ...]:
    """Comma-separated integers in lines. INT32_MIN has no literal of its own type in C."""
    suffix = "u" if ctype.startswith("u") else ""
    literals = ["INT32_MIN" if v == -(2**31) else f"{v}{suffix}" for v in values.tolist()]
    return filled(literals)
