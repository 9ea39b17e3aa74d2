"""Accuracy lost against a reference at every point of the path of limits, and how much it is at most.

The loss of a sample is paired: 1 where only the reference is right, -1 where only the model with exits is, else 0. Two
promises are made of its mean, and samples without labels narrow the first:

- with a confidence: `paired_bound`, or `Predicted` with samples without labels;
- of the mean only: `mean_bound`.

Samples are taken as independent; clips of one speaker are not quite, which makes the true bounds somewhat larger.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np

from trecx.decision import Criterion
from trecx.errors import TrecxError
from trecx.judge.sweep import Places, answering, places, places_at, rights
from trecx.judge.trace import Trace

_COLDEST, _HOTTEST = 1e-4, 1e2  # inverse temperatures of int8 logits, far beyond any that a network has


@dataclass(frozen=True, eq=False)
class Losses:
    """Losses against the reference at every point of the path of limits, in points; `exit_rate` as a share.

    `loss` is observed on labelled samples, `bound` what is promised not to be exceeded; arrays `(points,)`, `limits`
    `(points, early exits)`. `apart` says how far the exit rates of samples without labels are from those of the others:
    Kolmogorov and Smirnov's statistic over the path, 0 where there are none.
    """

    limits: np.ndarray
    exit_rate: np.ndarray
    loss: np.ndarray
    bound: np.ndarray
    apart: float = 0.0


def losses(
    trace: Trace,
    decisions: Sequence[Criterion],
    confidence: float | None,
    reference_right: np.ndarray | None = None,
    predictions: "Predictions | None" = None,
) -> Losses:
    """What each point of a labelled trace's path loses; a `confidence` of None is the promise of the mean.

    `reference_right`, bool `(n,)`, says which samples the backbone alone gets right; without it the reference is the
    trace's own final exit. `predictions` are of these samples and of some without labels, which the promise of the mean
    makes no use of.
    """
    reference = trace.right()[:, -1] if reference_right is None else np.asarray(reference_right, bool)
    if reference.shape != (len(trace),):
        raise TrecxError(
            f"The backbone's answers are {reference.shape}, the trace has {len(trace)} samples.",
            "Run both on the same split.",
        )
    found, samples = places(trace, decisions), len(trace)
    lost = reference[:, None].astype(np.int64) - rights(trace, decisions)
    total, differing = (found.count(each).sum(axis=1) for each in (lost, np.abs(lost)))
    rate, apart = _left(found, samples), 0.0
    if confidence is None:
        bound = mean_bound(total, samples)
    elif predictions is None:
        bound = _upper(total, differing, samples, confidence)
    else:
        there, more = predictions.places(decisions, found.limits), len(predictions.unlabelled)
        bound = Predicted.of(predictions, found, there, lost).bound(confidence)
        apart = float(np.abs(_left(there, more) - rate).max() * sqrt(samples * more / (samples + more)))
    return Losses(found.limits, rate, 100.0 * total / samples, 100.0 * bound, apart)


def paired_bound(only_reference: np.ndarray, only_exits: np.ndarray, samples: int, confidence: float) -> np.ndarray:
    """One-sided upper confidence bound of the accuracy lost, as a share, from discordant pairs.

    `only_reference` counts samples that only the reference gets right, `only_exits` those that only the model with
    exits gets right. The adjusted Wald interval for paired proportions of Agresti and Min (Statistics in Medicine 24,
    2005): add half a sample to each of the four cells, then a normal bound on the difference. Unlike the plain normal
    bound it does not shrink to nothing where few pairs differ. It is never below the observed loss.
    """
    return _upper(only_reference - only_exits, only_reference + only_exits, samples, confidence)


def paired_interval(only_reference: int, only_exits: int, samples: int) -> tuple[float, float]:
    """Two-sided 95 % interval of the accuracy lost, as shares, from discordant pairs; Agresti and Min as above."""
    mean, variance = _adjusted(only_reference - only_exits, only_reference + only_exits, samples)
    spread = NormalDist().inv_cdf(0.975) * sqrt(variance)
    return mean - spread, mean + spread


def mean_bound(lost: np.ndarray, samples: int) -> np.ndarray:
    """What conformal risk control compares with the loss allowed: n / (n + 1) of the observed loss and B / (n + 1).

    `lost` are sums of paired losses; none is above B = 1. Angelopoulos et al., Conformal Risk Control
    (arXiv:2208.02814): a limit whose value stays within the loss allowed keeps it in expectation over the calibration
    samples and a new one. For a loss that only rises with the limit that is exact. The paired loss also falls, where
    leaving early makes an answer right; whoever takes the last limit before the first that is above what is allowed, as
    `calibrate` does, takes the running maximum of the risk for it, for which the paper shows the promise as samples
    become many; measured, it kept what was allowed (docs/calibration.md). The exact way, the running maximum of each
    sample's loss, counts every new mistake and no gain: it lost 0.1 to 0.6 points where 1 was allowed.
    """
    return np.asarray((lost + 1.0) / (samples + 1.0))


@dataclass(frozen=True, eq=False)
class Predictions:
    """What samples are predicted to lose where they leave at each exit, float64 `(n, exits)`; no labels are needed.

    It is the probability of the final exit's class less that of the class answered, by the final exit's scores at a
    temperature fitted to the labelled samples. `labelled` is of these, `more` of the `unlabelled` ones.
    """

    labelled: np.ndarray
    more: np.ndarray
    unlabelled: Trace

    @classmethod
    def of(cls, trace: Trace, decisions: Sequence[Criterion], unlabelled: Trace) -> "Predictions":
        """From a labelled trace and answers of the same model to samples whose labels nobody knows."""
        inverse = inverse_temperature(trace.logits[:, -1], np.asarray(trace.labels))
        here, more = (_expected(one, decisions, inverse) for one in (trace, unlabelled))
        return cls(here, more, unlabelled)

    def rows(self, rows: np.ndarray) -> "Predictions":
        """The same for some of the labelled samples."""
        return replace(self, labelled=self.labelled[rows])

    def places(self, decisions: Sequence[Criterion], limits: np.ndarray) -> Places:
        """Where the samples without labels leave on the path of limits of the labelled ones."""
        return places_at(self.unlabelled, decisions, limits)


@dataclass(frozen=True, eq=False)
class Predicted:
    """Prediction-powered bounds: labelled losses corrected by what is predicted of all samples.

    With C what a sample is predicted to lose where it leaves, and any weight, the labelled mean of D - weight (C - its
    mean over the unlabelled samples) estimates the mean loss D without bias, and the more C tells of D, the less it
    scatters. Angelopoulos, Duchi and Zrnic, PPI++ (arXiv:2311.01453).

    Means over the labelled samples at every point, `(points,)`: `d`, `dd`, `c`, `cc`, `dc` of D, its square, C, its
    square, their product; `m`, `mm` of C and its square over the unlabelled ones.
    """

    samples: int
    unlabelled: int
    d: np.ndarray
    dd: np.ndarray
    c: np.ndarray
    cc: np.ndarray
    dc: np.ndarray
    m: np.ndarray
    mm: np.ndarray

    @classmethod
    def of(cls, predictions: Predictions, found: Places, there: Places, lost: np.ndarray) -> "Predicted":
        """From labelled samples that leave as `found` says and lose `lost` `(n, exits)`; others leave `there`."""
        here, more = predictions.labelled, predictions.more
        kinds = (lost, lost**2, here, here**2, lost * here)
        d, dd, c, cc, dc = (found.count(each.astype(np.float64)).sum(axis=1) / len(lost) for each in kinds)
        m, mm = (there.count(each).sum(axis=1) / len(more) for each in (more, more**2))
        return cls(len(lost), len(more), d, dd, c, cc, dc, m, mm)

    @property
    def weight(self) -> np.ndarray:
        """How far to trust the predictions: what makes the estimate scatter least, between not at all and wholly."""
        spread = (self.cc - self.c**2) + self.samples / self.unlabelled * (self.mm - self.m**2)
        known = spread > 1e-12  # rounding leaves about 1e-16 where no sample leaves, or all predictions are equal
        return np.clip((self.dc - self.d * self.c) / np.where(known, spread, 1.0), 0.0, 1.0) * known

    def bound(self, confidence: float, weight: np.ndarray | float | None = None) -> np.ndarray:
        """One-sided upper confidence bounds of the accuracy lost, as shares; with a weight of 0 `paired_bound`.

        As in that, two samples are added, half a one with a corrected loss of 1, half a one with -1 and one with 0:
        the bound does not shrink to nothing where few pairs differ. It is never below the estimate.
        """
        w = np.asarray(self.weight if weight is None else weight)
        mean = self.d - w * (self.c - self.m)
        square = self.dd - 2 * w * (self.dc - self.m * self.d) + w**2 * (self.cc - 2 * self.m * self.c + self.m**2)
        predicted = w**2 * np.maximum(self.mm - self.m**2, 0.0) / self.unlabelled
        return _upper(self.samples * mean, self.samples * square, self.samples, confidence, predicted)


def inverse_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The factor of int8 `logits` `(n, classes)` at which their softmax gives `labels` the highest likelihood.

    The log-likelihood is concave in it, so its slope is halved down to where it changes its sign.
    """
    values = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    truth = values[np.arange(len(labels)), labels].mean()
    low, high = _COLDEST, _HOTTEST
    for _ in range(40):  # to 1e-11 of the range's logarithm
        middle = sqrt(low * high)
        expected = (softmax(values, middle) * values).sum(axis=1).mean()
        low, high = (middle, high) if truth > expected else (low, middle)
    return sqrt(low * high)


