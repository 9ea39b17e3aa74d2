"""Which threshold loses at most so many points of accuracy: with which confidence, or in the mean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np

from trecx.decision import Criterion, limits
from trecx.errors import TrecxError
from trecx.judge.losses import Losses, Predictions, losses
from trecx.judge.trace import Trace

DEFAULT_POINTS = 1.0
DEFAULT_CONFIDENCE = 0.8
LEAST_VARIED = 0.05  # of a gate, after its sigmoid
# What is promised of the loss on new samples.
CONFIDENCE, MEAN = "confidence", "mean"
PROMISES = (CONFIDENCE, MEAN)
# Kolmogorov and Smirnov's statistic, which samples of one kind exceed once in a thousand times.
LEAST_APART = 1.95
FINAL_EXIT = "its own final exit"
BACKBONE = "the backbone alone"


@dataclass(frozen=True)
class Calibration:
    """A threshold and what it does on the samples that it was chosen on.

    `thresholds` (None means never) and `limits` of the early exits say the same, each by its exit's criterion.
    `loss` and `bound` are points of accuracy lost against `reference`: as observed, and at most so many as `promise`
    says, with `confidence` or, where that is None, in the mean; negative means gained. `unbounded_thresholds` and
    `unbounded_exit_rate` are what the observed loss alone would have allowed. `unlabelled` samples narrowed the bound;
    `apart` is how far their exit rates are from the others' (`Losses`). `left_out` of the samples are training data, by
    heads that were trained without them.
    """

    thresholds: tuple[float | None, ...]
    limits: tuple[int, ...]
    exit_rate: float
    loss: float
    bound: float
    points: float
    confidence: float | None
    reference: str
    samples: int
    unbounded_thresholds: tuple[float | None, ...]
    unbounded_exit_rate: float
    warnings: tuple[str, ...] = ()
    promise: str = CONFIDENCE
    unlabelled: int = 0
    apart: float = 0.0
    left_out: int = 0

    @property
    def how(self) -> str:
        """How sure the promise is, as a fragment."""
        return "in the mean" if self.confidence is None else f"with {self.confidence:.0%} confidence"


def calibrate(
    trace: Trace,
    decisions: Sequence[Criterion],
    points: float = DEFAULT_POINTS,
    confidence: float = DEFAULT_CONFIDENCE,
    reference_right: np.ndarray | None = None,
    promise: str = CONFIDENCE,
    unlabelled: Trace | None = None,
) -> Calibration:
    """The thresholds with the highest exit rate that lose at most `points` of accuracy on a validation trace.

    The loss is paired: `reference_right`, bool `(n,)`, says which of the same samples the backbone alone gets right;
    without it the reference is the trace's own final exit. Every attainable limit is tried (see `sweep`).

    What must stay within `points` is not the observed loss but its upper confidence bound (`losses.py`): a threshold
    picked at exactly one observed point loses more than that on new samples half of the time (on the authors' traces
    the realised loss scatters by 0.4 to 0.7 points). The limits are tested from "never" upwards until
    the first whose bound is too large; tested in a fixed order, with a stop at the first failure, none of the many
    tests has to be paid for ("fixed sequence testing" of Angelopoulos et al., Learn then Test, arXiv:2110.01052). If
    already "never" fails, because the final exit itself seems worse than the backbone, the sequence starts at the limit
    with the smallest bound instead, and the guarantee is approximate.

    `confidence` is one-sided and defaults to 0.8 here. At the few hundred to two thousand samples that a validation
    split has, 0.95 often asks for a loss below zero and then nothing leaves early; 0.8 costs 0.84 standard errors (0.2
    to 0.6 points), and four builds in five keep the promise. 0.5 means the observed loss itself, as the shipped pair
    of kws takes it: on its 512 samples even 0.8 lets nothing leave (docs/training.md).

    A `promise` of the "mean" is only that the loss, in expectation over calibrations like this one, is not above
    `points` (`mean_bound`); `confidence` does not matter then, nor do `unlabelled` answers of the same model, which
    narrow the confidence bound. `trace` may hold any labelled samples that neither model nor exits were fitted to.
    """
    _check(points, confidence, promise)
    level = confidence if promise == CONFIDENCE else None
    predictions = None if unlabelled is None or level is None else Predictions.of(trace, decisions, unlabelled)
    lost = losses(trace, decisions, level, reference_right, predictions)
    chosen, unbounded = (last_in_sequence(each, points) for each in (lost.bound, lost.loss))
    found = thresholds(decisions, lost.limits[chosen])
    return Calibration(
        thresholds=found,
        limits=limits(decisions[: len(found)], found),
        exit_rate=float(lost.exit_rate[chosen]),
        loss=float(lost.loss[chosen]),
        bound=float(lost.bound[chosen]),
        points=points,
        confidence=level,
        reference=FINAL_EXIT if reference_right is None else BACKBONE,
        samples=len(trace),
        unbounded_thresholds=thresholds(decisions, lost.limits[unbounded]),
        unbounded_exit_rate=float(lost.exit_rate[unbounded]),
        warnings=_warnings(lost, chosen, unbounded, points, level, len(trace)),
        promise=promise,
        unlabelled=0 if predictions is None else len(predictions.more),
        apart=lost.apart,
    )


def thresholds(decisions: Sequence[Criterion], at: Sequence[int]) -> tuple[float | None, ...]:
    """The thresholds of the early exits at these limits, None for "never"."""
    return tuple(one.threshold(int(limit)) for one, limit in zip(decisions, at, strict=False))


def break_even(costs: Sequence[float], plain: float, shares: Sequence[float] | None = None) -> float:
    """The exit rate from which on exits pay: where the mean cost with exits equals `plain`, the backbone alone.

    `costs` are those from input to each exit's answer, every head on the way included (MACs or instructions). With one
    early exit this is what head, check and assistance cost over what leaving early saves. With several, `shares` says
    how the samples that leave early divide among the early exits (equally, if absent). Above 1: exits never pay;
    infinite: leaving early saves nothing.
    """
    early, final = np.asarray(costs[:-1], np.float64), float(costs[-1])
    weights = np.ones(len(early)) if shares is None or not sum(shares) else np.asarray(shares, np.float64)
    saved = final - float(early @ weights / weights.sum()) if len(early) else 0.0
    return (final - plain) / saved if saved > 0 else float("inf")


def break_even_warning(exit_rate: float, rate_needed: float) -> str | None:
    """A sentence where so few samples leave early that the model with exits costs more than the backbone alone."""
    if exit_rate >= rate_needed:
        return None
    return (
        f"Only {exit_rate:.1%} of the samples leave early; below {rate_needed:.1%} the exits cost more than they save: "
        "the backbone alone is cheaper."
    )


def _check(points: float, confidence: float, promise: str) -> None:
    problems = []
    if not 0.0 <= points <= 100.0:
        problems.append(f"{points} points of accuracy cannot be lost; give a number from 0 to 100.")
    if not 0.5 <= confidence < 1.0:
        problems.append(f"Confidence {confidence} is outside [0.5, 1).")
    if promise not in PROMISES:
        problems.append(f"There is no promise {promise!r}; there is {' and '.join(PROMISES)}.")
    if problems:
        raise TrecxError(problems)


def last_in_sequence(loss: np.ndarray, points: float) -> int:
    """Position of the last limit before the first that fails, from "never" (or the best) upwards; 0 if none passes."""
    start = 0 if loss[0] <= points else int(loss.argmin())
    failing = np.flatnonzero(loss[start:] > points)
    last = start + (int(failing[0]) if len(failing) else len(loss) - start) - 1
    return last if last >= start else 0


def _warnings(
    found: Losses, chosen: int, unbounded: int, points: float, confidence: float | None, samples: int
) -> tuple[str, ...]:
    told: list[str] = []
    if found.limits.shape[1] == 0:
        return ()
    if found.exit_rate[chosen] == 0:
        told.append(_nothing_leaves(float(found.loss[0]), points, confidence))
    if found.exit_rate[chosen] < 0.5 * found.exit_rate[unbounded]:
        margin = points - float(found.loss[unbounded])
        half_width = float(found.bound[unbounded] - found.loss[unbounded])
        # Confidence comes with the root of the samples, what a promise of the mean adds with their number.
        needed = samples * (half_width / margin) ** (1 if confidence is None else 2) if margin > 0 else 0
        more = f" About {_rounded(needed)} would." if margin > half_width / 20 else ""
        told.append(
            f"{samples} samples do not show more: without a confidence bound {found.exit_rate[unbounded]:.1%} would "
            f"leave early instead of {found.exit_rate[chosen]:.1%}.{more}"
        )
    return tuple(told)


def promised(found: Calibration) -> str:
    """What the thresholds promise, as a fragment; nothing where even "never" may lose more, or nothing is chosen."""
    if found.bound > found.points or not found.limits:
        return "nothing"
    told = f"at most {found.points:g} points lost against {found.reference} {found.how}"
    return f"{told}, with the help of {found.unlabelled:,} samples without labels" if found.unlabelled else told


def unlike(found: Calibration) -> Iterator[str]:
    """A sentence where the samples without labels are not like the labelled ones, so that the bound means nothing."""
    if found.apart > LEAST_APART:
        yield (
            f"The {found.unlabelled:,} samples without labels are not like the {found.samples:,} validation samples: "
            "other shares of them would leave early than chance explains. The bound holds where both are what the "
            "device will meet; leave out --unlabelled, or bring others."
        )


def stuck(trace: Trace, decisions: Sequence[Criterion]) -> Iterator[str]:
    """Sentences about gates that learned nothing: they say nearly the same to every sample."""
    decided = trace.decided(decisions)
    for number, one in enumerate(decisions):
        if one.gate:
            varies = float(np.std([one.real_threshold(float(s)) for s in decided[:, number]]))
            if varies < LEAST_VARIED:
                yield (
                    f"The gate of exit {number} hardly varies (deviation {varies:.3f}) and cannot tell who may "
                    "leave: train with a higher --gate-prior or another --price, or choose --criterion max_score."
                )


def _nothing_leaves(behind: float, points: float, confidence: float | None) -> str:
    """That nothing leaves early, the probable reason, and what to do; `behind` is how much the final exit loses."""
    how = "in the mean" if confidence is None else f"at {confidence:.0%} confidence"
    told = f"No threshold is shown to stay within {points:g} points {how}; nothing leaves early."
    if behind > 0:  # never against itself
        told += (
            f" The final exit alone loses {behind:.2f} points against the backbone alone: if the weights that training "
            "began with have seen these samples, the backbone is no measure on them; choose --against final."
        )
    return (
        f"{told} To let samples leave, allow more with --points{' or lower --confidence' * ((confidence or 0) > 0.5)}."
    )


def _rounded(number: float) -> str:
    scale = 10 ** max(0, floor(log10(max(number, 1.0))) - 1)
    return f"{ceil(number / scale) * scale:,}"
