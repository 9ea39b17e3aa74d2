"""Which threshold loses at most so many points of accuracy, with which confidence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10, sqrt
from statistics import NormalDist

import numpy as np

from trecx.decision import Criterion, limits
from trecx.errors import TrecxError
from trecx.judge.sweep import places, rights
from trecx.judge.trace import Trace

DEFAULT_POINTS = 1.0
DEFAULT_CONFIDENCE = 0.8
LEAST_VARIED = 0.05  # of a gate, after its sigmoid
FINAL_EXIT = "its own final exit"
BACKBONE = "the backbone alone"


@dataclass(frozen=True)
class Calibration:
    """A threshold and what it does on the samples that it was chosen on.

    `thresholds` (None means never) and `limits` of the early exits say the same, each by its exit's criterion.
    `loss` and `bound` are points of accuracy lost against `reference`: as observed, and at most so many with
    `confidence`; negative means gained. `unbounded_thresholds` and `unbounded_exit_rate` are what the observed loss
    alone would have allowed.
    """

    thresholds: tuple[float | None, ...]
    limits: tuple[int, ...]
    exit_rate: float
    loss: float
    bound: float
    points: float
    confidence: float
    reference: str
    samples: int
    unbounded_thresholds: tuple[float | None, ...]
    unbounded_exit_rate: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Losses:
    """Losses against the reference at every point of the path of limits, in points; `exit_rate` as a share."""

    limits: np.ndarray
    exit_rate: np.ndarray
    loss: np.ndarray
    bound: np.ndarray


def calibrate(
    trace: Trace,
    decisions: Sequence[Criterion],
    points: float = DEFAULT_POINTS,
    confidence: float = DEFAULT_CONFIDENCE,
    reference_right: np.ndarray | None = None,
) -> Calibration:
    """The thresholds with the highest exit rate that lose at most `points` of accuracy on a validation trace.

    The loss is paired: `reference_right`, bool `(n,)`, says which of the same samples the backbone alone gets right;
    without it the reference is the trace's own final exit. Every attainable limit is tried (see `sweep`).

    What must stay within `points` is not the observed loss but its upper confidence bound `paired_bound`: a threshold
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
    """
    _check(points, confidence)
    losses = _losses(trace, decisions, confidence, reference_right)
    chosen = _last_in_sequence(losses.bound, points)
    unbounded = _last_in_sequence(losses.loss, points)
    found = thresholds(decisions, losses.limits[chosen])
    return Calibration(
        thresholds=found,
        limits=limits(decisions[: len(found)], found),
        exit_rate=float(losses.exit_rate[chosen]),
        loss=float(losses.loss[chosen]),
        bound=float(losses.bound[chosen]),
        points=points,
        confidence=confidence,
        reference=FINAL_EXIT if reference_right is None else BACKBONE,
        samples=len(trace),
        unbounded_thresholds=thresholds(decisions, losses.limits[unbounded]),
        unbounded_exit_rate=float(losses.exit_rate[unbounded]),
        warnings=_warnings(losses, chosen, unbounded, points, confidence, len(trace)),
    )


def paired_bound(only_reference: np.ndarray, only_exits: np.ndarray, samples: int, confidence: float) -> np.ndarray:
    """One-sided upper confidence bound of the accuracy lost, as a share, from discordant pairs.

    `only_reference` counts samples that only the reference gets right, `only_exits` those that only the model with
    exits gets right. The adjusted Wald interval for paired proportions of Agresti and Min (Statistics in Medicine 24,
    2005): add half a sample to each of the four cells, then a normal bound on the difference. Unlike the plain normal
    bound it does not shrink to nothing where few pairs differ. It is never below the observed loss. Samples are taken
    as independent; clips of one speaker are not quite, which makes the true bound somewhat larger.
    """
    total = samples + 2.0
    difference = (only_reference - only_exits) / total
    variance = ((only_reference + only_exits + 1.0) / total - difference**2) / total
    bound = difference + NormalDist().inv_cdf(confidence) * np.sqrt(variance)
    return np.maximum(bound, (only_reference - only_exits) / samples)


def paired_interval(only_reference: int, only_exits: int, samples: int) -> tuple[float, float]:
    """Two-sided 95 % interval of the accuracy lost, as shares, from discordant pairs; Agresti and Min as above."""
    total = samples + 2.0
    difference = (only_reference - only_exits) / total
    spread = NormalDist().inv_cdf(0.975) * sqrt(((only_reference + only_exits + 1.0) / total - difference**2) / total)
    return difference - spread, difference + spread


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


def _check(points: float, confidence: float) -> None:
    problems = []
    if not 0.0 <= points <= 100.0:
        problems.append(f"{points} points of accuracy cannot be lost; give a number from 0 to 100.")
    if not 0.5 <= confidence < 1.0:
        problems.append(f"Confidence {confidence} is outside [0.5, 1).")
    if problems:
        raise TrecxError(problems)


def _losses(
    trace: Trace, decisions: Sequence[Criterion], confidence: float, reference_right: np.ndarray | None
) -> _Losses:
    right = rights(trace, decisions)
    reference = trace.right()[:, -1] if reference_right is None else np.asarray(reference_right, bool)
    if reference.shape != (len(trace),):
        raise TrecxError(
            f"The backbone's answers are {reference.shape}, the trace has {len(trace)} samples.",
            "Run both on the same split.",
        )
    found = places(trace, decisions)
    only_reference = found.count((reference[:, None] & ~right).astype(np.int64)).sum(axis=1)
    only_exits = found.count((~reference[:, None] & right).astype(np.int64)).sum(axis=1)
    stayed = found.count(np.ones_like(right, np.int64))[:, -1]
    return _Losses(
        limits=found.limits,
        exit_rate=1.0 - stayed / len(trace),
        loss=100.0 * (only_reference - only_exits) / len(trace),
        bound=100.0 * paired_bound(only_reference, only_exits, len(trace), confidence),
    )


def _last_in_sequence(loss: np.ndarray, points: float) -> int:
    """Position of the last limit before the first that fails, from "never" (or the best) upwards; 0 if none passes."""
    start = 0 if loss[0] <= points else int(loss.argmin())
    failing = np.flatnonzero(loss[start:] > points)
    last = start + (int(failing[0]) if len(failing) else len(loss) - start) - 1
    return last if last >= start else 0


def _warnings(
    losses: _Losses, chosen: int, unbounded: int, points: float, confidence: float, samples: int
) -> tuple[str, ...]:
    found: list[str] = []
    if losses.limits.shape[1] == 0:
        return ()
    if losses.exit_rate[chosen] == 0:
        found.append(_nothing_leaves(float(losses.loss[0]), points, confidence))
    if losses.exit_rate[chosen] < 0.5 * losses.exit_rate[unbounded]:
        margin = points - float(losses.loss[unbounded])
        half_width = float(losses.bound[unbounded] - losses.loss[unbounded])
        more = f" About {_rounded(samples * (half_width / margin) ** 2)} would." if margin > half_width / 20 else ""
        found.append(
            f"{samples} samples do not show more: without a confidence bound {losses.exit_rate[unbounded]:.1%} would "
            f"leave early instead of {losses.exit_rate[chosen]:.1%}.{more}"
        )
    return tuple(found)


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


def _nothing_leaves(behind: float, points: float, confidence: float) -> str:
    """That nothing leaves early, the probable reason, and what to do; `behind` is how much the final exit loses."""
    told = (
        f"No threshold is shown to stay within {points:g} points at {confidence:.0%} confidence; nothing leaves early."
    )
    if behind > 0:  # never against itself
        told += (
            f" The final exit alone loses {behind:.2f} points against the backbone alone: if the weights that training "
            "began with have seen these samples, the backbone is no measure on them; choose --against final."
        )
    return f"{told} To let samples leave, allow more with --points{' or lower --confidence' * (confidence > 0.5)}."


def _rounded(number: float) -> str:
    scale = 10 ** max(0, floor(log10(max(number, 1.0))) - 1)
    return f"{ceil(number / scale) * scale:,}"
