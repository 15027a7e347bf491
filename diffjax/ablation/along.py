"""Claims along an axis of a table: that a quantity grows or falls, and that it is least or greatest at one place."""

from collections.abc import Sequence
from dataclasses import dataclass

from diffjax.ablation.cells import Cells
from diffjax.ablation.claims import All, Finding, Less, Statement
from diffjax.ablation.intervals import LEVEL
from diffjax.ablation.table import Where
from diffjax.errors import UserError


def increases(quantity: str, along: str, over: Sequence[str] = (), **fixed: str) -> Statement:
    """`quantity` grows from each label of an axis to the next (those of `over`), for every label of the others."""
    return _Ordered(quantity, along, fixed, tuple(map(str, over)), rising=True)


def decreases(quantity: str, along: str, over: Sequence[str] = (), **fixed: str) -> Statement:
    """`quantity` falls from each label of an axis to the next (those of `over`), for every label of the others."""
    return _Ordered(quantity, along, fixed, tuple(map(str, over)), rising=False)


def least(quantity: str, along: str, **where: str) -> Statement:
    """`quantity` is less at this place than at any other along an axis."""
    return _Extreme(quantity, along, where, (), low=True)


def greatest(quantity: str, along: str, **where: str) -> Statement:
    """`quantity` is greater at this place than at any other along an axis."""
    return _Extreme(quantity, along, where, (), low=False)


@dataclass(frozen=True)
class _Along(Statement):
    """Comparisons along an axis, at whatever places a budget has; where it lacks some, it is said which there are."""

    quantity: str
    along: str
    where: Where  # the label of each axis that is fixed, and of this axis where one place is compared with the others
    over: tuple[str, ...]  # the labels of this axis that are compared; (): all

    def comparisons(self, cells: Cells) -> All:
        raise NotImplementedError

    def check(self, table):
        table.check_quantity(self.quantity)
        table.check_labels({self.along: self.over} | {name: (label,) for name, label in self.where.items()})
        if len(self.over) == 1:
            raise UserError(f"experiment: {self.along} {self.over[0]} alone has nothing to be compared with")

    def decide(self, cells, level=LEVEL):
        holds, why = self.comparisons(cells).decide(cells, level)
        others = (axis for axis in cells.table.axes if axis.name == self.along or axis.name not in self.where)
        lacking = [
            f"of {axis.name} only {', '.join(here)}"
            for axis in others
            if 0 < len(here := cells.labels(axis)) < len(axis.labels) and not (self.over and axis.name == self.along)
        ]
        return Finding(holds, "; ".join([why, *lacking]))


@dataclass(frozen=True)
class _Ordered(_Along):
    rising: bool

    def check(self, table):
        super().check(table)
        if self.along in self.where:
            raise UserError(
                f"experiment: {self.along} cannot change and be {self.where[self.along]}; leave the label out"
            )

    def comparisons(self, cells: Cells) -> All:
        comparisons = []
        for line in cells.lines(self.along, self.where, self.over):
            for one, next_one in zip(line, line[1:], strict=False):
                low, high = (one, next_one) if self.rising else (next_one, one)
                comparisons.append(Less(self.quantity, low, high))
        return All(tuple(comparisons))


@dataclass(frozen=True)
class _Extreme(_Along):
    low: bool

    def check(self, table):
        super().check(table)
        if self.along not in self.where:
            raise UserError(f"experiment: which {self.along} is it that has the extreme? give {self.along}=LABEL")

    def comparisons(self, cells: Cells) -> All:
        fixed = {name: label for name, label in self.where.items() if name != self.along}
        comparisons = []
        for line in cells.lines(self.along, fixed):
            own = [place for place in line if place[self.along] == self.where[self.along]]
            others = [place for place in line if place[self.along] != self.where[self.along]]
            pairs = [(own[0], other) for other in others] if own else []
            comparisons += [Less(self.quantity, *(pair if self.low else reversed(pair))) for pair in pairs]
        return All(tuple(comparisons))
