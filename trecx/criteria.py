"""When an early exit may answer: integer tests on int8 logits, the same on the host and in the generated C.

With d = (highest logit) - logit, softmax's highest score is 1 / sum exp(-scale * d). So "highest score >= rho" is
"sum exp(-scale * d) <= 1 / rho", and with a table e[d] = round(2^16 exp(-scale * d)) it needs no division, no
exponential and no float. Unlike int8 scores, which end at 255/256, no threshold up to 1 is out of reach.
"""

import numpy as np

NEVER = 0
ALWAYS = 2**32 - 1


def table(scale: float) -> np.ndarray:
    """`e[d]`, uint32 `(256,)`, for logits of this scale; `e[0]` is 65536."""
    return np.rint(65536.0 * np.exp(-scale * np.arange(256, dtype=np.float64))).astype(np.uint32)


def limit(threshold: float | None) -> int:
    """The largest sum of `e[d]` that leaves at `threshold` in (0, 1]; None, which means never, gives 0."""
    return NEVER if threshold is None else int(min(65536.0 / threshold, ALWAYS))


def sums(logits: np.ndarray, scale: float) -> np.ndarray:
    """Sum of `e[d]` over the classes, uint32; `logits` is int8 `(..., classes)`."""
    wide = logits.astype(np.int32)
    distance = wide.max(axis=-1, keepdims=True) - wide
    return table(scale)[distance].sum(axis=-1, dtype=np.uint32)


def exit_taken(logits: np.ndarray, scales: tuple[float, ...], limits: tuple[int, ...]) -> np.ndarray:
    """Index of the first exit that may answer, uint8 `(n,)`.

    `logits` is int8 `(n, exits, classes)`; `scales` and `limits` belong to the early exits, in order.
    """
    taken = np.full(len(logits), logits.shape[1] - 1, np.uint8)
    for exit_index in reversed(range(len(limits))):
        leaves = sums(logits[:, exit_index], scales[exit_index]) <= limits[exit_index]
        taken[leaves] = exit_index
    return taken
