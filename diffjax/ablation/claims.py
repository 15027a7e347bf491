"""What a paper claims about its table, and whether our cells agree: reproduced, contradicted, or not decided.

A claim consists of comparisons between cells. Each is decided by a 95 % interval over seeds: Student's interval of the
differences seed by seed if both cells come from the same trained networks, otherwise Welch's interval for two
independent means. A claim that all of several statements hold is reproduced when each holds by its own interval (an
intersection of tests needs no correction), and contradicted when one is contradicted at the level divided by their
number (a union needs Bonferroni's). For a claim that at least one of several holds it is the other way round.
Everything else is not decided, including whatever was measured once.

Where there is no interval, an exact test decides at the same level. A failed run counts as worse than any run that did
not fail, whatever the quantity; a number that is not finite counts likewise, in its own quantity. Two places are then
compared by ranks or, if they come from the same networks, by the signs of the differences. The same tests decide where
all seeds of a place give the same number, so that their spread is unknown. Whether such a place lies within bounds,
which is then a statement about its median, and whether a place fails, is decided by the exact interval of the share of
its runs that do, against one half.

All evidence has one form: the statement, a colon, and what decided it. `layout.EVIDENCE` explains it to readers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from diffjax.ablation import exact, intervals
from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.intervals import LEVEL, confidence, shown
from diffjax.ablation.table import Table, Where, named
from diffjax.errors import UserError
from diffjax.metrics.protocol import differences


class Finding(NamedTuple):
    """Whether a statement holds (None: not decided), and the evidence."""

    holds: bool | None
    why: str


class Verdict(NamedTuple):
    """The verdict on a claim, and the evidence for it."""

    says: str
    verdict: str  # "reproduced", "contradicted" or "not decided"
    why: str


class Statement:
    """A statement about cells."""

    def decide(self, cells: Cells, level: float = LEVEL) -> Finding:
        """Whether it holds for these cells, at this level."""
        raise NotImplementedError

    def check(self, table: Table) -> None:
        """Raises UserError unless the table has the quantity and the places of this statement."""
        raise NotImplementedError

    def places(self, cells: Cells) -> list[Where]:
        """The places whose cells it compares, perhaps more than once."""
        raise NotImplementedError


@dataclass(frozen=True)
class Claim:
    """A claim in words, and the statement about cells that it stands for.

    A claim that was made after cells had been seen must say so: they may have suggested it.
    """

    says: str
    statement: Statement
    added: str = ""  # when, if not before any cell: "after the cells of hour were seen"

    def __post_init__(self):
        if not isinstance(self.statement, Statement):
            raise UserError(
                f"experiment: claim {self.says!r}: {self.statement!r} must be a statement such as Less(...)"
            )

    def verdict(self, cells: Cells, stale: Sequence[Where] = ()) -> Verdict:
        """The verdict of these cells; the evidence names those of the places `stale` that it rests on."""
        holds, why = self.statement.decide(cells)
        compared = list(map(dict, self.statement.places(cells)))
        old = [named(where) for where in stale if dict(where) in compared]
        why = f"{why}; stale: {', '.join(old)}" if old else why
        says = f"{self.says} (added {self.added})" if self.added else self.says
        return Verdict(says, {True: "reproduced", False: "contradicted", None: "not decided"}[holds], why)


class _Several(Statement):
    """A combination of statements."""

    statements: tuple[Statement, ...]

    def check(self, table):
        if not self.statements:
            raise UserError(f"experiment: {type(self).__name__} has no statements, so it decides nothing")
        for statement in self.statements:
            if not isinstance(statement, Statement):
                raise UserError(f"experiment: {statement!r} must be a statement such as Less(...)")
            statement.check(table)

    def places(self, cells):
        return [where for statement in self.statements for where in statement.places(cells)]


@dataclass(frozen=True)
class All(_Several):
    """All of several statements hold."""

    statements: tuple[Statement, ...]

    def decide(self, cells, level=LEVEL):
        if not self.statements:
            return Finding(None, "no two cells to compare")
        findings = [statement.decide(cells, level) for statement in self.statements]
        if all(finding.holds for finding in findings):
            return Finding(True, _summary(findings, True))
        corrected = [statement.decide(cells, level / len(self.statements)) for statement in self.statements]
        if any(finding.holds is False for finding in corrected):
            return Finding(False, _summary(corrected, False))
        return Finding(None, _open(findings, corrected, False))


@dataclass(frozen=True)
class AnyOf(_Several):
    """At least one of several statements holds."""

    statements: tuple[Statement, ...]

    def decide(self, cells, level=LEVEL):
        if not self.statements:
            return Finding(None, "no two cells to compare")
        corrected = [statement.decide(cells, level / len(self.statements)) for statement in self.statements]
        if any(finding.holds for finding in corrected):
            return Finding(True, _summary(corrected, True))
        findings = [statement.decide(cells, level) for statement in self.statements]
        if all(finding.holds is False for finding in findings):
            return Finding(False, _summary(findings, False))
        return Finding(None, _open(findings, corrected, True))


OUTCOMES = {True: "hold", False: "contradicted", None: "not decided"}


def _summary(findings: Sequence[Finding], holds: bool | None) -> str:
    """The findings that decided it; a single finding as it is."""
    if len(findings) == 1:
        return findings[0].why
    return _counted([finding.why for finding in findings if finding.holds is holds], len(findings), OUTCOMES[holds])


def _open(findings: Sequence[Finding], corrected: Sequence[Finding], wanted: bool) -> str:
    """What left it undecided: findings that would decide it (`wanted`) but for the correction, and undecided ones."""
    lost = [c.why for finding, c in zip(findings, corrected, strict=True) if finding.holds is wanted]
    if not lost:
        return _summary(findings, None)
    parts = [_counted(lost, len(findings), f"{OUTCOMES[wanted]} only without correction")]
    if undecided := [finding.why for finding in findings if finding.holds is None]:
        parts.append(_counted(undecided, len(findings), OUTCOMES[None]))
    return "; ".join(parts)


def _counted(whys: Sequence[str], total: int, outcome: str, most: int = 3) -> str:
    """How many of all findings had an outcome, and the evidence of the first `most`."""
    rest = f"; and {len(whys) - most} more" if len(whys) > most else ""
    return f"{len(whys)} of {total} {outcome}: {'; '.join(whys[:most])}{rest}"


@dataclass(frozen=True)
class Less(Statement):
    """`quantity` is less at the place `low` than at the place `high`."""

    quantity: str
    low: Where
    high: Where

    def check(self, table):
        table.check_quantity(self.quantity)
        table.check(self.low)
        table.check(self.high)
        if self.low == self.high:
            raise UserError(f"experiment: {named(self.low)} cannot be compared with itself")

    def places(self, cells):
        return [self.low, self.high]

    def decide(self, cells, level=LEVEL):
        statement = f"{_at(self.quantity, self.low)} < {_at(self.quantity, self.high)}"
        low, high = cells.at(self.low), cells.at(self.high)
        if reason := _not_comparable(self.quantity, low, high):
            return Finding(None, f"{statement}: {reason}")
        if low.failing(self.quantity) or high.failing(self.quantity):
            holds, why = _less_where_runs_fail(self.quantity, low, high, cells.better(self.quantity), level)
            return Finding(holds, f"{statement}: {why}")
        if min(len(low.runs), len(high.runs)) < 2:
            return Finding(None, f"{statement}: one seed has no interval")
        interval = intervals.of_difference(self.quantity, low, high, level)
        if interval is None:
            holds, why = _less_without_spread(self.quantity, low, high, level)
            return Finding(holds, f"{statement}: {why}")
        evidence = f"difference {shown(*interval)} {confidence(level, low.shares_runs(high))}"
        return Finding(intervals.side(*interval), f"{statement}: {evidence}")


@dataclass(frozen=True)
class Near(Statement):
    """`quantity` at the place `one`, x, differs from that at `other`, y, by at most this share of y.

    This is a test of equivalence: it holds when the intervals of x - (1 - share) y and x - (1 + share) y lie wholly
    above and below 0. Finding no difference is not enough. Both intervals include the uncertainty of y.
    """

    quantity: str
    one: Where
    other: Where
    share: float

    def check(self, table):
        table.check_quantity(self.quantity)
        table.check(self.one)
        table.check(self.other)
        if self.one == self.other:
            raise UserError(f"experiment: {named(self.one)} cannot be compared with itself")
        if not 0 < self.share < 1:
            raise UserError(f"experiment: share={self.share} must lie between 0 and 1")

    def places(self, cells):
        return [self.one, self.other]

    def decide(self, cells, level=LEVEL):
        statement = f"{_at(self.quantity, self.one)} within {100 * self.share:g} % of {_at(self.quantity, self.other)}"
        one, other = cells.at(self.one), cells.at(self.other)
        if reason := _not_comparable(self.quantity, one, other):
            return Finding(None, f"{statement}: {reason}")
        if reasons := [cell.reason for cell in (one, other) if cell.failing(self.quantity)]:
            return Finding(None, f"{statement}: {'; '.join(reasons)}")
        margin = math.copysign(self.share, other.mean(self.quantity))
        from_lower = intervals.of_difference(self.quantity, other, one, level, of_low=1 - margin)
        from_upper = intervals.of_difference(self.quantity, other, one, level, of_low=1 + margin)
        if from_lower is None or from_upper is None:
            return Finding(None, f"{statement}: one seed, or seeds that all agree, have no interval")
        evidence = (
            f"A - {1 - margin:g} B {shown(*from_lower)}, A - {1 + margin:g} B {shown(*from_upper)} "
            f"{confidence(level, one.shares_runs(other))}"
        )
        if from_lower[0] >= 0 and from_upper[1] <= 0:
            return Finding(True, f"{statement}: {evidence}")
        return Finding(False if from_lower[1] < 0 or from_upper[0] > 0 else None, f"{statement}: {evidence}")


@dataclass(frozen=True)
class Within(Statement):
    """The mean of `quantity` at a place lies in [low, high]; it does not if most runs fail.

    If all seeds give the same number, the statement is that most runs, and so the median, lie there.
    """

    quantity: str
    where: Where
    low: float = -math.inf
    high: float = math.inf

    def check(self, table):
        table.check_quantity(self.quantity)
        table.check(self.where)
        if not self.low <= self.high:
            raise UserError(f"experiment: {self.quantity} cannot be {self._bounds()}: low exceeds high")

    def places(self, cells):
        return [self.where]

    def decide(self, cells, level=LEVEL):
        cell = cells.at(self.where)
        statement = f"{_at(self.quantity, self.where)} {self._bounds()}"
        if reason := _not_comparable(self.quantity, cell):
            return Finding(None, f"{statement}: {reason}")
        if failing := cell.failing(self.quantity):
            most_fail, why = _most_runs(len(failing), len(cell.runs), "failed", level)
            return Finding(False if most_fail else None, f"{statement}: {why}")
        values = list(cell.values[self.quantity].values())
        if len(values) < 2:
            return Finding(None, f"{statement}: one seed has no interval")
        interval = intervals.of_mean(values, level)
        if interval is None:
            inside = len(values) if self.low <= values[0] <= self.high else 0
            holds, why = _most_runs(inside, len(values), f"within bounds, all {values[0]:g}", level)
            return Finding(holds, f"{statement}: {why}")
        lowest, highest = interval
        evidence = f"mean {shown(*interval)} {confidence(level)}"
        if self.low <= lowest and highest <= self.high:
            return Finding(True, f"{statement}: {evidence}")
        return Finding(False if highest < self.low or lowest > self.high else None, f"{statement}: {evidence}")

    def _bounds(self) -> str:
        if self.high == math.inf:
            return f">= {self.low:g}"
        return f"<= {self.high:g}" if self.low == -math.inf else f"in [{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class Fails(Statement):
    """More than half of the runs at a place fail: as a whole, not in one of several quantities."""

    where: Where

    def check(self, table):
        table.check(self.where)

    def places(self, cells):
        return [self.where]

    def decide(self, cells, level=LEVEL):
        cell = cells.at(self.where)
        statement = f"{named(self.where)} fails"
        if not cell.complete:
            return Finding(None, f"{statement}: {cell.reason}")
        holds, why = _most_runs(len(cell.failed), len(cell.runs), "failed", level)
        return Finding(holds, f"{statement}: {why}")


def _at(quantity: str, where: Where) -> str:
    """A quantity at a place: "FID (eta 0.0, steps 10)"."""
    return f"{quantity} ({named(where)})"


def _not_comparable(quantity: str, *cells: Cell) -> str:
    """Why these cells cannot be compared, or not yet; "" if they can."""
    for cell in cells:
        if not cell.complete:
            return cell.reason
        if quantity in cell.refused:
            return f"refused: {cell.refused[quantity]}"
        if lacking := cell.lacking(quantity):
            measured = quantity in {*cell.values, *cell.undefined}
            return f"seed {lacking[0]} has no {quantity}" if measured else f"this budget does not measure {quantity}"
    first, *others = [cell.protocols[quantity] for cell in cells if quantity in cell.protocols] or [{}]
    differing = [line for other in others for line in differences(first, other)]
    return f"measured under different protocols: {', '.join(differing)}" if differing else ""


# ------------------------------------------------------------------------------------------- where there is no interval


def _less_where_runs_fail(quantity: str, low: Cell, high: Cell, better: str, level: float) -> Finding:
    """Whether it is less at `low`; a failed run is worse than all that did not fail, and as bad as any other."""
    low_failures, high_failures = (f"{len(cell.failing(quantity))} of {len(cell.runs)}" for cell in (low, high))
    counts = f"{low_failures} runs failed against {high_failures}"
    if not better:
        return Finding(None, f"{counts}; neither less nor more of {quantity} is better")
    return _by_exact_test(quantity, low, high, math.inf if better == "less" else -math.inf, counts, level)


def _less_without_spread(quantity: str, low: Cell, high: Cell, level: float) -> Finding:
    """Whether it is less at `low`, if the seeds of one place agree, or all differences between the same networks."""
    values = [list(cell.values[quantity].values()) for cell in (low, high)]
    if values[0][0] == values[1][0] and all(map(intervals.alike, values)):
        return Finding(None, f"all seeds of both give {values[0][0]:g}")
    return _by_exact_test(quantity, low, high, math.nan, "no spread over seeds", level)


def _by_exact_test(quantity: str, low: Cell, high: Cell, failed: float, cause: str, level: float) -> Finding:
    """Whether it is less at `low`, by signs or ranks, where a failed run counts as the number `failed`."""
    low_values, high_values = (
        [failed if seed in cell.failing(quantity) else cell.values[quantity][seed] for seed in sorted(cell.runs)]
        for cell in (low, high)
    )
    test = (exact.signs if low.shares_runs(high) else exact.ranks)(low_values, high_values)
    why = f"{cause}, p = {test.p:.2g} ({test.name} test)"
    if test.p <= level:
        return Finding(test.less, why)
    return Finding(
        None, f"{why}; needs more seeds: these allow no p below {test.least:.2g}" if test.least > level else why
    )


def _most_runs(count: int, runs: int, outcome: str, level: float) -> Finding:
    """Whether more than half of all runs have an outcome that `count` of these runs had."""
    share = exact.share(count, runs, level)
    why = f"{count} of {runs} runs {outcome}, share {shown(share.low, share.high)} {confidence(level)}"
    return Finding(share.most, f"{why}; needs at least {share.enough} seeds" if runs < share.enough else why)
