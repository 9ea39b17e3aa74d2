"""Exits bound to a model's outputs: which tensors they answer with, and by what they decide.

The output of a SOFTMAX is class scores, whose logits are what SOFTMAX reads. Outputs that `exits.json` gives classes to
are class scores as well. Everything else is values, or a map.
"""

from collections.abc import Iterator, Mapping, Sequence

from trecx import decision
from trecx import exits as door
from trecx.compiler.graph import Exit, Graph, Output
from trecx.compiler.ir import Op, Tensor
from trecx.compiler.ops.softmax import Softmax
from trecx.compiler.rewrites.unused import needed
from trecx.errors import TrecxError


def bind(
    where: str,
    spec: door.Exits | None,
    exits: Sequence[door.ExitSpec],
    outputs: Mapping[str, Output],
    producers: Mapping[int, Op],
) -> tuple[Exit, ...]:
    """The exits in order; TrecxError with everything about them that cannot be. `where` names the model."""
    classes = len(spec.classes) if spec is not None else _unnamed(exits, outputs, producers)
    bound = [_exit(e, classes, outputs, producers) for e in exits]
    problems = [f"{where}: {p}." for e in bound for p in _problems(e, producers)]
    problems += [f"{where}: {p}." for p in _disagreements(bound, classes)]
    if problems:
        raise TrecxError(problems, "Correct exits.json, or export the model's outputs accordingly.")
    if spec is not None and spec.otherwise == door.MOST_CONFIDENT and len(bound) > 1:
        bound[-1] = _decided(bound[-1], str(exits[0].criterion), None)
    return tuple(bound)


def scores(producer: Op) -> bool:
    """Whether an operator computes a row of class scores."""
    row = producer.outputs[0]
    return isinstance(producer, Softmax) and 1 < row.size == row.shape[-1]


def skipped(graph: Graph) -> Iterator[tuple[Op, str]]:
    """Operators whose state would miss the runs that end at an earlier exit."""
    always, *later = (set().union(*(needed(graph, tensor) for tensor in e.read)) for e in graph.exits)
    for op in graph.ops:
        if op.stateful and op.index not in always and any(op.index in wanted for wanted in later):
            yield op, f"keeps a state, which would miss every run that exit {graph.exits[0].name!r} ends"


def _unnamed(exits: Sequence[door.ExitSpec], outputs: Mapping[str, Output], producers: Mapping[int, Op]) -> int:
    """Number of classes of a model without `exits.json`: those of its one output where that is a row of scores."""
    tensor = outputs[exits[0].output].tensor
    return tensor.size if len(outputs) == 1 and scores(producers[tensor.index]) else 0


def _exit(spec: door.ExitSpec, classes: int, outputs: Mapping[str, Output], producers: Mapping[int, Op]) -> Exit:
    answer = tuple(outputs[name] for name in spec.outputs)
    logits = None
    if classes:
        producer = producers[answer[0].tensor.index]
        logits = producer.inputs[0] if isinstance(producer, Softmax) else answer[0].tensor
    found = Exit(spec.name, answer, logits)
    if spec.criterion is None:
        return found
    return _decided(found, spec.criterion, None if spec.gate is None else outputs[spec.gate].tensor)


def _decided(bound: Exit, criterion: str, gate: Tensor | None) -> Exit:
    """The exit with its decision, which reads a gate or the logits."""
    reads = gate if gate is not None else bound.logits
    assert reads is not None
    made = decision.criterion(criterion)(reads.scale, reads.zero_point)
    return Exit(bound.name, bound.outputs, bound.logits, made, reads)


def _problems(bound: Exit, producers: Mapping[int, Op]) -> Iterator[str]:
    """What about one exit cannot be."""
    scores, decides = bound.scores, bound.decides
    if bound.logits is not None and scores.size != scores.shape[-1]:
        shape = "x".join(str(d) for d in scores.shape)
        yield f"exit {bound.name!r} has scores of shape {shape}; supported: one row"
    if bound.decision is not None and bound.decision.gate and decides is not None and decides.size != 1:
        yield f"exit {bound.name!r} decides by a gate of {decides.size} values; supported: one"
    elif bound.decision is not None and not bound.decision.gate and bound.logits is scores:
        name = producers[scores.index].name
        yield f"exit {bound.name!r} ends in {name}; its decision reads what SOFTMAX reads: export it as softmax scores"


def _disagreements(bound: Sequence[Exit], classes: int) -> Iterator[str]:
    """What exits must have in common."""
    if classes:
        sizes = {e.scores.size for e in bound} | {classes}
        if len(sizes) > 1:
            yield f"exits and exits.json disagree on the number of classes: {sorted(sizes)}"
        elif max(sizes) > door.MOST_CLASSES:
            yield f"{max(sizes)} classes; supported: up to {door.MOST_CLASSES}"
        return
    forms = {tuple((o.tensor.shape, o.tensor.scale, o.tensor.zero_point) for o in e.outputs) for e in bound}
    if len(forms) > 1:
        yield "exits answer with outputs of other shapes, scales or zero points; supported: the same at every exit"
