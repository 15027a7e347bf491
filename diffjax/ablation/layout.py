"""What the table of a report has in its cells, whoever draws it: ours, and beside it the paper's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.ledger import stale
from diffjax.ablation.plan import Task
from diffjax.ablation.table import MARKS, Marked, Quantity, Where


class Sheet(NamedTuple):
    """One quantity: a caption, the heads of its columns, and rows of as many entries; which columns are the paper's."""

    caption: str
    heads: list[str]
    rows: list[list[str]]
    papers: list[bool]


def sheets(cells: Cells, measures: Mapping[str, str], plan: Sequence[Task]) -> list[Sheet]:
    """A sheet for each quantity that is measured. Columns in which nothing was published have none of the paper's.

    Rows and columns in which a quantity is neither measured nor published are left out of its sheet.
    """
    return [_sheet(q, measures[q.name], cells, plan) for q in cells.table.quantities if q.name in measures]


def _sheet(quantity: Quantity, measure: str, cells: Cells, plan: Sequence[Task]) -> Sheet:
    paper = cells.table
    numbers = [len(cell.values[quantity.name]) for cell in cells.cells if quantity.name in cell.values]
    usual = Counter(numbers).most_common(1)[0][0] if numbers else 0
    heads, papers, columns = [paper.rows.name], [False], [list(cells.rows())]
    for column in cells.columns():
        places: list[Where] = [
            {paper.rows.name: row} | ({paper.columns.name: column} if column else {}) for row in cells.rows()
        ]
        ours = [said(cells.at(where), quantity.name, plan, usual) for where in places]
        theirs = [published(paper.published(quantity.name, where)) for where in places]
        if any(ours) or any(theirs):
            heads.append(f"{paper.columns.name} {column}" if column else "ours")
            papers.append(False)
            columns.append(ours)
        if any(theirs):
            heads.append("paper")
            papers.append(True)
            columns.append(theirs)
    rows = [list(row) for row in zip(*columns, strict=True) if any(row[1:])]
    return Sheet(_caption(quantity, measure, usual, paper.source if any(papers) else ""), heads, rows, papers)


def _caption(quantity: Quantity, measure: str, usual: int, source: str) -> str:
    unit = f" ({quantity.unit})" if quantity.unit else ""
    over = f"mean +- spread over {usual} seeds" if usual > 1 else "one seed"
    ours = f"{quantity.name}{unit}: ours by {measure}, {over}"
    if not source:
        return f"{ours}; nothing was published"
    return f"{ours}; paper: {source} [{quantity.mark}: {MARKS[quantity.mark]}]"


def said(cell: Cell, quantity: str, plan: Sequence[Task], usual: int = 0) -> str:
    """Our cell: the mean and spread over its seeds, whose number is said where it is not the usual one.

    Nothing where there is no cell, or where it does not measure this.
    """
    if not cell.runs or (cell.status == "done" and quantity not in cell.values):
        return ""
    if quantity not in cell.values:
        return cell.status
    values, sd = cell.values[quantity], cell.sd(quantity)
    spread = f" +- {sd:.2g}" if sd is not None else ""
    marks = [f"n = {len(values)}"] if len(values) != usual else []
    marks += [cell.status] if cell.status != "done" else []
    marks += ["stale"] if stale(cell, plan) else []
    return f"{cell.mean(quantity):.4g}{spread}" + (f" ({', '.join(marks)})" if marks else "")


def published(value: Any) -> str:
    """A published cell as it was published: a number, a number and its spread, a word, or nothing; and its own mark."""
    if isinstance(value, Marked):
        return f"{published(value.value)} [{value.mark}]"
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value[0]:g} +- {value[1]:g}" if isinstance(value, tuple) else f"{value:g}"


def made(cells: Cells, plan: Sequence[Task]) -> list[str]:
    """On what ours were made and by which code, in a line; and a line for everything that failed."""
    provenances = [cell.provenance for cell in cells.cells if cell.provenance]
    if not provenances:
        return []
    devices, commits = ({str(p[key])[:40] for p in provenances} for key in ("device", "commit"))
    line = f"Made on {', '.join(sorted(devices))}, commit {', '.join(sorted(c[:10] for c in commits))}."
    if old := sum(stale(cell, plan) for cell in cells.cells):
        line += f" {old} cells are stale: older code, or another config, made them; --rerun-stale does them again."
    return [line, *(cell.said for cell in cells.cells if "failed" in cell.status)]
