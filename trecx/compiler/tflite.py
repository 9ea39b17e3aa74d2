"""Reads a `.tflite` into the typed graph, or refuses it with everything that is wrong.

The file is untrusted. It is read with the lazy schema API, which follows one offset at a time, and every count is
bounded before it is looped over, so that a hostile file costs no more than its own size.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from trecx import exits as door
from trecx.compiler.binding import bind, scores, skipped
from trecx.compiler.contradictions import contradictions
from trecx.compiler.graph import Exit, Graph, Input, Output
from trecx.compiler.ir import Node, Op, Quant, Refused, Tensor
from trecx.compiler.ops import OPS
from trecx.errors import TrecxError

MAX_FILE = 64 * 1024 * 1024
MAX_ITEMS = 2_000
MAX_INPUTS = 64
MAX_RANK = 8
MAX_ELEMENTS = 2**26
MAX_SAMPLE = 2**24
MAX_SCALES = 2**20

DTYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.INT8: np.dtype("i1"),
    schema.TensorType.INT16: np.dtype("<i2"),
    schema.TensorType.INT32: np.dtype("<i4"),
    schema.TensorType.INT64: np.dtype("<i8"),
    schema.TensorType.UINT8: np.dtype("u1"),
    schema.TensorType.FLOAT32: np.dtype("<f4"),
    schema.TensorType.BOOL: np.dtype("?"),
}
TYPE_NAMES = {v: k.lower() for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
OPERATOR_NAMES: dict[int | str, str] = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}


INT8 = "Convert with inference_input_type = inference_output_type = tf.int8 and a representative dataset."


class _Broken(Exception):
    """The flatbuffer contradicts itself; the message is a sentence fragment."""


def load(model: Path, exits: door.Exits | None = None) -> Graph:
    """Read a model and bind its exits by output name; without `exits` its outputs are the final exit.

    Raises TrecxError once, with every unsupported operator (index, name, location) and every other problem.
    """
    try:
        if model.exists() and not model.is_file() and not model.is_dir():
            raise TrecxError(f"{model}: is not a regular file.")
        if model.stat().st_size > MAX_FILE:
            raise TrecxError(f"{model}: larger than {MAX_FILE} bytes, which no supported target could hold.")
        content = model.read_bytes()
    except OSError as error:
        raise TrecxError(f"{model}: cannot be read: {error.strerror}.") from error
    return parse(content, exits, str(model))


def parse(content: bytes, exits: door.Exits | None = None, where: str = "model") -> Graph:
    """`load` for a model already in memory; `where` names it in messages."""
    if content[4:8] != b"TFL3":
        raise TrecxError(f"{where}: not a TFLite flatbuffer (its identifier is not TFL3).")
    try:
        return _Reader(content, where).graph(exits)
    except (TrecxError, Refused):
        raise
    except _Broken as error:
        raise TrecxError(f"{where}: corrupt TFLite flatbuffer: {error}.") from error
    except Exception as error:  # the schema code meets corrupt offsets with whatever Python raises
        raise TrecxError(f"{where}: corrupt TFLite flatbuffer ({type(error).__name__}: {error}).") from error


class _Reader:
    """One pass over one flatbuffer."""

    def __init__(self, content: bytes, where: str) -> None:
        self.where = where
        self.model = schema.Model.GetRootAs(content, 0)
        if self.model.Version() != 3:
            raise _Broken(f"schema version {self.model.Version()}, expected 3")
        if self.model.SubgraphsLength() != 1:
            count = self.model.SubgraphsLength()
            signatures = self.model.SignatureDefsLength()
            of = f" of {signatures} signatures" if signatures > 1 else ""
            told = "supported: 1, without other signatures, control flow or an initialization of variables (CALL_ONCE)"
            raise TrecxError(f"{where}: {count} subgraphs{of}; {told}.", "Export one signature, without state.")
        self.subgraph = self.model.Subgraphs(0)
        counts = {
            "tensors": self.subgraph.TensorsLength(),
            "operators": self.subgraph.OperatorsLength(),
            "operator codes": self.model.OperatorCodesLength(),
        }
        if problems := [
            f"{where}: {n:,} {k}; supported: up to {MAX_ITEMS:,}." for k, n in counts.items() if n > MAX_ITEMS
        ]:
            raise TrecxError(problems, "Use a smaller model.")
        self.scales = 0
        # Why a tensor cannot be read that a valid file may well have: it matters where an operator names it.
        self.unreadable: dict[int, str] = {}
        self.tensors = [self.tensor(k) for k in range(self.subgraph.TensorsLength())]

    def tensor(self, index: int) -> Tensor:
        """The tensor at `index`, with its data if it is constant."""
        raw = self.subgraph.Tensors(index)
        if raw.ShapeLength() > MAX_RANK:
            raise _Broken(f"tensor {index} has rank {raw.ShapeLength()}")
        shape = tuple(int(raw.Shape(k)) for k in range(raw.ShapeLength()))
        if any(d < 0 for d in shape) or prod(shape) > MAX_ELEMENTS:
            raise _Broken(f"tensor {index} has shape {shape}")
        if 0 in shape:
            self.unreadable[index] = f"has shape {shape}, no element"
        name = (raw.Name() or b"").decode("utf-8", "replace")
        dtype = TYPE_NAMES.get(raw.Type(), f"type {raw.Type()}")
        data = self.data(raw, index, shape)
        return Tensor(index, name, shape, dtype, self.quant(raw), data, variable=bool(raw.IsVariable()))

    def quant(self, raw: Any) -> Quant | None:
        """Per-tensor or per-axis quantization; None where the tensor has none."""
        q = raw.Quantization()
        if q is None or q.ScaleLength() == 0:
            return None
        # Offsets may be shared: many tensors with one long list of scales would cost far more than the file's size.
        self.scales += q.ScaleLength() + q.ZeroPointLength()
        if self.scales > MAX_SCALES:
            raise _Broken(f"more than {MAX_SCALES} scales and zero points")
        scale = tuple(float(v) for v in q.ScaleAsNumpy())
        # TFLM ignores scales without a zero point; one zero point is that of every scale. Operators check the rest.
        zero_point = tuple(int(v) for v in q.ZeroPointAsNumpy()) if q.ZeroPointLength() else ()
        zero_point *= len(scale) if len(zero_point) == 1 else 1
        return Quant(scale, zero_point, int(q.QuantizedDimension()) if len(scale) > 1 else None)

    def data(self, raw: Any, index: int, shape: tuple[int, ...]) -> np.ndarray | None:
        """The constant's values; None for an activation."""
        if not 0 <= raw.Buffer() < self.model.BuffersLength():
            raise _Broken(f"tensor {index} names buffer {raw.Buffer()} of {self.model.BuffersLength()}")
        buffer = self.model.Buffers(raw.Buffer())
        if buffer.DataLength() == 0 or 0 in shape:
            return None
        if raw.Type() not in DTYPES:
            self.unreadable[index] = f"is {TYPE_NAMES.get(raw.Type(), raw.Type())}; supported constants: int8, int32"
            return None
        if raw.Sparsity() is not None:
            self.unreadable[index] = "is sparse; supported: dense weights (leave out the converter's sparsity)"
            return None
        dtype = DTYPES[raw.Type()]
        if buffer.DataLength() != prod(shape) * dtype.itemsize:
            raise _Broken(f"tensor {index} of shape {shape} has {buffer.DataLength()} bytes of data")
        values: np.ndarray = buffer.DataAsNumpy().view(dtype).reshape(shape)
        return values

    def node(self, index: int) -> tuple[int | str, Node]:
        """The operator's code, a custom operator's name, and the node at `index`."""
        raw = self.subgraph.Operators(index)
        if not 0 <= raw.OpcodeIndex() < self.model.OperatorCodesLength():
            raise _Broken(f"operator {index} names code {raw.OpcodeIndex()}")
        code = self.model.OperatorCodes(raw.OpcodeIndex())
        builtin: int | str = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = OPERATOR_NAMES.get(builtin, f"operator {builtin}")
        if builtin == schema.BuiltinOperator.CUSTOM:
            builtin = (code.CustomCode() or b"").decode("utf-8", "replace")
            name = builtin if builtin in OPS else f"custom operator {builtin!r}"
        if raw.InputsLength() > MAX_INPUTS or not 1 <= raw.OutputsLength() <= MAX_INPUTS:
            raise _Broken(f"operator {index} has {raw.InputsLength()} inputs and {raw.OutputsLength()} outputs")
        inputs = tuple(self.operand(index, int(raw.Inputs(k))) for k in range(raw.InputsLength()))
        outputs = tuple(self.operand(index, int(raw.Outputs(k))) for k in range(raw.OutputsLength()))
        if any(t is None for t in outputs):
            raise _Broken(f"operator {index} has no output tensor")
        table = raw.BuiltinOptions()
        options = None if table is None else schema.BuiltinOptionsCreator(raw.BuiltinOptionsType(), table)
        if isinstance(builtin, str):
            options = raw.CustomOptionsAsNumpy().tobytes() if raw.CustomOptionsLength() else b""
        return builtin, Node(index, name, inputs, tuple(t for t in outputs if t is not None), options)

    def operand(self, operator: int, index: int) -> Tensor | None:
        """The tensor an operator names; None for an omitted input."""
        if not -1 <= index < len(self.tensors):
            raise _Broken(f"operator {operator} names tensor {index} of {len(self.tensors)}")
        return None if index == -1 else self.tensors[index]

    def ops(self) -> tuple[Op, ...]:
        """Every operator, or TrecxError with each one that cannot be compiled."""
        ops, problems, unknown = [], [], False
        for index in range(self.subgraph.OperatorsLength()):
            builtin, node = self.node(index)
            location = f"{self.where}: operator {index}, {node.name}, computing {_short(node.outputs[0].name)}"
            if builtin not in OPS:
                problems.append(f"{location}: not supported.")
                unknown = True
                continue
            named = [t for t in (*node.inputs, *node.outputs) if t is not None and t.index in self.unreadable]
            if named:
                problems += [f"{location}: {_short(t.name)} {self.unreadable[t.index]}." for t in named]
                continue
            try:
                ops.append(OPS[builtin].read(node))
            except Refused as refused:
                problems.append(f"{location}: {'; '.join(refused.problems)}.")
        if problems:
            border = list(self.border())
            names = ", ".join(OPERATOR_NAMES.get(builtin, str(builtin)) for builtin in OPS)
            hints = [*([f"Supported operators, int8: {names}."] if unknown else []), *([INT8] if border else [])]
            raise TrecxError([*border, *problems], " ".join(hints))
        return tuple(ops)

    def border(self) -> Iterator[str]:
        """What about the type of the inputs and outputs is not supported, as sentences."""
        for what in ("Input", "Output"):
            length = min(getattr(self.subgraph, f"{what}sLength")(), MAX_INPUTS)
            for tensor in (self.operand(-1, int(getattr(self.subgraph, f"{what}s")(k))) for k in range(length)):
                if tensor is not None and tensor.dtype != "int8":
                    yield f"{self.where}: {what.lower()} {_short(tensor.name)} is {tensor.dtype}; supported: int8."

    def graph(self, exits: door.Exits | None) -> Graph:
        """The whole model with its exits bound."""
        count = self.subgraph.InputsLength()
        if not 1 <= count <= MAX_INPUTS:
            told = f"{self.where}: {count} inputs; supported: 1 to {MAX_INPUTS}."
            raise TrecxError(told, "A model computes its answer from what it is given.")
        ops = self.ops()
        states = {tensor.index for op in ops if op.stateful for tensor in op.outputs}
        if problems := [f"{self.where}: {problem}." for problem in contradictions(self.model, self.subgraph, states)]:
            raise TrecxError(problems, "The file contradicts itself or keeps a state; convert the model again.")
        inputs = self.inputs()
        ready = {one.tensor.index for one in inputs}
        for op in ops:
            for tensor in op.inputs:
                if tensor.index not in ready:
                    raise _Broken(f"operator {op.index} reads tensor {tensor.index} before it is computed")
            for tensor in op.outputs:
                if tensor.index in ready:
                    raise _Broken(f"operator {op.index} computes tensor {tensor.index} a second time")
                ready.add(tensor.index)
        graph = Graph(inputs, ops, self.exits(exits, ops))
        graph.check()
        if problems := [f"{self.where}: operator {op.index}, {op.name}, {why}." for op, why in skipped(graph)]:
            raise TrecxError(problems, "Let the first exit read what outlives a run, or put the exit behind all that.")
        return graph

    def inputs(self) -> tuple[Input, ...]:
        """The model's inputs in order, by signature name, or by tensor name where the file has no signature."""
        listed = [self.operand(-1, int(self.subgraph.Inputs(k))) for k in range(self.subgraph.InputsLength())]
        tensors = [tensor for tensor in listed if tensor is not None]
        if len(tensors) < len(listed):
            raise _Broken("an input is no tensor")
        problems = [f"{self.where}: input {_short(t.name)} {why}." for t in tensors for why in self.unfit(t, tensors)]
        if problems:
            raise TrecxError(dict.fromkeys(problems), INT8 if "supported: int8" in " ".join(problems) else "")
        if (total := sum(tensor.size for tensor in tensors)) > MAX_SAMPLE:
            told = f"{self.where}: the inputs are {total:,} bytes; supported: up to {MAX_SAMPLE:,}."
            raise TrecxError(told, "No supported target could hold them.")
        named = {tensor.index: name for name, tensor in self.signature("Input").items()}
        return tuple(Input(named.get(tensor.index, tensor.name), tensor) for tensor in tensors)

    def unfit(self, tensor: Tensor, inputs: list[Tensor]) -> Iterator[str]:
        """What about one of the model's inputs is not supported, as fragments."""
        if tensor.data is not None:
            yield "is a constant"
        if [one.index for one in inputs].count(tensor.index) > 1:
            yield "is listed more than once"
        if tensor.index in self.unreadable:
            yield self.unreadable[tensor.index]
        if tensor.dtype != "int8" or _uncertain(tensor.quant) or tensor.shape[:1] != (1,):
            told = f"is {tensor.dtype} {tensor.shape}"
            yield f"{told}; supported: int8 with a scale and a zero point, batch 1"

    def signature(self, what: str) -> dict[str, Tensor]:
        """The signature's inputs or outputs by name; none where the file has no signature."""
        if not self.model.SignatureDefsLength():
            return {}
        signature = self.model.SignatureDefs(0)
        length = getattr(signature, f"{what}sLength")()
        if length > MAX_INPUTS:
            raise _Broken(f"{length} signature {what.lower()}s")
        entries = [getattr(signature, f"{what}s")(k) for k in range(length)]
        found = {
            (one.Name() or b"").decode("utf-8", "replace"): self.operand(-1, int(one.TensorIndex())) for one in entries
        }
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def outputs(self) -> dict[str, Tensor]:
        """The model's outputs by signature name, or by tensor name where the file has no signature."""
        if self.subgraph.OutputsLength() > MAX_INPUTS or self.model.SignatureDefsLength() > MAX_INPUTS:
            raise _Broken(f"{self.subgraph.OutputsLength()} outputs")
        listed = [self.operand(-1, int(self.subgraph.Outputs(k))) for k in range(self.subgraph.OutputsLength())]
        return self.signature("Output") or {t.name: t for t in listed if t is not None}

    def exits(self, spec: door.Exits | None, ops: tuple[Op, ...]) -> tuple[Exit, ...]:
        """Bind each exit to outputs by name; without `spec` all outputs are the answer of one exit."""
        producers = {tensor.index: op for op in ops for tensor in op.outputs}
        listed = self.outputs()
        outputs = {name: Output(name, tensor) for name, tensor in listed.items() if tensor.index in producers}
        if spec is None:
            if not outputs or len(outputs) < len(listed):
                raise TrecxError(f"{self.where}: an output is computed by no operator.", "Export the model again.")
            if len(outputs) > 1 and sum(scores(producers[o.tensor.index]) for o in outputs.values()) > 1:
                raise TrecxError(
                    f"{self.where}: {len(outputs)} outputs ({', '.join(outputs)}) and no exits.json.",
                    "Say which output is which exit in an exits.json beside the model.",
                )
            first, *others = outputs
            spec_exits: tuple[door.ExitSpec, ...] = (door.ExitSpec("final", first, others=tuple(others)),)
        else:
            spec_exits = spec.exits
        problems = [
            f"{self.where}: no output {name!r} for exit {e.name!r}; the model has {', '.join(listed) or 'none'}."
            for e in spec_exits
            for name in (*e.outputs, *([e.gate] if e.gate else []))
            if name not in outputs
        ]
        if problems:
            raise TrecxError(problems, "Exits are bound by output name: correct exits.json, or export named outputs.")
        return bind(self.where, spec, spec_exits, outputs, producers)


def _uncertain(quant: Quant | None) -> bool:
    """Whether a quantization is not one scale with a zero point."""
    return quant is None or (len(quant.scale), len(quant.zero_point)) != (1, 1)


def _short(name: str) -> str:
    """The end of a tensor name, which is where converters put the telling part."""
    return repr(name if len(name) <= 60 else "…" + name[-59:])
