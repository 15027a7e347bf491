"""A budget of an experiment as Markdown: its tables, the verdicts on its claims, and how our cells were made."""

from collections.abc import Sequence

from diffjax.ablation.cells import Cells
from diffjax.ablation.experiment import Experiment
from diffjax.ablation.layout import Sheet, made, sheets
from diffjax.ablation.ledger import stale_places
from diffjax.ablation.plan import Task


def markdown(experiment: Experiment, name: str, cells: Cells, plan: Sequence[Task], notes: bool = True) -> str:
    """The report on one budget of an experiment; with `notes`, also what its docstring says below its title."""
    budget, (provenance, *failures) = experiment.budget(name), made(cells, plan)
    parts = [
        f"## {experiment.name}, {name}",
        experiment.title,
        *(experiment.notes if notes else []),
        f"*{budget.what}*",
    ]
    parts += [_table(sheet) for sheet in sheets(cells, budget.measures, plan)]
    parts += [_claims(experiment, cells, plan), provenance, "\n".join(f"- {failure}" for failure in failures)]
    return "\n\n".join(part for part in parts if part)


def _table(sheet: Sheet) -> str:
    rows = [sheet.heads, ["---"] * len(sheet.heads), *sheet.rows]
    return f"{sheet.caption}.\n\n" + "\n".join(map(row_of, rows))


def row_of(entries: Sequence[str]) -> str:
    """A row of a Markdown table; a bar inside an entry is escaped, so that it does not end it."""
    return "| " + " | ".join(entry.replace("|", "\\|") for entry in entries) + " |"


def _claims(experiment: Experiment, cells: Cells, plan: Sequence[Task]) -> str:
    lines = ["| claim | verdict | evidence |", "|---|---|---|"]
    stale = stale_places(cells, plan)
    for claim in experiment.claims:
        verdict = claim.verdict(cells, stale)
        lines.append(row_of([verdict.says, f"**{verdict.verdict}**", verdict.why]))
    return "\n".join(lines) if experiment.claims else ""
