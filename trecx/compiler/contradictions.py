"""What a `.tflite` says of itself in two places, differently, and what makes an answer depend on earlier ones.

TFLM trusts one of the two, and not always the one that a reader expects, so that C from the other would compute
something else. Such files are refused, with both sides named.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

MAX_ENTRIES = 64


def contradictions(model: Any, subgraph: Any, states: Collection[int] = ()) -> list[str]:
    """Everything of this kind in the model with its only subgraph, as sentence fragments.

    `states` are the tensors that operators say they keep.
    """
    return [*_variables(subgraph, states), *_signatures(model, subgraph)]


def _variables(subgraph: Any, states: Collection[int]) -> Iterator[str]:
    """Tensors that outlive a run: TFLM keeps them apart from the activations, and what was in them counts."""
    for index in range(subgraph.TensorsLength()):
        if subgraph.Tensors(index).IsVariable() and index not in states:
            name = _name(subgraph, index)
            yield f"tensor {name} is a variable, which outlives a run; supported: outputs of CIRCULAR_BUFFER"


def _signatures(model: Any, subgraph: Any) -> Iterator[str]:
    """A signature names the inputs and outputs, all of them and no others: an interpreter only keeps those listed."""
    for number in range(min(model.SignatureDefsLength(), MAX_ENTRIES)):
        signature = model.SignatureDefs(number)
        for what in ("Input", "Output"):
            length = min(getattr(signature, f"{what}sLength")(), MAX_ENTRIES)
            entries = [getattr(signature, f"{what}s")(k) for k in range(length)]
            named = {int(entry.TensorIndex()) for entry in entries}
            listed = {int(v) for v in getattr(subgraph, f"{what}sAsNumpy")()} if _listed(subgraph, what) else set()
            for index in sorted(named - listed):
                yield f"the signature names {_name(subgraph, index)} as an {what.lower()}, the graph does not"
            for index in sorted(listed - named):
                yield f"the graph names {_name(subgraph, index)} as an {what.lower()}, the signature does not"
            names = Counter((entry.Name() or b"").decode("utf-8", "replace") for entry in entries)
            twice = Counter(int(entry.TensorIndex()) for entry in entries) if what == "Input" else Counter[int]()
            for index in (index for index, count in twice.items() if count > 1):
                yield f"the signature names the input {_name(subgraph, index)} more than once"
            for name in (name for name, count in names.items() if count > 1):
                yield f"the signature names two {what.lower()}s {name!r}"


def _listed(subgraph: Any, what: str) -> bool:
    return bool(getattr(subgraph, f"{what}sLength")())


def _name(subgraph: Any, index: int) -> str:
    """A tensor as messages call it."""
    if not 0 <= index < subgraph.TensorsLength():
        return f"tensor {index}, which does not exist,"
    name = (subgraph.Tensors(index).Name() or b"").decode("utf-8", "replace")
    return repr(name if len(name) <= 60 else "…" + name[-59:])
