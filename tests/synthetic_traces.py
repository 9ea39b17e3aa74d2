"""Traces like those of a trained model with exits: the early exit is often right, and knows when."""

import numpy as np

from trecx import criteria
from trecx.judge.trace import Trace

SCALE = 0.12
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
    limits = (criteria.limit(threshold),) * (len(accuracies) - 1)
    taken = criteria.exit_taken(logits, (SCALE,) * len(limits), limits)
    return Trace(logits, logits.copy(), taken, labels)
