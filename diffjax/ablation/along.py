"""Statements about an axis of a table: a quantity grows or falls along it, or is least or greatest at one label."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from diffjax.ablation.cells import Cells
from diffjax.ablation.claims import All, Finding, Less, Statement
from diffjax.ablation.intervals import LEVEL
from diffjax.ablation.table import Axis, Where
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
    """Comparisons along an axis, between the places that a budget has; the evidence says if it lacks labels."""

    quantity: str
    along: str
    where: Where  # the labels of fixed axes; for extremes also the label of this axis that is compared with the others
    over: tuple[str, ...]  # the labels of this axis to compare; (): all

    def comparisons(self, cells: Cells) -> All:
        raise NotImplementedError

    def check(self, table):
        table.check_quantity(self.quantity)
        table.check_labels({self.along: self.over} | {name: (label,) for name, label in self.where.items()})
        if len(set(self.over)) == 1:
            raise UserError(f"experiment: over={self.over} has one label; it must name at least two of {self.along}")

    def decide(self, cells, level=LEVEL):
        holds, why = self.comparisons(cells).decide(cells, level)
        partial = []
        for axis in cells.table.axes:
            wanted = self._labels(axis)
            labels = [label for label in cells.labels(axis) if label in wanted]
            if 0 < len(labels) < len(wanted):
                partial.append(f"{axis.name} {', '.join(labels)}")
        return Finding(holds, f"{why}; this budget has only {' and '.join(partial)}" if partial else why)

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

    def comparisons(self, cells: Cells) -> All:
        comparisons = []
        for line in cells.lines(self.along, self.where, self.over):
            for place, next_place in pairwise(line):
                low, high = (place, next_place) if self.rising else (next_place, place)
                comparisons.append(Less(self.quantity, low, high))
        return All(tuple(comparisons))


@dataclass(frozen=True)
class _Extreme(_Along):
    low: bool

    def check(self, table):
        super().check(table)
        if self.along not in self.where:
            raise UserError(f"experiment: the label with the extreme is missing; give {self.along}=LABEL")

    def comparisons(self, cells: Cells) -> All:
        fixed = {name: label for name, label in self.where.items() if name != self.along}
        comparisons = []
        for line in cells.lines(self.along, fixed):
            extreme = [place for place in line if place[self.along] == self.where[self.along]]
            others = [place for place in line if place[self.along] != self.where[self.along]]
            pairs = [(extreme[0], other) for other in others] if extreme else []
            comparisons += [Less(self.quantity, *(pair if self.low else reversed(pair))) for pair in pairs]
        return All(tuple(comparisons))
