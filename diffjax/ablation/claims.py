"""What a paper says of its table, and whether our cells say it too: reproduced, contradicted, or not decided.

A claim is made of comparisons between cells. Each is decided by a 95 % interval over seeds (Student's t): of the
differences seed by seed where both cells were measured on the same trained networks, else Welch's, of two independent
means. A claim that all of several hold is reproduced when each of them holds by its own interval (an intersection of
tests needs no correction), and contradicted when one is contradicted at the level divided by their number (a union
does, Bonferroni's); a claim that one of several holds the other way round. Everything else is not decided: so is
whatever was measured once.

A run that failed counts: it is worse than any that did not, whatever the quantity, and as there is no number then, an
exact test of ranks decides in place of the intervals, at the same level. That a place fails is decided by the exact
interval of the share of its runs that do (Clopper and Pearson 1934), against one half.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from scipy import stats

from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.table import Where
from diffjax.metrics.protocol import differences

LEVEL = 0.05  # of the intervals: 95 %


class Finding(NamedTuple):
    """Whether something holds (None: not decided), and by what."""

    holds: bool | None
    why: str


class Verdict(NamedTuple):
    """What became of a claim."""

    says: str
    verdict: str  # "reproduced", "contradicted" or "not decided"
    why: str


class Statement:
    """Something that cells can say. Subclasses answer `decide(cells, level)`."""

    def decide(self, cells: Cells, level: float = LEVEL) -> Finding:
        raise NotImplementedError


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, and what it means for the cells."""

    says: str
    statement: Statement

    def verdict(self, cells: Cells) -> Verdict:
        holds, why = self.statement.decide(cells)
        return Verdict(self.says, {True: "reproduced", False: "contradicted", None: "not decided"}[holds], why)


@dataclass(frozen=True)
class All(Statement):
    """All of them hold."""

    statements: tuple[Statement, ...]

    def decide(self, cells, level=LEVEL):
        if not self.statements:
            return Finding(None, "no two cells to compare")
        found = [statement.decide(cells, level) for statement in self.statements]
        if all(finding.holds for finding in found):
            return Finding(True, _summary(found, True))
        strictly = [statement.decide(cells, level / len(self.statements)) for statement in self.statements]
        if any(finding.holds is False for finding in strictly):
            return Finding(False, _summary(strictly, False))
        return Finding(None, _summary(found, None))


@dataclass(frozen=True)
class AnyOf(Statement):
    """At least one of them holds."""

    statements: tuple[Statement, ...]

    def decide(self, cells, level=LEVEL):
        if not self.statements:
            return Finding(None, "no two cells to compare")
        strictly = [statement.decide(cells, level / len(self.statements)) for statement in self.statements]
        if any(finding.holds for finding in strictly):
            return Finding(True, _summary(strictly, True))
        found = [statement.decide(cells, level) for statement in self.statements]
        if all(finding.holds is False for finding in found):
            return Finding(False, _summary(found, False))
        return Finding(None, _summary(found, None))


def _summary(found: Sequence[Finding], holds: bool | None, shown: int = 3) -> str:
    """The comparisons that decided it, the first few in full; one alone as it is."""
    if len(found) == 1:
        return found[0].why
    those = [finding.why for finding in found if finding.holds is holds]
    said = {True: "hold", False: "contradicted", None: "not decided"}[holds]
    rest = f"; and {len(those) - shown} more" if len(those) > shown else ""
    return f"{len(those)} of {len(found)} {said}: {'; '.join(those[:shown])}{rest}"


@dataclass(frozen=True)
class Less(Statement):
    """`quantity` is less at one place than at another."""

    quantity: str
    low: Where
    high: Where

    def decide(self, cells, level=LEVEL):
        name = f"{self.quantity} at {_name(self.low)} < at {_name(self.high)}"
        low, high = cells.at(self.low), cells.at(self.high)
        if reason := _not_comparable(self.quantity, low, high):
            return Finding(None, f"{name}: {reason}")
        if low.failed or high.failed:
            holds, why = _less_where_runs_fail(self.quantity, low, high, cells.better(self.quantity), level)
            return Finding(holds, f"{name}: {why}")
        paired, ends = low.runs == high.runs, _difference(self.quantity, low, high, level)
        if ends is None:
            return Finding(None, f"{name}: one seed has no interval")
        return Finding(_side(*ends), f"{name}: difference {_interval(*ends)}{' (paired)' if paired else ''}")


