"""The plan: stages of ops up to each exit (`stages`), kernels (`selection`), and places in the arena (`memory`)."""

from trecx.compiler.plan.memory import Plan, lower_bound
from trecx.compiler.plan.selection import plan_memory
from trecx.compiler.plan.stages import Buffer, Stage, before, heads, lifetimes, split, steps

__all__ = ["Buffer", "Plan", "Stage", "before", "heads", "lifetimes", "lower_bound", "plan_memory", "split", "steps"]
