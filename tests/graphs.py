"""Small graphs for tests of passes and planner: an op that only has inputs, an output and a size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from trecx.compiler.graph import Exit, Graph, Input, Output
from trecx.compiler.ir import KernelCall, Node, Op, Quant, Tensor
from trecx.decision import MaxScore

QUANT = Quant((0.1,), (0,))


@dataclass(frozen=True)
class Plain(Op):
    """An op without attributes."""

    cost: int = 0

    @classmethod
    def read(cls, node: Node) -> Self:
        return cls(node.index, node.name, tuple(t for t in node.inputs if t), (node.outputs[0],))

    def macs(self) -> int:
        return self.cost

    def call(self) -> KernelCall:
        return KernelCall("plain", ())


def tensor(index: int, *shape: int) -> Tensor:
    return Tensor(index, f"t{index}", (1, *shape), "int8", QUANT)


def bind(logits: Sequence[Tensor]) -> tuple[Exit, ...]:
    """Exits that answer with these logits; all but the last decide by them."""
    early = (*(True for _ in logits[1:]), False)
    return tuple(
        Exit(f"e{k}", (Output(f"out{k}", t),), t, MaxScore(0.1) if decides else None, t if decides else None)
        for k, (t, decides) in enumerate(zip(logits, early, strict=True))
    )


def chain(sizes: list[int], reads: list[list[int]], exits: list[int]) -> Graph:
    """Tensor 0 is the input; op k reads the tensors `reads[k]` and computes tensor k + 1; exits name logits tensors."""
    tensors = [tensor(k, size) for k, size in enumerate(sizes)]
    ops = tuple(
        Plain(k, "PLAIN", tuple(tensors[r] for r in reads[k]), (tensors[k + 1],), cost=10**k) for k in range(len(reads))
    )
    bound = bind([tensors[t] for t in exits])
    return Graph((Input("in", tensors[0]),), ops, bound)
