"""What a paper says of its table, and whether our cells say it too: reproduced, contradicted, or not decided.

A claim is made of comparisons between cells. Each is decided by a 95 % interval over seeds (Student's t): of the
differences seed by seed where both cells were measured on the same trained networks, else Welch's, of two independent
means. A claim that all of several hold is reproduced when each of them holds by its own interval (an intersection of
tests needs no correction), and contradicted when one is contradicted at the level divided by their number (a union
does, Bonferroni's); a claim that one of several holds the other way round. Everything else is not decided: so is
whatever was measured once.

A run that failed counts: where all runs of a cell failed it is worse than any that did not.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
            return Finding(True, _together(found, True))
        strictly = [statement.decide(cells, level / len(self.statements)) for statement in self.statements]
        if any(finding.holds is False for finding in strictly):
            return Finding(False, _together(strictly, False))
        return Finding(None, _together(found, None))


@dataclass(frozen=True)
class AnyOf(Statement):
    """At least one of them holds."""

    statements: tuple[Statement, ...]

    def decide(self, cells, level=LEVEL):
        if not self.statements:
            return Finding(None, "no two cells to compare")
        strictly = [statement.decide(cells, level / len(self.statements)) for statement in self.statements]
        if any(finding.holds for finding in strictly):
            return Finding(True, _together(strictly, True))
        found = [statement.decide(cells, level) for statement in self.statements]
        if all(finding.holds is False for finding in found):
            return Finding(False, _together(found, False))
        return Finding(None, _together(found, None))


def _together(found: Sequence[Finding], holds: bool | None, shown: int = 3) -> str:
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
        between = _difference(cells, self.quantity, self.low, self.high, name, level)
        return between if isinstance(between, Finding) else Finding(_side(*between.ends), between.said)


@dataclass(frozen=True)
class Near(Statement):
    """`quantity` at one place differs from that at another by at most this share of the other's mean.

    Equivalence: it holds when the whole interval of the difference lies within, and not because none was found.
    """

    quantity: str
    one: Where
    other: Where
    share: float

    def decide(self, cells, level=LEVEL):
        name = f"{self.quantity} at {_name(self.one)} within {self.share:.0%} of that at {_name(self.other)}"
        between = _difference(cells, self.quantity, self.one, self.other, name, level, ordered=False)
        if isinstance(between, Finding):
            return between
        (lowest, highest), most = between.ends, self.share * abs(cells.at(self.other).mean(self.quantity))
        holds = True if -most <= lowest and highest <= most else False if highest < -most or lowest > most else None
        return Finding(holds, f"{between.said}, to lie in {_interval(-most, most)}")


@dataclass(frozen=True)
class Within(Statement):
    """The mean of `quantity` at a place lies in [low, high]."""

    quantity: str
    where: Where
    low: float = -math.inf
    high: float = math.inf

    def decide(self, cells, level=LEVEL):
        cell = cells.at(self.where)
        name = f"{self.quantity} at {_name(self.where)} in [{self.low:g}, {self.high:g}]"
        if cell.status != "done":
            return Finding(False if cell.status == "failed" else None, f"{name}: {cell.said}")
        if self.quantity not in cell.values:
            return Finding(None, f"{name}: this budget does not measure {self.quantity}")
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
    """Every run of a place fails."""

    where: Where

    def decide(self, cells, level=LEVEL):
        cell = cells.at(self.where)
        holds = {"failed": True, "done": False}.get(cell.status)
        return Finding(holds, f"{_name(self.where)}: {cell.said or 'all runs came to their end'}")


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

    def decide(self, cells, level=LEVEL):
        comparisons = []
        for line in cells.lines(self.along, dict(self.fixed), self.over):
            for one, next_one in zip(line, line[1:], strict=False):
                low, high = (one, next_one) if self.rising else (next_one, one)
                comparisons.append(Less(self.quantity, low, high))
        return All(tuple(comparisons)).decide(cells, level)


@dataclass(frozen=True)
class _Extreme(Statement):
    quantity: str
    along: str
    where: tuple[tuple[str, str], ...]
    low: bool

    def decide(self, cells, level=LEVEL):
        here = dict(self.where)
        fixed = {name: label for name, label in here.items() if name != self.along}
        comparisons = []
        for line in cells.lines(self.along, fixed):
            own = [place for place in line if place[self.along] == here[self.along]]
            others = [place for place in line if place[self.along] != here[self.along]]
            pairs = [(own[0], other) for other in others] if own else []
            comparisons += [Less(self.quantity, *(pair if self.low else reversed(pair))) for pair in pairs]
        return All(tuple(comparisons)).decide(cells, level)


# ---------------------------------------------------------------------------------------------------------- intervals


class _Between(NamedTuple):
    """The interval of a difference, and how it is said."""

    ends: tuple[float, float]
    said: str


def _difference(
    cells: Cells, quantity: str, low: Where, high: Where, name: str, level: float, ordered: bool = True
) -> _Between | Finding:
    """The interval of high - low; or the finding, where no numbers decide. A failure decides what is `ordered`."""
    first, second = cells.at(low), cells.at(high)
    if early := _without_numbers(first, second, cells.better(quantity) if ordered else ""):
        return Finding(early.holds, f"{name}: {early.why}")
    if any(quantity not in cell.values for cell in (first, second)):
        return Finding(None, f"{name}: this budget does not measure {quantity}")
    differing = differences(first.protocols[quantity], second.protocols[quantity])
    if differing:
        return Finding(None, f"{name}: measured under different protocols, {', '.join(differing)}")
    paired = first.runs == second.runs
    between = (_paired if paired else _welch)(first.values[quantity], second.values[quantity], level)
    if between is None:
        return Finding(None, f"{name}: one seed has no interval")
    return _Between(between, f"{name}: difference {_interval(*between)}{' (paired)' if paired else ''}")


def _without_numbers(low: Cell, high: Cell, better: str) -> Finding | None:
    """What failed and missing runs decide by themselves. A failed cell is worse than one that is done."""
    if "not run" in (low.status, high.status) or "running" in (low.status, high.status):
        return Finding(None, next(cell.said for cell in (low, high) if cell.status in ("not run", "running")))
    if low.status == high.status == "done":
        return None
    said = "; ".join(cell.said for cell in (low, high) if cell.said)
    if {low.status, high.status} != {"done", "failed"} or not better:
        return Finding(None, said)
    worse_is_high = better == "less"
    return Finding((high.status == "failed") is worse_is_high, said)


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


def _name(where: Where) -> str:
    return ", ".join(f"{axis} {label}" for axis, label in where.items())
