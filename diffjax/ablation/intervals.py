"""Intervals of means, and of their differences, over the seeds of cells: Student's and Welch's; none without a spread.

Seeds that all give the same number have no spread to be seen, which is not to say that they have none: of a count that
is 8 in seven runs of ten, three runs in three agree. An interval of no width would claim more than was measured.
"""

import math
import statistics
from collections.abc import Sequence

from scipy import stats

from diffjax.ablation.cells import Cell

LEVEL = 0.05  # of intervals and tests: 95 %
ALIKE = 1e-9  # of the numbers' size: less of a spread is rounding
Interval = tuple[float, float]


def of_difference(quantity: str, low: Cell, high: Cell, level: float, of_low: float = 1.0) -> Interval | None:
    """The interval of the mean of high - of_low x low: seed by seed where both are of the same runs, else Welch's.

    None where there is none: of one seed, or of seeds without a spread.
    """
    first = {seed: of_low * value for seed, value in low.values[quantity].items()}
    second = high.values[quantity]
    if low.shares_runs(high):
        size = max(map(abs, (*first.values(), *second.values())))
        return of_mean([second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())], level, size)
    return _welch(list(first.values()), list(second.values()), level)


def of_mean(values: Sequence[float], level: float, size: float | None = None) -> Interval | None:
    """Student's interval of a mean; None of one value, or of values that are all alike.

    `size` is that of the numbers which they are differences of, whose rounding they have.
    """
    if alike(values, size):
        return None
    half = stats.t.ppf(1 - level / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def alike(values: Sequence[float], size: float | None = None) -> bool:
    """Whether there is no spread to be seen: of one value, or of values that differ by no more than rounding does."""
    size = max(map(abs, values), default=0.0) if size is None else size
    return len(values) < 2 or max(values) - min(values) <= ALIKE * size


def _welch(first: Sequence[float], second: Sequence[float], level: float) -> Interval | None:
    """Welch's interval of mean(second) - mean(first)."""
    if alike(first) or alike(second):
        return None
    difference = statistics.fmean(second) - statistics.fmean(first)
    squares = [statistics.variance(values) / len(values) for values in (first, second)]
    degrees = sum(squares) ** 2 / sum(s**2 / (len(v) - 1) for s, v in zip(squares, (first, second), strict=True))
    half = stats.t.ppf(1 - level / 2, degrees) * math.sqrt(sum(squares))
    return difference - half, difference + half


def side(lowest: float, highest: float) -> bool | None:
    """Whether an interval lies above 0, below it, or neither."""
    if lowest > 0:
        return True
    return False if highest < 0 else None


def shown(lowest: float, highest: float, level: float = LEVEL) -> str:
    """An interval in words; its confidence where that is not the usual 95 %, as where several decide together."""
    return f"{lowest:.4g} .. {highest:.4g}" + ("" if level == LEVEL else f" at {100 * (1 - level):.3g} %")
