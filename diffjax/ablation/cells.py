"""What was measured at the places of a table: values by seed, or the reasons why there are none."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffjax.ablation.table import Table, Where, named


@dataclass(frozen=True)
class Cell:
    """One place: the values of its quantities by seed, and the runs they come from; no runs if the budget lacks it.

    A seed is finished when it has been measured, or when its run has failed. A seed that needs a failed run, such as a
    judge, is never finished: it says nothing about its place. A failed run has no numbers at all; a run that did not
    fail may lack a number of some quantity, such as a divergence that is infinite, and still have the others.
    """

    where: Where
    runs: Mapping[int, str] = field(default_factory=dict)  # seed -> the run's id
    values: Mapping[str, Mapping[int, float]] = field(default_factory=dict)  # quantity -> seed -> value
    protocols: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # quantity -> how it was measured
    refused: Mapping[str, str] = field(default_factory=dict)  # quantity -> why its seeds have no mean
    failed: Mapping[int, str] = field(default_factory=dict)  # seed -> why its run failed
    undefined: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # quantity -> seed -> why it has no number
    blocked: Mapping[int, str] = field(default_factory=dict)  # seed -> why it was not measured
    provenance: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)  # seed -> commit, device, command, ...
    measures: Mapping[str, str] = field(default_factory=dict)  # quantity -> the score it was measured by
    now: str = ""  # if another cell will replace this one: how far that one has come

    @property
    def finished(self) -> set[int]:
        """The seeds whose outcome is known."""
        measured = (seed for by_seed in self.values.values() for seed in by_seed)
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
        failing = {*self.failed, *(seed for by_seed in self.undefined.values() for seed in by_seed)}
        if self.finished == failing and not (self.values or self.refused):
            return "failed"
        return "part failed" if failing or self.blocked else "done"

    @property
    def reason(self) -> str:
        """Why it is not done, grouped by seeds with the same reason; "" if it is done."""
        if not self.runs:
            return f"{named(self.where)} is not in this budget"
        seeds_by_reason: dict[str, list[str]] = {}
        for seed in self.runs:
            if reason := self._reason(seed):
                seeds_by_reason.setdefault(reason, []).append(str(seed))
        return "; ".join(
            f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)} {reason}"
            for reason, seeds in seeds_by_reason.items()
        )

    def _reason(self, seed: int) -> str:
        if seed in self.failed:
            return f"failed: {self.failed[seed]}"
        if seed in self.blocked:
            return f"not measured: {self.blocked[seed]}"
        if seed not in self.finished:
            return "not run"
        return "; ".join(
            f"gave no {quantity}: {reasons[seed]}" for quantity, reasons in self.undefined.items() if seed in reasons
        )

    def failing(self, quantity: str) -> dict[int, str]:
        """The seeds without a number of a quantity because their run failed or gave none, with the reasons."""
        return {**self.failed, **self.undefined.get(quantity, {})}

    def lacking(self, quantity: str) -> list[int]:
        """The finished seeds whose outcome is unknown for this quantity."""
        return sorted(self.finished - {*self.values.get(quantity, {}), *self.failing(quantity)})

    def leaves_out(self, quantity: str) -> bool:
        """Whether this place does not measure a quantity, as it may: all seeds have ended, and none was asked for it.

        If all runs failed, nobody knows.
        """
        asked = quantity in {*self.values, *self.undefined, *self.refused}
        return self.complete and not asked and bool(self.lacking(quantity))

    def shares_runs(self, other: "Cell") -> bool:
        """Whether both cells were measured on the same trained networks, seed by seed."""
        return self.runs == other.runs

    def mean(self, quantity: str) -> float:
        return statistics.fmean(self.values[quantity].values())

    def sd(self, quantity: str) -> float | None:
        """The standard deviation over seeds, with n - 1 in the denominator; None for one seed."""
        values = list(self.values[quantity].values())
        return statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class Cells:
    """The cells of one table at one budget."""

    table: Table
    cells: Sequence[Cell]

    def at(self, where: Where) -> Cell:
        """The cell at a place; a cell without runs if the budget does not have the place."""
        for cell in self.cells:
            if dict(cell.where) == dict(where):
                return cell
        return Cell(where)

    def better(self, quantity: str) -> str:
        """Whether "less" or "more" of it is better; "" if neither."""
        return next(q.better for q in self.table.quantities if q.name == quantity)

    def lines(self, quantity: str, along: str, fixed: Where, over: Sequence[str] = ()) -> list[list[Where]]:
        """The places of this budget that measure a quantity, as lines along one axis, in the table's order.

        Only places with the labels `fixed`, and with a label `over` of this axis if given. A place whose runs have not
        ended yet counts as measuring it.
        """
        measuring = [dict(cell.where) for cell in self.cells if not cell.leaves_out(quantity)]
        places = [place for place in self.table.places() if place in measuring]
        places = [place for place in places if all(place[name] == label for name, label in fixed.items())]
        if over:
            places = [place for place in places if place[along] in over]
        lines: dict[tuple, list[Where]] = {}
        for place in places:
            others = tuple((name, label) for name, label in place.items() if name != along)
            lines.setdefault(others, []).append(place)
        return list(lines.values())
