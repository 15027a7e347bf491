"""What a paper says of its table, and whether our cells say it too: reproduced, contradicted, or not decided.

A claim is made of comparisons between cells. Each is decided by a 95 % interval over seeds (Student's t): of the
differences seed by seed where both cells were measured on the same trained networks, else Welch's, of two independent
means. A claim that all of several hold is reproduced when each of them holds by its own interval (an intersection of
tests needs no correction), and contradicted when one is contradicted at the level divided by their number (a union
does, Bonferroni's); a claim that one of several holds the other way round. Everything else is not decided: so is
whatever was measured once.

Where there is no interval an exact test decides, at the same level. A run that failed counts: it is worse than any that
did not, whatever the quantity, and ranks (of the same networks: signs) tell two places apart; so does one that gave no
finite number of a quantity, in that quantity. Ranks and signs also decide where all seeds of a place give the same
number, whose spread then is not known. Whether such a place lies within bounds, which then is said of its median, and
whether a place fails, is decided by the exact interval of the share of its runs that do, against one half.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from diffjax.ablation import exact, intervals
from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.intervals import LEVEL, shown
from diffjax.ablation.table import Table, Where, named
from diffjax.errors import UserError
from diffjax.metrics.protocol import differences


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
    """Something that cells can say."""

    def decide(self, cells: Cells, level: float = LEVEL) -> Finding:
        """Whether these cells say it, at this level."""
        raise NotImplementedError

    def check(self, table: Table) -> None:
        """Raises UserError unless the table has the quantity and the places that this is of."""
        raise NotImplementedError


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, and what it means for the cells.

    A claim that was made once cells were there to see says so: they may have suggested it.
    """

    says: str
    statement: Statement
    added: str = ""  # when, if not before any cell: "after the cells of hour were seen"

    def __post_init__(self):
        if not isinstance(self.statement, Statement):
            raise UserError(f"experiment: claim {self.says!r}: {self.statement!r} is nothing that cells can say")

    def verdict(self, cells: Cells) -> Verdict:
        holds, why = self.statement.decide(cells)
        says = f"{self.says} (added {self.added})" if self.added else self.says
        return Verdict(says, {True: "reproduced", False: "contradicted", None: "not decided"}[holds], why)


class _Several(Statement):
    """Statements together."""

    statements: tuple[Statement, ...]

    def check(self, table):
        for statement in self.statements:
            statement.check(table)


@dataclass(frozen=True)
class All(_Several):
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
class AnyOf(_Several):
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

    def check(self, table):
        table.check_quantity(self.quantity)
        table.check(self.low)
        table.check(self.high)
        if self.low == self.high:
            raise UserError(f"experiment: {named(self.low)} is compared with itself")

    def decide(self, cells, level=LEVEL):
        name = f"{self.quantity} at {named(self.low)} < at {named(self.high)}"
        low, high = cells.at(self.low), cells.at(self.high)
        if reason := _not_comparable(self.quantity, low, high):
            return Finding(None, f"{name}: {reason}")
        if low.failing(self.quantity) or high.failing(self.quantity):
            holds, why = _less_where_runs_fail(self.quantity, low, high, cells.better(self.quantity), level)
            return Finding(holds, f"{name}: {why}")
        if min(len(low.runs), len(high.runs)) < 2:
            return Finding(None, f"{name}: one seed has no interval")
        ends = intervals.of_difference(self.quantity, low, high, level)
        if ends is None:
            holds, why = _less_without_spread(self.quantity, low, high, level)
            return Finding(holds, f"{name}: {why}")
        paired = " (paired)" if low.shares_runs(high) else ""
        return Finding(intervals.side(*ends), f"{name}: second - first {shown(*ends, level)}{paired}")


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

    def check(self, table):
        table.check_quantity(self.quantity)
        table.check(self.one)
        table.check(self.other)
        if not 0 < self.share < 1:
            raise UserError(f"experiment: the share {self.share} within which two are near must lie between 0 and 1")

    def decide(self, cells, level=LEVEL):
        name = f"{self.quantity} at {named(self.one)} within {self.share:.0%} of that at {named(self.other)}"
        one, other = cells.at(self.one), cells.at(self.other)
        if reason := _not_comparable(self.quantity, one, other):
            return Finding(None, f"{name}: {reason}")
        if failing := [cell.reason for cell in (one, other) if cell.failing(self.quantity)]:
            return Finding(None, f"{name}: {'; '.join(failing)}")
        margin = math.copysign(self.share, other.mean(self.quantity))
        above = intervals.of_difference(self.quantity, other, one, level, of_low=1 - margin)
        below = intervals.of_difference(self.quantity, other, one, level, of_low=1 + margin)
        if above is None or below is None:
            return Finding(None, f"{name}: one seed, or seeds that are all alike, have no interval")
        said = f"{name}: from its lower bound {shown(*above, level)}, from its upper {shown(*below, level)}"
        if above[0] >= 0 and below[1] <= 0:
            return Finding(True, said)
        return Finding(False if above[1] < 0 or below[0] > 0 else None, said)


