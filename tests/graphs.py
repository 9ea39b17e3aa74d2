"""Small graphs for tests of passes and planner: an op that only has inputs, an output and a size."""

from dataclasses import dataclass
from typing import Self

from trecx.compiler.ir import Exit, Graph, KernelCall, Node, Op, Quant, Tensor

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


def chain(sizes: list[int], reads: list[list[int]], exits: list[int]) -> Graph:
    """Tensor 0 is the input; op k reads the tensors `reads[k]` and computes tensor k + 1; exits name logits tensors."""
    tensors = [tensor(k, size) for k, size in enumerate(sizes)]
    ops = tuple(
        Plain(k, "PLAIN", tuple(tensors[r] for r in reads[k]), (tensors[k + 1],), cost=10**k) for k in range(len(reads))
    )
    criteria = ["max_score"] * (len(exits) - 1) + [None]
    bound = tuple(
        Exit(f"e{k}", f"out{k}", tensors[t], tensors[t], criterion)
        for k, (t, criterion) in enumerate(zip(exits, criteria, strict=True))
    )
    return Graph(tensors[0], ops, bound)
