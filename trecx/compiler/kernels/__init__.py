"""Which kernel computes an op on a target: one file per variant, one entry here.

A kernel is a function from an op to its call, weights packed as its C wants them, or None where it cannot compute the
op. Every op has its plain portable kernel (`Op.call`), which is taken where nothing else can.
"""

from collections.abc import Callable, Mapping
from math import inf

from trecx.compiler.ir import KernelCall, Op
from trecx.compiler.kernels import dsp, mve, portable
from trecx.compiler.target import Target

Kernel = Callable[[Op, Target], KernelCall | None]

# In order of preference for speed, which `trecx bench` measures.
VARIANTS: Mapping[str, Mapping[type[Op], tuple[Kernel, ...]]] = {
    "portable": portable.KERNELS,
    "dsp": dsp.KERNELS,
    "mve": mve.KERNELS,
}
OPTIMIZE = ("time", "ram", "flash")


def candidates(op: Op, target: Target) -> tuple[KernelCall, ...]:
    """All ways to compute `op` on `target`, the fastest first, the plain kernel last."""
    kernels = [kernel for variant in target.kernels for kernel in VARIANTS[variant].get(type(op), ())]
    calls = [call for kernel in kernels if (call := kernel(op, target)) is not None]
    return (*calls, op.call())


def choose(op: Op, target: Target, optimize: str = "time") -> KernelCall:
    """The call that computes `op`; `optimize` is one of OPTIMIZE."""
    calls = candidates(op, target)
    if optimize == "ram":
        return min(calls, key=lambda call: _memory(op, call))
    if optimize == "flash":
        # Tables alone: what code a kernel takes depends on the whole network, whose layers share it.
        return min(calls, key=lambda call: sum(table.values.nbytes for table in call.tables))
    return calls[0]


def _memory(op: Op, call: KernelCall) -> float:
    """Bytes that a call needs beside its inputs: scratch, and as much of the output as can overlap none of them."""
    lags = [op.output.size if d is None else d for d in call.distances]
    return call.scratch + min([op.output.size, *lags], default=inf)
