"""Statements about an axis of a table: a quantity grows or falls along it, or is least or greatest at one label."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from diffjax.ablation.cells import Cells
from diffjax.ablation.claims import All, Finding, Less, Statement
from diffjax.ablation.intervals import LEVEL
from diffjax.ablation.table import Axis, Table, Where, named
from diffjax.errors import UserError


def increases(quantity: str, along: str, over: Sequence[str] = (), **fixed: str) -> Statement:
    """`quantity` grows from each label of an axis to the next, for every label of the other axes.

    `over` names the labels to compare; by default all. `fixed` fixes labels of other axes.
    """
    return _Ordered(quantity, along, fixed, tuple(map(str, over)), rising=True)


def decreases(quantity: str, along: str, over: Sequence[str] = (), **fixed: str) -> Statement:
    """`quantity` falls from each label of an axis to the next; arguments as for `increases`."""
    return _Ordered(quantity, along, fixed, tuple(map(str, over)), rising=False)


def least(quantity: str, along: str, **where: str) -> Statement:
    """`quantity` is less at the place `where` than at any other along an axis."""
    return _Extreme(quantity, along, where, (), low=True)


def greatest(quantity: str, along: str, **where: str) -> Statement:
    """`quantity` is greater at the place `where` than at any other along an axis."""
    return _Extreme(quantity, along, where, (), low=False)


@dataclass(frozen=True)
class _Along(Statement):
    """Comparisons along an axis, between the places of a budget that measure the quantity.

    The evidence says at which labels the budget has it, if not at all of them, and which lines have gaps of their own.
    """

    quantity: str
    along: str
    where: Where  # the labels of fixed axes; for extremes also the label of this axis that is compared with the others
    over: tuple[str, ...]  # the labels of this axis to compare; (): all

    def pairs(self, line: Sequence[Where]) -> list[tuple[Where, Where]]:
        """The places to compare along a line, the one that should have less first."""
        raise NotImplementedError

    def comparisons(self, cells: Cells) -> All:
        return All(tuple(Less(self.quantity, *pair) for line in self._lines(cells) for pair in self.pairs(line)))

    def check(self, table):
        table.check_quantity(self.quantity)
        table.check_labels({self.along: self.over} | {name: (label,) for name, label in self.where.items()})
        if len(set(self.over)) == 1:
            raise UserError(f"experiment: over={self.over} has one label; it must name at least two of {self.along}")

    def decide(self, cells, level=LEVEL):
        lines = self._lines(cells)
        if not lines:
            return Finding(None, f"this budget does not measure {self.quantity} there")
        holds, why = self.comparisons(cells).decide(cells, level)
        gaps = self._gaps(cells.table, lines)
        return Finding(holds, f"{why}; this budget has {self.quantity} {'; '.join(gaps)}" if gaps else why)

    def _lines(self, cells: Cells) -> list[list[Where]]:
        fixed = {name: label for name, label in self.where.items() if name != self.along}
        return cells.lines(self.quantity, self.along, fixed, self.over)

    def _gaps(self, table: Table, lines: Sequence[Sequence[Where]]) -> list[str]:
        """Where the lines are, if not everywhere: "only at eta 0, 1", "at steps 20 only at eta 1"."""
        places, partial = [place for line in lines for place in line], []
        for axis in table.axes:
            labels = [label for label in axis.labels if label in {place[axis.name] for place in places}]
            if len(labels) < len(set(self._labels(axis))):
                partial.append(f"{axis.name} {', '.join(labels)}")
        gaps = [f"only at {' and '.join(partial)}"] if partial else []
        longest = len({place[self.along] for place in places})
        for line in lines:
            if len(line) < longest:
                others = {name: label for name, label in line[0].items() if name != self.along}
                labels = ", ".join(place[self.along] for place in line)
                gaps.append(f"at {named(others)} only at {self.along} {labels}")
        return gaps

    def _labels(self, axis: Axis) -> Sequence[str]:
        """The labels of an axis that it speaks of."""
        if axis.name == self.along:
            return self.over or axis.labels
        return [self.where[axis.name]] if axis.name in self.where else axis.labels

    def places(self, cells):
        return self.comparisons(cells).places(cells)


@dataclass(frozen=True)
class _Ordered(_Along):
    rising: bool

    def check(self, table):
        super().check(table)
        if self.along in self.where:
            raise UserError(
                f"experiment: {self.along}={self.where[self.along]} cannot be fixed in a statement along {self.along}"
            )

    def pairs(self, line):
        return [pair if self.rising else pair[::-1] for pair in pairwise(line)]


@dataclass(frozen=True)
class _Extreme(_Along):
    low: bool

    def check(self, table):
        super().check(table)
        if self.along not in self.where:
            raise UserError(f"experiment: the label with the extreme is missing; give {self.along}=LABEL")

    def pairs(self, line):
        extreme = [place for place in line if place[self.along] == self.where[self.along]]
        others = [place for place in line if place not in extreme]
        return [(one, other) if self.low else (other, one) for one in extreme for other in others]
