"""When an early exit may answer: one class and one kernel header per criterion, the same integers on host and device.

A criterion turns the int8 values that it reads into an integer *statistic*, small where the exit is sure, and an exit
answers where `statistic <= limit`. Whatever the criterion, a statistic is at least 1 and below 2^32, so that the limit
`NEVER` never answers and `ALWAYS` always does; a threshold as people choose it becomes a limit on the host.
"""

from collections.abc import Sequence

import numpy as np

from trecx.decision.criterion import ALWAYS, NEVER, Criterion
from trecx.decision.entropy import Entropy
from trecx.decision.gate import Gate
from trecx.decision.margin import Margin
from trecx.decision.max_score import MaxScore

__all__ = ["ALWAYS", "CRITERIA", "NEVER", "Criterion", "criterion", "exit_taken", "limits", "statistics"]

CRITERIA: tuple[type[Criterion], ...] = (MaxScore, Margin, Entropy, Gate)


def criterion(name: str) -> type[Criterion]:
    """The criterion called `name`; KeyError where there is none."""
    return {kind.name: kind for kind in CRITERIA}[name]


def statistics(decisions: Sequence[Criterion], read: Sequence[np.ndarray], samples: int) -> np.ndarray:
    """Each decision's statistic of the int8 values `(samples, k)` that it reads: uint32 `(samples, decisions)`."""
    found = np.empty((samples, len(decisions)), np.uint32)
    for column, (one, values) in enumerate(zip(decisions, read, strict=True)):
        found[:, column] = one.statistic(values)
    return found


def limits(decisions: Sequence[Criterion], thresholds: Sequence[float | None]) -> tuple[int, ...]:
    """The limit of each decision at thresholds of the first of them; the rest never answer of themselves."""
    rest = [None] * (len(decisions) - len(thresholds))
    return tuple(one.limit(t) for one, t in zip(decisions, (*thresholds, *rest), strict=True))


def exit_taken(statistics: np.ndarray, limits: Sequence[int], exits: int) -> np.ndarray:
    """Index of the exit that answers, uint8 `(n,)`.

    `statistics` is uint32 `(n, decisions)`, `limits` one for each. The first exit whose statistic is within its limit
    answers. Where none does it is the last exit, which usually decides nothing; where it has a decision too, so that
    there are as many as `exits`, the one with the smallest statistic, the later of equals.
    """
    decisions = statistics.shape[1]
    taken = np.full(len(statistics), exits - 1, np.uint8)
    if decisions == exits:
        taken = (exits - 1 - statistics[:, ::-1].argmin(axis=1)).astype(np.uint8)
    for k in reversed(range(decisions)):
        taken[statistics[:, k] <= limits[k]] = k
    return taken
