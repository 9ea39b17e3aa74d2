"""What a few seeds say: means with intervals, and differences of pairs."""

from collections.abc import Sequence
from math import sqrt

# 97.5 % quantiles of Student's t by degrees of freedom, 1 to 30.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
SHOWN, OPPOSITE, NOT_SHOWN, ONE_SEED = "shown", "opposite shown", "not shown", "one seed"

Summary = dict[str, float | int | None]


def t_quantile(degrees: int) -> float:
    """The factor of a two-sided 95 % interval; beyond 30 degrees of freedom that of 30, which is on the safe side."""
    return _T[min(degrees, len(_T)) - 1]


def summary(values: Sequence[float]) -> Summary:
    """Mean, standard deviation, 95 % t-interval, range and number of `values`; None for what too few do not say."""
    count = len(values)
    if not count:
        return {"seeds": 0, "mean": None, "sd": None, "low": None, "high": None, "least": None, "most": None}
    mean = sum(values) / count
    found: Summary = {"seeds": count, "mean": mean, "sd": None, "low": None, "high": None}
    if count > 1:
        sd = sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
        half = t_quantile(count - 1) * sd / sqrt(count)
        found |= {"sd": sd, "low": mean - half, "high": mean + half}
    return found | {"least": min(values), "most": max(values)}


def verdict(of: Summary) -> str:
    """Whether differences show a gain: their 95 % interval is above 0, below it, or neither."""
    low, high = of["low"], of["high"]
    if low is None or high is None:
        return ONE_SEED
    return SHOWN if low > 0 else OPPOSITE if high < 0 else NOT_SHOWN
