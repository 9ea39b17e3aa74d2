"""How good an exit's scores are as probabilities, and how well each criterion tells who is right there.

Ranking decides whether leaving early pays; calibration may mislead (arXiv:2508.21495), so both are told.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trecx.decision import CRITERIA

BINS = 15


@dataclass(frozen=True)
class Quality:
    """An exit's scores on labelled samples: negative log-likelihood in nats, Brier score, expected calibration error.

    `told` are (criterion, AUROC): the chance that a right answer is surer by it than a wrong one, 0.5 for guessing,
    None where all answers are right, or all wrong. A gate's is not among them unless the exit decides by it.
    """

    nll: float
    brier: float
    ece: float
    told: tuple[tuple[str, float | None], ...]


def quality(logits: np.ndarray, scale: float, labels: np.ndarray, decided: dict[str, np.ndarray]) -> Quality:
    """Judge int8 `logits` `(n, classes)` of a scale; `decided` has statistics `(n,)` of further criteria by name."""
    real = scale * (logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    scores = np.exp(real) / np.exp(real).sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    truth = np.zeros_like(scores)
    truth[rows, labels] = 1
    right = logits.argmax(axis=1) == labels
    own = {kind.name: kind(scale).statistic(logits) for kind in CRITERIA if not kind.gate}
    return Quality(
        nll=float(-np.log(np.maximum(scores[rows, labels], 1e-12)).mean()),
        brier=float(((scores - truth) ** 2).sum(axis=1).mean()),
        ece=_calibration_error(scores.max(axis=1), right),
        told=tuple((name, auroc(statistic, right)) for name, statistic in (own | decided).items()),
    )


def auroc(statistics: np.ndarray, right: np.ndarray) -> float | None:
    """Chance that a right answer has a smaller statistic, hence is surer, than a wrong one; ties count half."""
    rights, wrongs = np.sort(statistics[right]), statistics[~right]
    if not len(rights) or not len(wrongs):
        return None
    below = np.searchsorted(rights, wrongs, "left").sum(dtype=np.int64)
    equal = np.searchsorted(rights, wrongs, "right").sum(dtype=np.int64) - below
    return float((below + equal / 2) / (len(rights) * len(wrongs)))


def _calibration_error(sure: np.ndarray, right: np.ndarray) -> float:
    """Mean distance of confidence and accuracy over bins of equal width, weighted by their samples."""
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps: Sequence[float] = [
        abs(float(sure[place == k].mean() - right[place == k].mean())) * float((place == k).mean())
        for k in range(BINS)
        if (place == k).any()
    ]
    return float(sum(gaps))
