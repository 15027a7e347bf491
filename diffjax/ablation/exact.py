"""Exact tests, of outcomes that have no interval: runs that failed, and seeds that all give the same number.

Two-sided at the level asked; each says how many seeds it needs to be able to decide at all.
"""

import math
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from scipy import stats


class Tested(NamedTuple):
    """What an exact test says of two sets of outcomes."""

    name: str
    less: bool  # whether the first are the less ones, as far as they differ
    p: float  # two-sided
    enough: int  # seeds of each without which p cannot reach the level


def signs(first: Sequence[float], second: Sequence[float], level: float) -> Tested:
    """The sign test, of the seeds of two places of the same networks; those in which both are equal say nothing."""
    less = sum(a < b for a, b in zip(first, second, strict=True))
    more = sum(a > b for a, b in zip(first, second, strict=True))
    p = stats.binomtest(less, less + more).pvalue if less + more else 1.0
    return Tested("signs", less > more, float(p), _tosses(level))


def ranks(first: Sequence[float], second: Sequence[float], level: float) -> Tested:
    """Wilcoxon's sum of ranks (1945), over all ways to deal them out to two places, with ties as they are."""
    doubled = [round(2 * rank) for rank in stats.rankdata([*first, *second])]  # of ties they are halves
    own, ways = sum(doubled[: len(first)]), {(0, 0): 1}  # (how many are dealt to the first, their sum): in so many ways
    for rank in doubled:
        for (dealt, total), number in list(ways.items()):
            ways[dealt + 1, total + rank] = ways.get((dealt + 1, total + rank), 0) + number
    sums = {total: number for (dealt, total), number in ways.items() if dealt == len(first)}
    as_low = sum(number for total, number in sums.items() if total <= own) / sum(sums.values())
    as_high = sum(number for total, number in sums.items() if total >= own) / sum(sums.values())
    enough = next(n for n in count(1) if 2 / math.comb(2 * n, n) <= level)
    return Tested("ranks", as_low < as_high, min(1.0, 2 * min(as_low, as_high)), enough)


class Share(NamedTuple):
    """How many of all runs did something, with the exact interval of that share (Clopper and Pearson 1934)."""

    low: float
    high: float
    enough: int  # runs without which it cannot lie on one side of a half

    @property
    def most(self) -> bool | None:
        """Whether more than half of all runs would, or fewer; None: it may be either."""
        if self.low > 0.5:
            return True
        return False if self.high < 0.5 else None


def share(those: int, runs: int, level: float) -> Share:
    """Of so many runs, of which those did it."""
    low, high = stats.binomtest(those, runs).proportion_ci(1 - level, method="exact")
    return Share(low, high, _tosses(level))


def _tosses(level: float) -> int:
    """How many tosses of a coin that all fall alike are too many for chance, two-sided."""
    return next(n for n in count(1) if 2 * 0.5**n < level)