def softmax(logits: np.ndarray, inverse: float) -> np.ndarray:
    """Probabilities `(n, classes)` of logits at an inverse temperature."""
    values = np.exp(inverse * (logits.astype(np.float64) - logits.max(axis=1, keepdims=True)))
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def _expected(trace: Trace, decisions: Sequence[Criterion], inverse: float) -> np.ndarray:
    """The predicted loss of each sample by the exit where it ends, float64 `(n, exits)`."""
    scores = softmax(trace.logits[:, -1], inverse)
    answered = np.take_along_axis(scores, answering(trace, decisions, trace.logits.argmax(axis=-1)), axis=1)
    return np.asarray(scores.max(axis=1, keepdims=True) - answered)


def _upper(
    total: np.ndarray, squares: np.ndarray, samples: int, confidence: float, more: np.ndarray | float = 0.0
) -> np.ndarray:
    """Upper bounds of means from sums and sums of squares; `more` is variance that the mean has besides."""
    mean, variance = _adjusted(total, squares, samples)
    return np.maximum(mean + NormalDist().inv_cdf(confidence) * np.sqrt(variance + more), total / samples)


def _adjusted(total: Any, squares: Any, samples: int) -> tuple[Any, Any]:
    """Mean and its variance after half a sample more in each of the four cells; numbers or arrays."""
    counted = samples + 2.0
    mean = total / counted
    return mean, ((squares + 1.0) / counted - mean**2) / counted


def _left(found: Places, samples: int) -> np.ndarray:
    """Share of samples that leave before the final exit, `(points,)`."""
    return np.asarray(1.0 - found.count(np.ones(found.intervals.shape[:2], np.int64))[:, -1] / samples)
