"""A table as Markdown: the paper's cells beside ours, the verdicts on its claims, and how ours were made."""

from collections.abc import Mapping, Sequence
from typing import Any

from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.experiment import Experiment
from diffjax.ablation.ledger import stale
from diffjax.ablation.plan import Task
from diffjax.ablation.table import MARKS, Quantity, Where


def markdown(experiment: Experiment, budget: str, cells: Cells, plan: Sequence[Task]) -> str:
    """The report of one budget."""
    about, paper = experiment.about.splitlines()[0], experiment.paper
    parts = [f"## {experiment.name}", about, f"*{budget}: {experiment.budget(budget).what}*"]
    parts += [_table(quantity, cells, experiment.budget(budget).measures, plan) for quantity in paper.quantities]
    parts += [_claims(experiment, cells), made(cells, plan)]
    return "\n\n".join(part for part in parts if part)


def _table(quantity: Quantity, cells: Cells, measures: Mapping[str, str], plan: Sequence[Task]) -> str:
    """One quantity: a row for each of the table's, ours and the paper's cell in each column."""
    if quantity.name not in measures:
        return ""
    paper, columns = cells.table, cells.columns()
    heads = [f"{paper.columns.name} {column}" if column else "ours" for column in columns]
    head = f"| {paper.rows.name} | " + " | ".join(f"{head} | paper" for head in heads) + " |"
    lines = [head, "|" + "---|" * (1 + 2 * len(columns))]
    for row in cells.rows():
        entries = []
        for column in columns:
            where: Where = {paper.rows.name: row} | ({paper.columns.name: column} if column else {})
            entries += [said(cells.at(where), quantity.name, plan), published(paper.published(quantity.name, where))]
        lines.append(f"| {row} | " + " | ".join(entries) + " |")
    name = f"{quantity.name}{f' ({quantity.unit})' if quantity.unit else ''}"
    source = f"paper [{quantity.mark}: {MARKS[quantity.mark]}]: {paper.source}"
    return f"**{name}**, ours by `{measures[quantity.name]}`; {source}.\n\n" + "\n".join(lines)


def said(cell: Cell, quantity: str, plan: Sequence[Task]) -> str:
    """Our cell: the mean and spread over n seeds, or what stands in their place."""
    if cell.status in ("not run", "failed") or quantity not in cell.values:
        return cell.status
    values, sd = cell.values[quantity], cell.sd(quantity)
    spread = f" +- {sd:.2g}" if sd is not None else ""
    marks = [f"n = {len(values)}"]
    marks += [cell.status] if cell.status != "done" else []
    marks += ["stale"] if stale(cell, plan) else []
    return f"{cell.mean(quantity):.4g}{spread} ({', '.join(marks)})"


def published(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value[0]:g} +- {value[1]:g}"
        if isinstance(value, tuple)
        else f"{value:g}"
        if not isinstance(value, str)
        else value
    )


def _claims(experiment: Experiment, cells: Cells) -> str:
    lines = ["| claim | verdict | by |", "|---|---|---|"]
    for claim in experiment.claims:
        verdict = claim.verdict(cells)
        lines.append(f"| {verdict.says} | **{verdict.verdict}** | {verdict.why.replace('|', '/')} |")
    return "\n".join(lines) if experiment.claims else ""


def made(cells: Cells, plan: Sequence[Task]) -> str:
    """On what, by which code, and how often something failed."""
    made = [cell.provenance for cell in cells.cells if cell.provenance]
    if not made:
        return ""
    devices = sorted({str(p["device"]) for p in made})
    commits = sorted({str(p["commit"])[:10] for p in made})
    failed = [cell.said for cell in cells.cells if "failed" in cell.status]
    old = sum(stale(cell, plan) for cell in cells.cells)
    said = f"Made on {', '.join(devices)}, commit {', '.join(commits)}."
    said += (
        f" {old} cells are stale: older code, or another config, made them; --rerun-stale does them again."
        if old
        else ""
    )
    return said + "".join(f"\n- {reason}" for reason in failed)