@dataclass(frozen=True)
class Within(Statement):
    """The mean of `quantity` at a place lies in [low, high]. Where most runs fail it does not.

    Where all runs give the same number: most of them lie there, and so does the median.
    """

    quantity: str
    where: Where
    low: float = -math.inf
    high: float = math.inf

    def check(self, table):
        table.check_quantity(self.quantity)
        table.check(self.where)
        if not self.low <= self.high:
            raise UserError(f"experiment: {self.quantity} cannot lie {self._bounds()}")

    def decide(self, cells, level=LEVEL):
        cell = cells.at(self.where)
        name = f"{self.quantity} at {named(self.where)} {self._bounds()}"
        if reason := _not_comparable(self.quantity, cell):
            return Finding(None, f"{name}: {reason}")
        if failing := cell.failing(self.quantity):
            most_fail, why = _share_of(len(failing), len(cell.runs), "failed", level)
            return Finding(False if most_fail else None, f"{name}: {why}")
        values = list(cell.values[self.quantity].values())
        if len(values) < 2:
            return Finding(None, f"{name}: one seed has no interval")
        ends = intervals.of_mean(values, level)
        if ends is None:
            inside = len(values) if self.low <= values[0] <= self.high else 0
            most, why = _share_of(inside, len(values), f"lie there, all of {values[0]:g}", level)
            return Finding(most, f"{name}: {why}")
        lowest, highest = ends
        said = f"{name}: mean {shown(lowest, highest, level)}"
        if self.low <= lowest and highest <= self.high:
            return Finding(True, said)
        return Finding(False if highest < self.low or lowest > self.high else None, said)

    def _bounds(self) -> str:
        if self.high == math.inf:
            return f">= {self.low:g}"
        return f"<= {self.high:g}" if self.low == -math.inf else f"in {self.low:g} .. {self.high:g}"


@dataclass(frozen=True)
class Fails(Statement):
    """Runs of a place fail, more often than not: as a whole, and not in one of several quantities."""

    where: Where

    def check(self, table):
        table.check(self.where)

    def decide(self, cells, level=LEVEL):
        cell = cells.at(self.where)
        if not cell.complete:
            return Finding(None, f"{named(self.where)}: {cell.reason}")
        holds, why = _share_of(len(cell.failed), len(cell.runs), "failed", level)
        return Finding(holds, f"{named(self.where)}: {why}")


def _not_comparable(quantity: str, *cells: Cell) -> str:
    """Why nothing can be said of these cells yet, or ever; "" where there is nothing in the way."""
    for cell in cells:
        if not cell.complete:
            return cell.reason
        if quantity in cell.refused:
            return f"refused: {cell.refused[quantity]}"
        if lacking := cell.lacking(quantity):
            some = quantity in {*cell.values, *cell.undefined}
            return f"seed {lacking[0]} has no {quantity}" if some else f"this budget does not measure {quantity}"
    first, *others = [cell.protocols[quantity] for cell in cells if quantity in cell.protocols] or [{}]
    differing = [line for other in others for line in differences(first, other)]
    return f"measured under different protocols, {', '.join(differing)}" if differing else ""


# ------------------------------------------------------------------------------------------- where there is no interval


def _less_where_runs_fail(quantity: str, low: Cell, high: Cell, better: str, level: float) -> Finding:
    """Whether it is less at `low`; a run that failed is worse than all that did not, and as bad as another."""
    failed, against = (f"{len(cell.failing(quantity))} of {len(cell.runs)}" for cell in (low, high))
    counts = f"{failed} runs failed against {against}"
    if not better:
        return Finding(None, f"{counts}; neither less nor more of it is better")
    return _by_exact_test(quantity, low, high, math.inf if better == "less" else -math.inf, counts, level)


def _less_without_spread(quantity: str, low: Cell, high: Cell, level: float) -> Finding:
    """Whether it is less at `low`, where the seeds of one, or the differences of the same networks, are all alike."""
    values = [list(cell.values[quantity].values()) for cell in (low, high)]
    if values[0][0] == values[1][0] and all(map(intervals.alike, values)):
        return Finding(None, f"all seeds of both give {values[0][0]:g}")
    return _by_exact_test(quantity, low, high, math.nan, "seeds that are all alike show no spread", level)


def _by_exact_test(quantity: str, low: Cell, high: Cell, failed: float, said: str, level: float) -> Finding:
    """Whether it is less at `low`, by signs or ranks, where a run that failed counts as this number."""
    first, second = ([failed if seed in cell.failing(quantity) else cell.values[quantity][seed]
                      for seed in sorted(cell.runs)] for cell in (low, high))  # fmt: skip
    tested = (exact.signs if low.shares_runs(high) else exact.ranks)(first, second, level)
    why = f"{said}, p = {tested.p:.2g} by {tested.name}"
    if tested.p <= level:
        return Finding(tested.less, why)
    few = min(len(first), len(second)) < tested.enough
    return Finding(None, f"{why}; at least {tested.enough} seeds of each are needed" if few else why)


def _share_of(those: int, runs: int, did: str, level: float) -> Finding:
    """Whether more than half of all runs do what so many did."""
    share = exact.share(those, runs, level)
    why = f"{those} of {runs} runs {did}, a share of {shown(share.low, share.high, level)}"
    return Finding(share.most, f"{why}; at least {share.enough} seeds are needed" if runs < share.enough else why)
