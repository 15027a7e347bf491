"""What the table of a report has in its cells, whoever draws it: ours, and beside it the paper's."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.ledger import stale
from diffjax.ablation.plan import Task
from diffjax.ablation.table import MARKS, Marked, Quantity, Where, named
from diffjax.progress import clock

PREFACE = (
    "Published cells stand beside ours and are no comparison: data, networks and lengths differ. Claims are decided on "
    "our cells alone, by 95 % intervals over seeds, and by exact tests where runs failed or seeds all agree."
)


class Sheet(NamedTuple):
    """One quantity: a caption, the heads of its columns, and rows of as many entries; which columns are the paper's."""

    caption: str
    heads: list[str]
    rows: list[list[str]]
    papers: list[bool]


def sheets(cells: Cells, measures: Mapping[str, str], plan: Sequence[Task]) -> list[Sheet]:
    """A sheet for each quantity that is measured. Columns in which nothing was published have none of the paper's.

    Rows and columns in which a quantity is neither measured nor published are left out of its sheet. What was published
    stands there whole: beside it, of places that the budget does not have, that they were not run.
    """
    return [_sheet(q, measures[q.name], cells, plan) for q in cells.table.quantities if q.name in measures]


def _sheet(quantity: Quantity, measure: str, cells: Cells, plan: Sequence[Task]) -> Sheet:
    paper = cells.table
    numbers = [len(cell.values[quantity.name]) for cell in cells.cells if quantity.name in cell.values]
    usual = Counter(numbers).most_common(1)[0][0] if numbers else 0
    rows = paper.rows.labels
    heads, papers, columns = [paper.rows.name], [False], [list(rows)]
    for column in paper.columns.labels if paper.columns else [""]:
        places: list[Where] = [
            {paper.rows.name: row} | ({paper.columns.name: column} if column else {}) for row in rows
        ]
        ours = [text_of(cells.at(where), quantity.name, plan, usual) for where in places]
        there = [paper.published(quantity.name, where) for where in places]
        theirs = [published(value) for value in there]
        name, source = f"{paper.columns.name} {column}" if column else "", _origin(there, quantity)
        if any(ours):
            heads.append(name or "ours")
            papers.append(False)
            columns.append([own or ("not run" if other else "") for own, other in zip(ours, theirs, strict=True)])
        if any(theirs):
            heads.append(source if any(ours) or not name else f"{name}, {source}")
            papers.append(True)
            columns.append(theirs)
    entries = [list(row) for row in zip(*columns, strict=True) if any(row[1:])]
    return Sheet(_caption(quantity, measure, usual, paper.source if any(papers) else ""), heads, entries, papers)


def _caption(quantity: Quantity, measure: str, usual: int, source: str) -> str:
    unit = f" ({quantity.unit})" if quantity.unit else ""
    over = {0: "", 1: ", one seed"}.get(usual, f", mean +- spread over {usual} seeds")
    ours = f"{quantity.name}{unit}: ours by {measure}{over}"
    if not source:
        return f"{ours}; nothing was published"
    beside = "beside it" if quantity.mark == "D" else f"paper: {source}"
    return f"{ours}; {beside} [{quantity.mark}: {MARKS[quantity.mark]}]"


def _origin(values: Sequence[Any], quantity: Quantity) -> str:
    """Where these published cells are from, by their marks: the "paper", or "derived"."""
    marks = {v.mark if isinstance(v, Marked) else quantity.mark for v in values if v is not None}
    return "derived" if marks == {"D"} else "paper"


