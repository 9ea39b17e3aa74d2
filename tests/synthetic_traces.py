"""Traces like those of a trained model with exits: the early exit is often right, and knows when."""

import numpy as np

from trecx.decision import MaxScore, exit_taken, limits, statistics
from trecx.judge.trace import Trace

SCALE = 0.12
DECISION = MaxScore(SCALE)
CLASSES = 12


def synthetic(samples=1500, accuracies=(0.86, 0.92), threshold=0.8, seed=0, classes=CLASSES):
    """A labelled trace whose exits reach about these accuracies; confidence rises with being right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples).astype(np.int32)
    difficulty = rng.random(samples)
    logits = np.empty((samples, len(accuracies), classes), np.int8)
    for k, accuracy in enumerate(accuracies):
        hardness = 0.8 * difficulty + 0.2 * rng.random(samples)
        right = hardness < np.quantile(hardness, accuracy)
        answer = np.where(right, labels, (labels + rng.integers(1, classes, samples)) % classes)
        values = rng.normal(-30, 10, (samples, classes))
        lead = np.where(right, 30 + 60 * (1 - hardness), 25 + 25 * rng.random(samples))
        values[np.arange(samples), answer] = lead
        logits[:, k] = np.clip(np.rint(values), -128, 127)
    early = len(accuracies) - 1
    at = limits((DECISION,) * early, (threshold,) * early)
    return Trace(logits, logits.copy(), taken(logits, (DECISION,) * early, at), labels)


def taken(logits, decisions, at):
    """The exit that answers each sample of int8 logits `(n, exits, classes)` at these limits."""
    read = [logits[:, k] for k in range(len(decisions))]
    return exit_taken(statistics(decisions, read, len(logits)), at, logits.shape[1])
