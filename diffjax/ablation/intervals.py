"""Confidence intervals over the seeds of cells, of means and of their differences: Student's and Welch's.

Seeds that all give the same number have no interval. They show no spread, but that does not mean there is none: if
seven runs in ten count 8, three runs agree on it one time in three. An interval of no width would claim too much.
"""

import math
import statistics
from collections.abc import Sequence

from scipy import stats

from diffjax.ablation.cells import Cell

LEVEL = 0.05  # of intervals and tests: 95 %
ALIKE = 1e-9  # relative to the size of the numbers: a smaller spread is rounding
Interval = tuple[float, float]


def of_difference(quantity: str, low: Cell, high: Cell, level: float, of_low: float = 1.0) -> Interval | None:
    """The interval of the mean of `high` minus `of_low` times that of `low`; None without a spread over seeds.

    Student's interval of the differences seed by seed if both cells come from the same runs, else Welch's.
    """
    first = {seed: of_low * value for seed, value in low.values[quantity].items()}
    second = high.values[quantity]
    if low.shares_runs(high):
        size = max(map(abs, (*first.values(), *second.values())))
        return of_mean([second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())], level, size)
    return _welch(list(first.values()), list(second.values()), level)


def of_mean(values: Sequence[float], level: float, size: float | None = None) -> Interval | None:
    """Student's interval of a mean; None for one value, or for values that are all alike.

    If the values are differences, `size` is the magnitude of the numbers they were made from, whose rounding they have.
    """
    if alike(values, size):
        return None
    mean = statistics.fmean(values)
    half_width = stats.t.ppf(1 - level / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half_width, mean + half_width


def alike(values: Sequence[float], size: float | None = None) -> bool:
    """Whether values show no spread: there is only one, or they differ by rounding alone."""
    size = max(map(abs, values), default=0.0) if size is None else size
    return len(values) < 2 or max(values) - min(values) <= ALIKE * size


def _welch(first: Sequence[float], second: Sequence[float], level: float) -> Interval | None:
    """Welch's interval of mean(second) - mean(first)."""
    if alike(first) or alike(second):
        return None
    difference = statistics.fmean(second) - statistics.fmean(first)
    squares = [statistics.variance(values) / len(values) for values in (first, second)]
    freedom = sum(squares) ** 2 / sum(s**2 / (len(v) - 1) for s, v in zip(squares, (first, second), strict=True))
    half_width = stats.t.ppf(1 - level / 2, freedom) * math.sqrt(sum(squares))
    return difference - half_width, difference + half_width


def side(lowest: float, highest: float) -> bool | None:
    """True if an interval lies above 0, False if below, None if it contains 0."""
    if lowest > 0:
        return True
    return False if highest < 0 else None


def shown(lowest: float, highest: float) -> str:
    """An interval in words: "-0.0045 to 0.018"."""
    return f"{lowest:.4g} to {highest:.4g}"


def confidence(level: float, paired: bool = False) -> str:
    """The confidence of an interval, and whether it is of paired differences: "(95 %, paired)"."""
    return f"({100 * (1 - level):.3g} %{', paired' if paired else ''})"
