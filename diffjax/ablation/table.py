"""A paper's table as data: its axes, and the published value of each cell."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from diffjax.errors import UserError

MARKS = {
    "A": "read in the authors' own paper or repository",
    "T": "two or more independent transcriptions agree",
    "1": "one transcription",
    "M": "from memory, not checked against the paper",
    "D": "derived; the derivation is in the experiment's file",
}
Where = Mapping[str, str]  # a place in a table: {"eta": "0.0", "steps": "10"}


def named(where: Where) -> str:
    """A place in words: "eta 0.0, steps 10"."""
    return ", ".join(f"{axis} {label}" for axis, label in where.items())


@dataclass(frozen=True)
class Axis:
    """The rows or the columns of a table, in the paper's order."""

    name: str
    labels: tuple[str, ...]

    @classmethod
    def of(cls, name: str, labels: Sequence[Any]) -> "Axis":
        return cls(name, tuple(map(str, labels)))

    def __post_init__(self):
        if twice := [label for label, n in Counter(self.labels).items() if n > 1]:
            raise UserError(f"experiment: the axis {self.name} has {twice[0]!r} twice")


class Printed(float):
    """A published number whose last digits are zeros, as the paper prints it: Printed("3.70")."""

    def __new__(cls, text: str) -> "Printed":
        number = super().__new__(cls, text)
        number.text = text
        return number


@dataclass(frozen=True)
class Marked:
    """A published cell with another mark than the rest of its quantity."""

    value: Any
    mark: str  # a letter of MARKS

    def __post_init__(self):
        if self.mark not in MARKS:
            raise UserError(f"experiment: the mark of {self.value}, {self.mark!r}, must be one of {', '.join(MARKS)}")


@dataclass(frozen=True)
class Quantity:
    """One quantity with its published values: numbers, or words such as "unstable"; None where nothing was published.

    A quantity of ours, for which nothing was published anywhere, has neither cells nor a mark.
    """

    name: str  # the paper's: "FID"
    mark: str = ""  # how certain the numbers are: a letter of MARKS
    cells: Sequence[Any] = ()  # row by row, each with a cell for each column; or a cell for each row
    better: str = "less"  # "less", "more", or "" if neither is
    unit: str = ""

    def __post_init__(self):
        if not isinstance(self.cells, Sequence) or isinstance(self.cells, str):
            raise UserError(f"experiment: the cells of {self.name}, {self.cells!r}, must be rows of cells")
        if self.cells and self.mark not in MARKS:
            raise UserError(f"experiment: the mark of {self.name}, {self.mark!r}, must be one of {', '.join(MARKS)}")
        if self.mark and not self.cells:
            raise UserError(f"experiment: {self.name} has the mark {self.mark!r} but no published cells")
        if self.better not in ("less", "more", ""):
            raise UserError(f"experiment: {self.name} has better={self.better!r}; it must be 'less', 'more' or ''")

    def mark_of(self, value: Any) -> str:
        """How certain a published value of this quantity is."""
        return value.mark if isinstance(value, Marked) else self.mark


@dataclass(frozen=True)
class Table:
    """A published table. Raises UserError unless every quantity has a cell for every place."""

    source: str  # "Song et al. 2020, arXiv 2010.02502, table 1"
    rows: Axis
    quantities: tuple[Quantity, ...]
    columns: Axis | None = None

    def __post_init__(self):
        if not self.source:
            raise UserError("experiment: a table has no source; say who published it where")
        if twice := [name for name, n in Counter(q.name for q in self.quantities).items() if n > 1]:
            raise UserError(f"experiment: the table has the quantity {twice[0]!r} twice")
        for quantity in (quantity for quantity in self.quantities if quantity.cells):
            shape, rows = self._shape(), self._rows(quantity)
            if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
                sizes = f"{len(rows)} rows of {'/'.join(map(str, sorted({len(row) for row in rows})))}"
                raise UserError(f"experiment: {quantity.name} has {sizes} cells, the table {shape[0]} of {shape[1]}")

    def _shape(self) -> tuple[int, int]:
        return len(self.rows.labels), len(self.columns.labels) if self.columns else 1

    def _rows(self, quantity: Quantity) -> list[Sequence[Any]]:
        return list(quantity.cells) if self.columns else [(cell,) for cell in quantity.cells]

    @property
    def axes(self) -> tuple[Axis, ...]:
        return (self.rows, self.columns) if self.columns else (self.rows,)

    def places(self) -> Iterator[Where]:
        """Every place, row by row."""
        names = [axis.name for axis in self.axes]
        for labels in product(*(axis.labels for axis in self.axes)):
            yield dict(zip(names, labels, strict=True))

    def published(self, quantity: str, where: Where) -> Any:
        """The published value at a place: a number, a (mean, spread) pair, a word or None; perhaps Marked."""
        (entry,) = (q for q in self.quantities if q.name == quantity)
        if not entry.cells:
            return None
        i = self.rows.labels.index(where[self.rows.name])
        j = self.columns.labels.index(where[self.columns.name]) if self.columns else 0
        return self._rows(entry)[i][j]

    def marks(self, quantity: Quantity) -> list[str]:
        """The quantity's mark, and those of its cells that are marked otherwise."""
        values = [self.published(quantity.name, where) for where in self.places()]
        used = {quantity.mark, *(quantity.mark_of(value) for value in values if value is not None)}
        return sorted(used, key=lambda mark: (mark != quantity.mark, list(MARKS).index(mark)))

    def check(self, where: Where) -> None:
        """Raises UserError for a place that is not in this table."""
        if not isinstance(where, Mapping):
            raise UserError(f"experiment: the place {where!r} must be {{axis: label}}")
        if sorted(where) != sorted(axis.name for axis in self.axes):
            names = " and ".join(axis.name for axis in self.axes)
            raise UserError(f"experiment: {dict(where)} must have a label for {names}, and for no other axis")
        self.check_labels({name: (label,) for name, label in where.items()})

    def check_labels(self, labels: Mapping[str, Sequence[str]]) -> None:
        """Raises UserError for an axis that is not in this table, or labels that its axis does not have."""
        axes = {axis.name: axis.labels for axis in self.axes}
        for name, wanted in labels.items():
            if name not in axes:
                raise UserError(f"experiment: {name!r} is not an axis of this table; it has {' and '.join(axes)}")
            for label in wanted:
                if label not in axes[name]:
                    raise UserError(f"experiment: {name} {label!r} is not one of {', '.join(axes[name])}")

    def check_quantity(self, name: str) -> None:
        """Raises UserError for a quantity that is not in this table."""
        names = [quantity.name for quantity in self.quantities]
        if name not in names:
            raise UserError(f"experiment: {name!r} is not a quantity of this table; it has {', '.join(names)}")