def text_of(cell: Cell, quantity: str, plan: Sequence[Task], usual: int = 0) -> str:
    """Our cell: the mean and spread over its seeds, whose number is said where it is not the usual one.

    What else is to be known of it stands in brackets: how many runs failed, or gave no number of this, whose mean it
    then is not; that older code made it, and how far the new one has come. Nothing where there is no cell, or where it
    does not measure this.
    """
    measured_here = {*cell.values, *cell.undefined, *cell.refused}
    if not cell.runs or (quantity not in measured_here and (measured_here or cell.status == "done")):
        return ""
    marks = ["stale"] if stale(cell, plan) else []
    marks += [f"now {cell.now}"] if cell.now else []
    if quantity in cell.refused:
        return _marked("refused", marks)
    if quantity not in cell.values:
        return _marked(cell.status.removeprefix("part "), marks)
    values = cell.values[quantity]
    if cell.status == "running":
        number = [f"{len(cell.finished)} of {len(cell.runs)} seeds so far"]
    else:
        number = [f"n = {len(values)}"] if len(values) != usual else []
    failed = [f"{len(failing)} of {len(cell.runs)} failed"] if (failing := cell.failing(quantity)) else []
    return _marked(measured(cell.mean(quantity), cell.sd(quantity)), number + failed + marks)


def _marked(words: str, marks: Sequence[str]) -> str:
    return f"{words} ({', '.join(marks)})" if marks else words


def measured(mean: float, spread: float | None = None) -> str:
    """A mean and its spread, of which two digits are said, and the mean's as far as those; one alone, four digits."""
    if not spread:
        return f"{mean:.4g}" + ("" if spread is None else " +- 0")
    if not 1e-3 <= max(abs(mean), spread) < 1e6:
        return f"{mean:.4g} +- {spread:#.2g}"  # with exponents
    last = 1 - math.floor(math.log10(spread))  # the decimal of the spread's second digit
    return " +- ".join(f"{round(value, last):.{max(last, 0)}f}" for value in (mean, spread))


def published(value: Any) -> str:
    """A published cell as it was published: a number, a number and its spread, a word, or nothing; and its own mark."""
    if isinstance(value, Marked):
        return f"{published(value.value)} [{value.mark}]"
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value[0]:g} +- {value[1]:g}" if isinstance(value, tuple) else f"{value:g}"


def made(cells: Cells, plan: Sequence[Task]) -> list[str]:
    """On what ours were made and by which code, in a line; and a line for everything that failed or was refused."""
    records = [made for cell in cells.cells for made in cell.provenance.values()]
    if not records:
        return ["", *_troubles(cells)]
    trained = [made["trained"] for made in records if "trained" in made]  # elsewhere, or at another commit
    commits = {_short(str(made["commit"])) for made in (*records, *trained) if "commit" in made}
    here, there = _devices(records), _devices(trained)
    elsewhere = f" (in part trained on {'; '.join(sorted(there))})" if there - here else ""
    line = f"Made on {'; '.join(sorted(here))}{elsewhere}, commit {', '.join(sorted(commits))}."
    took = {cell.runs[seed]: made["took"] for cell in cells.cells for seed, made in cell.provenance.items()
            if "took" in made}  # fmt: skip
    if took:
        line += f" Training took {clock(sum(took.values()))} in all, of the {len(took)} runs that say it."
    if old := sum(stale(cell, plan) for cell in cells.cells):
        line += f" {old} cells are stale: older code, or another config, made them; --rerun-stale does them again."
    return [line, *_troubles(cells)]


def _short(commit: str) -> str:
    """A commit as it is usually cut, or each of several; the "+" of code that was changed since stays."""
    return re.sub(r"([0-9a-f]{10})[0-9a-f]+", r"\1", commit)


def _devices(records: Sequence[Mapping[str, Any]]) -> set[str]:
    """The kinds of devices, and of cores what the processor is called."""
    return {
        f"{made['device']}, {made['processor']}" if made.get("processor") and made["device"].endswith("cpu")
        else str(made["device"])
        for made in records if "device" in made
    }  # fmt: skip


def _troubles(cells: Cells, most: int = 3) -> list[str]:
    """What went wrong, each said once with the places in which it did, the first few of them by name."""
    places: dict[str, list[str]] = {}
    for cell in cells.cells:
        said = [cell.reason] if "failed" in cell.status else []
        said += [f"{quantity} is refused: {why}" for quantity, why in cell.refused.items()]
        for words in said:
            places.setdefault(words, []).append(named(cell.where))
    return [
        f"{'; '.join(where[:most])}{f'; and {len(where) - most} more' if len(where) > most else ''}: {words}"
        for words, where in places.items()
    ]
