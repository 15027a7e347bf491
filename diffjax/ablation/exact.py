"""Exact tests for outcomes that have no interval: runs that failed, and seeds that all give the same number.

The tests are two-sided. Each says whether it can decide at all: the least p that its seeds allow, or the runs it needs.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats


class Tested(NamedTuple):
    """The result of an exact test that compares two sets of outcomes."""

    name: str
    less: bool  # whether the first set tends to be less
    p: float  # two-sided
    least: float  # the least p that so many outcomes, with their ties, can give


def signs(first: Sequence[float], second: Sequence[float]) -> Tested:
    """The sign test, for two places of the same networks; seeds with equal outcomes do not count."""
    less = sum(a < b for a, b in zip(first, second, strict=True))
    more = sum(a > b for a, b in zip(first, second, strict=True))
    p = stats.binomtest(less, less + more).pvalue if less + more else 1.0
    return Tested("sign", less > more, float(p), min(1.0, 2 * 0.5 ** (less + more)))


def ranks(first: Sequence[float], second: Sequence[float]) -> Tested:
    """Wilcoxon's rank-sum test (1945) over all assignments of the observed ranks, ties included, to two places."""
    doubled = [round(2 * rank) for rank in stats.rankdata([*first, *second])]  # integers: ranks of ties are halves
    observed = sum(doubled[: len(first)])
    ways = {(0, 0): 1}  # (size of a subset of the ranks, their sum): number of such subsets
    for rank in doubled:
        for (size, total), number in list(ways.items()):
            ways[size + 1, total + rank] = ways.get((size + 1, total + rank), 0) + number
    sums = {total: number for (size, total), number in ways.items() if size == len(first)}
    assignments = sum(sums.values())
    p_low = sum(number for total, number in sums.items() if total <= observed) / assignments
    p_high = sum(number for total, number in sums.items() if total >= observed) / assignments
    p_extreme = min(sums[min(sums)], sums[max(sums)]) / assignments
    return Tested("rank", p_low < p_high, *(min(1.0, 2 * p) for p in (min(p_low, p_high), p_extreme)))


class Share(NamedTuple):
    """The exact interval of the share of runs that had some outcome (Clopper and Pearson 1934)."""

    low: float
    high: float
    enough: int  # the fewest runs with which the interval can lie on one side of 1/2

    @property
    def most(self) -> bool | None:
        """Whether more than half of all runs have the outcome; None if the interval contains 1/2."""
        if self.low > 0.5:
            return True
        return False if self.high < 0.5 else None


def share(count: int, runs: int, level: float) -> Share:
    """The share of an outcome that `count` of `runs` runs had."""
    low, high = stats.binomtest(count, runs).proportion_ci(1 - level, method="exact")
    return Share(low, high, _tosses(level))


def _tosses(level: float) -> int:
    """The fewest tosses of a fair coin that all fall alike with a two-sided probability below `level`."""
    return next(n for n in itertools.count(1) if 2 * 0.5**n < level)
