"""What was measured in the places of a table: values by seed, or why there are none."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffjax.ablation.table import Axis, Table, Where, named


@dataclass(frozen=True)
class Cell:
    """One place: the values of its quantities by seed, and the runs they came from; of a budget without it no runs.

    A seed is finished when it was measured, or when its run failed. One that needs a run that failed (a judge) never
    is: it says nothing of its place. A run that failed has no number at all; one that did not may lack those of some
    quantities, as of a divergence that is infinite, and has the others.
    """

    where: Where
    runs: Mapping[int, str] = field(default_factory=dict)  # seed -> the run's id
    values: Mapping[str, Mapping[int, float]] = field(default_factory=dict)  # quantity -> seed -> value
    protocols: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # quantity -> how it was measured
    refused: Mapping[str, str] = field(default_factory=dict)  # quantity -> why its seeds have no mean
    failed: Mapping[int, str] = field(default_factory=dict)  # seed -> why its run failed
    undefined: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # quantity -> seed -> why it is no number
    blocked: Mapping[int, str] = field(default_factory=dict)  # seed -> why it was not measured
    provenance: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)  # seed -> commit, device, command, ...
    measures: Mapping[str, str] = field(default_factory=dict)  # quantity -> the score that stood for it then
    now: str = ""  # of a cell that another will replace: how far that one has come

    @property
    def finished(self) -> set[int]:
        """The seeds of which the outcome is known."""
        measured = (seed for of in self.values.values() for seed in of)
        return {*measured, *self.failed, *self.provenance}

    @property
    def complete(self) -> bool:
        """Whether the outcome of every seed is known."""
        return bool(self.runs) and self.finished == set(self.runs)

    @property
    def status(self) -> str:
        """ "not run", "running" (some seeds are finished), "done", "failed" or "part failed"."""
        if {*self.finished, *self.blocked} != set(self.runs) or not self.runs:
            return "running" if self.finished else "not run"
        without = {*self.failed, *(seed for of in self.undefined.values() for seed in of)}
        if self.finished == without and not (self.values or self.refused):
            return "failed"
        return "part failed" if without or self.blocked else "done"

    @property
    def reason(self) -> str:
        """Why it is not done."""
        if not self.runs:
            return f"{named(self.where)} is not in this budget"
        seeds: dict[str, list[str]] = {}
        for seed in self.runs:
            if happened := self._reason(seed):
                seeds.setdefault(happened, []).append(str(seed))
        return "; ".join(
            f"seed{'s' if len(those) > 1 else ''} {', '.join(those)} {happened}" for happened, those in seeds.items()
        )

    def _reason(self, seed: int) -> str:
        if seed in self.failed:
            return f"failed: {self.failed[seed]}"
        if seed in self.blocked:
            return f"not measured: {self.blocked[seed]}"
        if seed not in self.finished:
            return "not run"
        return "; ".join(f"gave no {quantity}: {of[seed]}" for quantity, of in self.undefined.items() if seed in of)

    def failing(self, quantity: str) -> dict[int, str]:
        """The seeds that have no number of a quantity, as their run failed or gave none, and why."""
        return {**self.failed, **self.undefined.get(quantity, {})}

    def lacking(self, quantity: str) -> list[int]:
        """The seeds whose outcome is known, and not of this quantity."""
        return sorted(self.finished - {*self.values.get(quantity, {}), *self.failing(quantity)})

    def shares_runs(self, other: "Cell") -> bool:
        """Whether both were measured on the same trained networks, seed by seed."""
        return self.runs == other.runs

    def mean(self, quantity: str) -> float:
        return statistics.fmean(self.values[quantity].values())

    def sd(self, quantity: str) -> float | None:
        """The spread over seeds, n - 1 in the denominator; None of one seed."""
        values = list(self.values[quantity].values())
        return statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class Cells:
    """The cells of one budget of one table."""

    table: Table
    cells: Sequence[Cell]

    def at(self, where: Where) -> Cell:
        """The cell at a place; one without runs where the budget has none."""
        for cell in self.cells:
            if dict(cell.where) == dict(where):
                return cell
        return Cell(where)

    def better(self, quantity: str) -> str:
        """Whether "less" or "more" of it is better; "" if neither."""
        return next(q.better for q in self.table.quantities if q.name == quantity)

    def labels(self, axis: Axis) -> list[str]:
        """The labels of an axis that this budget has, in the table's order."""
        here = {cell.where[axis.name] for cell in self.cells}
        return [label for label in axis.labels if label in here]

    def lines(self, along: str, fixed: Where, over: Sequence[str] = ()) -> list[list[Where]]:
        """The places of this budget as lines along one axis, in the table's order, where the other axes are fixed."""
        here = [place for place in self.table.places() if any(dict(c.where) == place for c in self.cells)]
        here = [place for place in here if all(place[name] == label for name, label in fixed.items())]
        if over:
            here = [place for place in here if place[along] in over]
        lines: dict[tuple, list[Where]] = {}
        for place in here:
            others = tuple((name, label) for name, label in place.items() if name != along)
            lines.setdefault(others, []).append(place)
        return list(lines.values())