@dataclass(frozen=True)
class Near(Statement):
    """`quantity` at one place, x, differs from that at another, y, by at most this share of the other's mean.

    Equivalence: it holds when the intervals of x - (1 - share) y and x - (1 + share) y lie above and below 0 as a
    whole, and not because no difference was found. The other's mean is no more certain than any.
    """

    quantity: str
    one: Where
    other: Where
    share: float

    def decide(self, cells, level=LEVEL):
        name = f"{self.quantity} at {_name(self.one)} within {self.share:.0%} of that at {_name(self.other)}"
        one, other = cells.at(self.one), cells.at(self.other)
        if reason := _not_comparable(self.quantity, one, other):
            return Finding(None, f"{name}: {reason}")
        if one.failed or other.failed:
            return Finding(None, f"{name}: {'; '.join(cell.said for cell in (one, other) if cell.failed)}")
        margin = math.copysign(self.share, other.mean(self.quantity))
        above = _difference(self.quantity, other, one, level, of_low=1 - margin)
        below = _difference(self.quantity, other, one, level, of_low=1 + margin)
        if above is None or below is None:
            return Finding(None, f"{name}: one seed has no interval")
        said = f"{name}: from its lower bound {_interval(*above)}, from its upper {_interval(*below)}"
        if above[0] >= 0 and below[1] <= 0:
            return Finding(True, said)
        return Finding(False if above[1] < 0 or below[0] > 0 else None, said)


@dataclass(frozen=True)
class Within(Statement):
    """The mean of `quantity` at a place lies in [low, high]. Where most runs fail it does not."""

    quantity: str
    where: Where
    low: float = -math.inf
    high: float = math.inf

    def decide(self, cells, level=LEVEL):
        cell = cells.at(self.where)
        name = f"{self.quantity} at {_name(self.where)} in [{self.low:g}, {self.high:g}]"
        if reason := _not_comparable(self.quantity, cell):
            return Finding(None, f"{name}: {reason}")
        if cell.failed:
            most_fail, why = _share_that_fails(cell, level)
            return Finding(False if most_fail else None, f"{name}: {why}")
        values = list(cell.values[self.quantity].values())
        if len(values) < 2:
            return Finding(None, f"{name}: one seed has no interval")
        lowest, highest = _of_mean(values, level)
        said = f"{name}: mean {_interval(lowest, highest)}"
        if self.low <= lowest and highest <= self.high:
            return Finding(True, said)
        return Finding(False if highest < self.low or lowest > self.high else None, said)


@dataclass(frozen=True)
class Fails(Statement):
    """Runs of a place fail, more often than not."""

    where: Where

    def decide(self, cells, level=LEVEL):
        cell = cells.at(self.where)
        if not cell.complete:
            return Finding(None, f"{_name(self.where)}: {cell.said}")
        holds, why = _share_that_fails(cell, level)
        return Finding(holds, f"{_name(self.where)}: {why}")


def increases(quantity: str, along: str, over: Sequence[str] = (), **fixed: str) -> Statement:
    """`quantity` grows from each label of an axis to the next (those of `over`), for every label of the others."""
    return _Ordered(quantity, along, tuple(map(str, over)), tuple(fixed.items()), rising=True)


def decreases(quantity: str, along: str, over: Sequence[str] = (), **fixed: str) -> Statement:
    """`quantity` falls from each label of an axis to the next (those of `over`), for every label of the others."""
    return _Ordered(quantity, along, tuple(map(str, over)), tuple(fixed.items()), rising=False)


def least(quantity: str, along: str, **where: str) -> Statement:
    """`quantity` is less at this place than at any other along an axis."""
    return _Extreme(quantity, along, tuple(where.items()), low=True)


