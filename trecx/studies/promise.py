"""How often promises are kept, on the answers of the pairs that ship: `python -m trecx.studies.promise`.

Validation and test answers of a pair are pooled. In *splits* some of them choose the threshold, some stand for samples
without labels, and the rest is where the loss must stay within one point. The rest's own loss is only known to its
chance, so of right bounds fewer keep the promise than their confidence: so many are told beside. In *draws* the pool is
the world: samples are drawn from it with replacement, and the loss on all of it is the truth.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import sqrt
from statistics import NormalDist

import numpy as np

from mlperf_tiny import pretrained
from trecx.decision import Criterion
from trecx.judge.calibrate import BACKBONE, CONFIDENCE, MEAN, Calibration, calibrate
from trecx.judge.sweep import places_at, rights
from trecx.judge.trace import Trace
from trecx.steps import pair as pairs
from trecx.steps.judging import BACKBONE_TEST, TEST, calibration_of

POINTS, SURE = 1.0, 0.9
SPLITS, DRAWS, DRAWN = 100, 200, 5_000
# Task, labelled samples, samples without labels in splits.
CASES = (
    *(("kws", 512, 1_400), ("kws", 2_000, 600)),
    *(("ic", 512, 7_000), ("ic", 2_000, 6_500), ("ic", 5_000, 5_000)),
    *(("vww", 213, 500), ("vww", 400, 400)),
)
RULES = {
    "as observed": partial(calibrate, confidence=0.5),
    "90 % confidence": partial(calibrate, confidence=SURE),
    "90 % confidence, unlabelled": partial(calibrate, confidence=SURE, promise=CONFIDENCE),
    "in the mean": partial(calibrate, promise=MEAN),
}
SEEN = ("leave early", "points lost")
HEAD = ("task", "labelled", "chosen", "kept in splits", "if right", *SEEN, "kept in draws", *SEEN)


@dataclass(frozen=True, eq=False)
class Pool:
    """The answers of a pair to validation and test samples, and what the reference gets right of them."""

    trace: Trace
    decisions: tuple[Criterion, ...]
    reference: np.ndarray

    @classmethod
    def of(cls, task: str, exit_: str = "best") -> "Pool":
        """From what ships with a task."""
        folder = pretrained.folder(task, exit_)
        trace, alone = (
            Trace.joined([Trace.load(folder / name) for name in names])
            for names in ((pairs.VALIDATION, TEST), (pairs.BACKBONE_VALIDATION, BACKBONE_TEST))
        )
        asked = calibration_of(folder)
        against = alone if asked is not None and asked.reference == BACKBONE else trace
        return cls(trace, pairs.read(folder).decisions, against.right()[:, -1])

    def lost(self, found: Calibration, rows: np.ndarray) -> tuple[float, float]:
        """Points lost by some of the samples at a choice of thresholds, and the share of them that leaves early."""
        trace = self.trace.of(rows)
        lost = self.reference[rows, None].astype(np.int64) - rights(trace, self.decisions)
        limits = np.array([found.limits[: trace.exits - 1]], np.int64)
        there = places_at(trace, self.decisions, limits)
        stayed = there.count(np.ones_like(lost))[0, -1]
        return 100.0 * float(there.count(lost).sum()) / len(rows), 1.0 - float(stayed) / len(rows)

    def tried(self, rule: str, labelled: np.ndarray, more: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
        """What a rule loses on the samples of `truth`, and how many leave early there."""
        unlabelled = self.trace.of(more) if rule.endswith("unlabelled") else None
        trace, right = self.trace.of(labelled), self.reference[labelled]
        found = RULES[rule](trace, self.decisions, POINTS, reference_right=right, unlabelled=unlabelled)
        return self.lost(found, truth)


def splits(pool: Pool, rule: str, labelled: int, more: int, count: int = SPLITS) -> np.ndarray:
    """Points lost and exit rate on the rest of each split, `(count, 2)`."""
    orders = [np.random.default_rng(seed).permutation(len(pool.trace)) for seed in range(count)]
    ends = (labelled, labelled + more)
    return np.array([pool.tried(rule, *np.split(order, ends)) for order in orders])


def draws(pool: Pool, rule: str, labelled: int, count: int = DRAWS) -> np.ndarray:
    """The same on the whole pool, for samples drawn from it."""
    everything = np.arange(len(pool.trace))
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        first, more = (rng.integers(0, len(everything), n) for n in (labelled, DRAWN))
        found.append(pool.tried(rule, first, more, everything))
    return np.array(found)


def table(splits_: int = SPLITS, draws_: int = DRAWS) -> Iterator[str]:
    """The lines of the table in docs/calibration.md."""
    yield f"| {' | '.join(HEAD)} |"
    yield "|---|--:|---|" + "--:|" * 7
    for task, labelled, more in CASES:
        pool = Pool.of(task)
        rest = len(pool.trace) - labelled - more
        right = NormalDist().cdf(NormalDist().inv_cdf(SURE) / sqrt(1 + labelled / rest))
        for rule in RULES:
            one, two = splits(pool, rule, labelled, more, splits_), draws(pool, rule, labelled, draws_)
            expected = f"{right:.0%}" if rule.startswith("90") else "–"
            yield f"| {task} | {labelled:,} | {rule} | {_cells(one, expected)} | {_cells(two)} |"


def _cells(found: np.ndarray, *more: str) -> str:
    lost, rate = found.T
    spread = lost.std() / sqrt(len(lost))
    return " | ".join(
        (f"{(lost <= POINTS).mean():.0%}", *more, f"{rate.mean():.1%}", f"{lost.mean():+.2f} ± {spread:.2f}")
    )


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