def greatest(quantity: str, along: str, **where: str) -> Statement:
    """`quantity` is greater at this place than at any other along an axis."""
    return _Extreme(quantity, along, tuple(where.items()), low=False)


@dataclass(frozen=True)
class _Ordered(Statement):
    quantity: str
    along: str
    over: tuple[str, ...]
    fixed: tuple[tuple[str, str], ...]
    rising: bool

    def comparisons(self, cells: Cells) -> All:
        comparisons = []
        for line in cells.lines(self.along, dict(self.fixed), self.over):
            for one, next_one in zip(line, line[1:], strict=False):
                low, high = (one, next_one) if self.rising else (next_one, one)
                comparisons.append(Less(self.quantity, low, high))
        return All(tuple(comparisons))

    def decide(self, cells, level=LEVEL):
        return self.comparisons(cells).decide(cells, level)


@dataclass(frozen=True)
class _Extreme(Statement):
    quantity: str
    along: str
    where: tuple[tuple[str, str], ...]
    low: bool

    def comparisons(self, cells: Cells) -> All:
        here = dict(self.where)
        fixed = {name: label for name, label in here.items() if name != self.along}
        comparisons = []
        for line in cells.lines(self.along, fixed):
            own = [place for place in line if place[self.along] == here[self.along]]
            others = [place for place in line if place[self.along] != here[self.along]]
            pairs = [(own[0], other) for other in others] if own else []
            comparisons += [Less(self.quantity, *(pair if self.low else reversed(pair))) for pair in pairs]
        return All(tuple(comparisons))

    def decide(self, cells, level=LEVEL):
        return self.comparisons(cells).decide(cells, level)


def _not_comparable(quantity: str, *cells: Cell) -> str:
    """Why nothing can be said of these cells yet, or ever; "" where there is nothing in the way."""
    for cell in cells:
        if not cell.complete:
            return cell.said
        if quantity in cell.refused:
            return f"refused: {cell.refused[quantity]}"
        if quantity not in cell.values and len(cell.failed) < len(cell.runs):
            return f"this budget does not measure {quantity}"
    first, *others = [cell.protocols[quantity] for cell in cells if quantity in cell.values] or [{}]
    differing = [line for other in others for line in differences(first, other)]
    return f"measured under different protocols, {', '.join(differing)}" if differing else ""


# ---------------------------------------------------------------------------------------------------------- intervals


def _difference(quantity: str, low: Cell, high: Cell, level: float, of_low: float = 1.0) -> tuple[float, float] | None:
    """The interval of the mean of high - of_low x low; None where one seed has none. Seed by seed on the same runs."""
    first = {seed: of_low * value for seed, value in low.values[quantity].items()}
    return (_paired if low.runs == high.runs else _welch)(first, high.values[quantity], level)


def _paired(low: Mapping[int, float], high: Mapping[int, float], level: float) -> tuple[float, float] | None:
    """The interval of the mean of high - low, seed by seed."""
    seeds = sorted(low.keys() & high.keys())
    return _of_mean([high[seed] - low[seed] for seed in seeds], level) if len(seeds) > 1 else None


def _welch(low: Mapping[int, float], high: Mapping[int, float], level: float) -> tuple[float, float] | None:
    """Welch's interval of mean(high) - mean(low)."""
    first, second = list(low.values()), list(high.values())
    if min(len(first), len(second)) < 2:
        return None
    difference = statistics.fmean(second) - statistics.fmean(first)
    squares = [statistics.variance(values) / len(values) for values in (first, second)]
    if not sum(squares):
        return difference, difference
    degrees = sum(squares) ** 2 / sum(s**2 / (len(v) - 1) for s, v in zip(squares, (first, second), strict=True))
    half = stats.t.ppf(1 - level / 2, degrees) * math.sqrt(sum(squares))
    return difference - half, difference + half


def _of_mean(values: Sequence[float], level: float) -> tuple[float, float]:
    """Student's interval of a mean of two or more values."""
    half = stats.t.ppf(1 - level / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def _side(lowest: float, highest: float) -> bool | None:
    """Whether an interval lies above 0, below it, or neither."""
    if lowest > 0:
        return True
    return False if highest < 0 else None


def _interval(lowest: float, highest: float) -> str:
    return f"{lowest:.4g} .. {highest:.4g}"


# ----------------------------------------------------------------------------------------------------- where runs fail


class _Tested(NamedTuple):
    """What an exact test says of two sets of outcomes."""

    name: str
    less: bool  # whether the first are the less ones, as far as they differ
    p: float  # two-sided
    enough: int  # seeds of each without which p cannot reach the level


def _less_where_runs_fail(quantity: str, low: Cell, high: Cell, better: str, level: float) -> Finding:
    """Whether it is less at `low`; a run that failed is worse than all that did not, and as bad as another."""
    counts = f"{len(low.failed)} of {len(low.runs)} runs failed against {len(high.failed)} of {len(high.runs)}"
    if not better:
        return Finding(None, f"{counts}; neither less nor more of it is better")
    worst = math.inf if better == "less" else -math.inf
    first, second = ([cell.values.get(quantity, {}).get(seed, worst) for seed in sorted(cell.runs)]
                     for cell in (low, high))  # fmt: skip
    tested = (_signs if low.runs == high.runs else _ranks)(first, second, level)
    why = f"{counts}, p = {tested.p:.2g} by {tested.name}"
    if tested.p <= level:
        return Finding(tested.less, why)
    few = min(len(first), len(second)) < tested.enough
    return Finding(None, f"{why}; at least {tested.enough} seeds of each are needed" if few else why)


def _signs(first: Sequence[float], second: Sequence[float], level: float) -> _Tested:
    """The sign test, of the seeds of two places of the same networks; those in which both are equal say nothing."""
    less = sum(a < b for a, b in zip(first, second, strict=True))
    more = sum(a > b for a, b in zip(first, second, strict=True))
    p = stats.binomtest(less, less + more).pvalue if less + more else 1.0
    return _Tested("signs", less > more, float(p), _alike(level))


def _ranks(first: Sequence[float], second: Sequence[float], level: float) -> _Tested:
    """Wilcoxon's sum of ranks (1945), over all ways to deal them out to two places, with ties as they are."""
    ranks = [round(2 * rank) for rank in stats.rankdata([*first, *second])]  # of ties they are halves
    own, ways = sum(ranks[: len(first)]), {(0, 0): 1}  # (how many are dealt to the first, their sum): in so many ways
    for rank in ranks:
        for (dealt, total), number in list(ways.items()):
            ways[dealt + 1, total + rank] = ways.get((dealt + 1, total + rank), 0) + number
    sums = {total: number for (dealt, total), number in ways.items() if dealt == len(first)}
    as_low = sum(number for total, number in sums.items() if total <= own) / sum(sums.values())
    as_high = sum(number for total, number in sums.items() if total >= own) / sum(sums.values())
    enough = next(n for n in count(1) if 2 / math.comb(2 * n, n) <= level)
    return _Tested("ranks", as_low < as_high, min(1.0, 2 * min(as_low, as_high)), enough)


def _share_that_fails(cell: Cell, level: float) -> Finding:
    """Whether more than half of all runs of a place fail, by the exact interval of the share (Clopper and Pearson)."""
    failed, runs = len(cell.failed), len(cell.runs)
    low, high = stats.binomtest(failed, runs).proportion_ci(1 - level, method="exact")
    why = f"{failed} of {runs} runs failed, a share of {_interval(low, high)}"
    if low > 0.5:
        return Finding(True, why)
    if high < 0.5:
        return Finding(False, why)
    return Finding(None, f"{why}; at least {_alike(level)} seeds are needed" if runs < _alike(level) else why)


def _alike(level: float) -> int:
    """How many tosses of a coin that all fall alike are too many for chance, two-sided."""
    return next(n for n in count(1) if 2 * 0.5**n < level)


def _name(where: Where) -> str:
    return ", ".join(f"{axis} {label}" for axis, label in where.items())
