"""The contents of a report's tables, however they are rendered: our cells, and beside them the paper's."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.ledger import stale, stale_places
from diffjax.ablation.plan import Task
from diffjax.ablation.table import MARKS, Marked, Printed, Quantity, Table, Where, named
from diffjax.host.progress import clock

PREFACE = (
    "Published values are shown for orientation, not for comparison: data, networks and training lengths differ. Each "
    "claim is decided on our cells alone, over seeds. The evidence names what decided it:"
)
EVIDENCE = {  # the forms that claims.py gives to its evidence
    "A < B: difference l to h (95 %)": "the confidence interval of B - A, paired if both come from the same networks",
    "A within 10 % of B: A - 0.9 B l to h, A - 1.1 B l to h": "A is near B if the first interval lies above 0 and the "
    "second below",
    "mean l to h": "the confidence interval of a mean",
    "p = 0.03 (rank test)": "an exact test, if runs failed or all seeds agree; a sign test for the same networks",
    "share l to h": "likewise, the Clopper-Pearson interval of the share of runs, which is compared with 1/2",
    "(97.5 %)": "a confidence above 95 % corrects for several comparisons",
    "stale: A": "it rests on a cell that older code made, or that was made under another config",
}

TRAIN = "python launch.py train "  # begins the command of a run that is trained, not computed


class Sheet(NamedTuple):
    """The table of one quantity. `papers` says which columns are the paper's."""

    caption: str
    heads: list[str]
    rows: list[list[str]]
    papers: list[bool]


def sheets(cells: Cells, measures: Mapping[str, str], plan: Sequence[Task]) -> list[Sheet]:
    """A sheet for each measured quantity.

    A sheet leaves out the rows and columns in which its quantity is neither measured nor published, and the paper's
    column where nothing was published. Published values always appear in full: at places that the budget does not
    have, "not run" stands beside them, and also in the sheets of other quantities that are measured at the same places.
    """
    quantities = [quantity for quantity in cells.table.quantities if quantity.name in measures]
    measured_at = {q.name: [cell.where for cell in cells.cells if text_of(cell, q.name, plan)] for q in quantities}
    alike = {q.name: [o for o in quantities if measured_at[o.name] == measured_at[q.name]] for q in quantities}
    return [_sheet(q, alike[q.name], measures[q.name], cells, plan) for q in quantities]


def _sheet(quantity: Quantity, alike: Sequence[Quantity], score: str, cells: Cells, plan: Sequence[Task]) -> Sheet:
    """The sheet of a quantity; `alike` are all quantities that are measured at the same places."""
    table = cells.table
    counts = [len(cell.values[quantity.name]) for cell in cells.cells if quantity.name in cell.values]
    usual_seeds = Counter(counts).most_common(1)[0][0] if counts else 0
    rows = table.rows.labels
    heads, papers, columns = [table.rows.name], [False], [list(rows)]
    for column in table.columns.labels if table.columns else [""]:
        places: list[Where] = [
            {table.rows.name: row} | ({table.columns.name: column} if column else {}) for row in rows
        ]
        ours = [text_of(cells.at(where), quantity.name, plan, usual_seeds) for where in places]
        paper_values = [table.published(quantity.name, where) for where in places]
        paper = [published(value) for value in paper_values]
        name, origin = f"{table.columns.name} {column}" if column else "", _origin(paper_values, quantity)
        if any(ours):
            heads.append(name or "ours")
            papers.append(False)
            wanted = [any(table.published(q.name, where) is not None for q in alike) for where in places]
            columns.append([our or ("not run" if want else "") for our, want in zip(ours, wanted, strict=True)])
        if any(paper):
            heads.append(origin if any(ours) or not name else f"{name}, {origin}")
            papers.append(True)
            columns.append(paper)
    entries = [list(row) for row in zip(*columns, strict=True) if any(row[1:])]
    return Sheet(_caption(quantity, score, usual_seeds, table if any(papers) else None), heads, entries, papers)


def _caption(quantity: Quantity, score: str, usual_seeds: int, published_in: Table | None) -> str:
    unit = f" ({quantity.unit})" if quantity.unit else ""
    statistic = {0: "", 1: ", one seed"}.get(usual_seeds, f", mean +- standard deviation over {usual_seeds} seeds")
    ours = f"{quantity.name}{unit}: ours is {score}{statistic}"
    if not published_in:
        return f"{ours}; no published values"
    reference = "reference values" if quantity.mark == "D" else f"paper: {published_in.source}"
    return f"{ours}; {reference} [{'; '.join(f'{mark}: {MARKS[mark]}' for mark in published_in.marks(quantity))}]"


def _origin(values: Sequence[Any], quantity: Quantity) -> str:
    """The heading of a column of published values: "derived" if all of them are, else "paper"."""
    return "derived" if {quantity.mark_of(value) for value in values if value is not None} == {"D"} else "paper"


def text_of(cell: Cell, quantity: str, plan: Sequence[Task], usual: int = 0) -> str:
    """Our entry for a cell: the mean and standard deviation over its seeds.

    In brackets follow the number of seeds if it is not the `usual` one; how many runs failed or gave no number of this
    quantity, and are therefore not in the mean; that older code made the cell, and how far the new one has come.
    Empty if there is no cell, or if it does not measure this quantity.
    """
    quantities = {*cell.values, *cell.undefined, *cell.refused}
    if not cell.runs or (quantity not in quantities and (quantities or cell.status == "done")):
        return ""
    notes = ["stale"] if stale(cell, plan) else []
    notes += [f"now {cell.now}"] if cell.now else []
    if quantity in cell.refused:
        return _with_notes("refused", notes)
    if quantity not in cell.values:
        return _with_notes(cell.status.removeprefix("part "), notes)
    values = cell.values[quantity]
    if cell.status == "running":
        seeds = [f"{len(cell.finished)} of {len(cell.runs)} seeds so far"]
    else:
        seeds = [f"n = {len(values)}"] if len(values) != usual else []
    failing = cell.failing(quantity)
    failures = [f"{len(failing)} of {len(cell.runs)} failed"] if failing else []
    return _with_notes(measured(cell.mean(quantity), cell.sd(quantity)), seeds + failures + notes)


def _with_notes(entry: str, notes: Sequence[str]) -> str:
    return f"{entry} ({', '.join(notes)})" if notes else entry


def measured(mean: float, spread: float | None = None) -> str:
    """A mean and its standard deviation: two digits of that, and the mean to the same decimal; a mean alone to four."""
    if not spread:
        return f"{mean:.4g}" + ("" if spread is None else " +- 0")
    if not 1e-6 <= max(abs(mean), spread) < 1e6:
        return f"{mean:.4g} +- {spread:#.2g}"  # with exponents
    decimals = 1 - math.floor(math.log10(spread))  # up to the second digit of the standard deviation
    return " +- ".join(f"{round(value, decimals):.{max(decimals, 0)}f}" for value in (mean, spread))


def published(value: Any) -> str:
    """A published cell as text: a number, a number and its spread, a word, or nothing; with a mark of its own."""
    if isinstance(value, Marked):
        return f"{published(value.value)} [{value.mark}]"
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, Printed):
        return value.text
    if not isinstance(value, tuple):
        return f"{value:g}"
    decimals = max(len(f"{number:g}".partition(".")[2]) for number in value)  # of the pair, as papers print it
    return " +- ".join(str(number) if isinstance(number, int) else f"{number:.{decimals}f}" for number in value)


def made(cells: Cells, plan: Sequence[Task]) -> list[str]:
    """A line on the hardware, commits and training time of our cells, then a line for each failure or refusal.

    The time is the sum over runs, several of which may have been trained at once. Older runs were not timed, and
    neither are those that fail: the line says how many of them the time is of.
    """
    records = [record for cell in cells.cells for record in cell.provenance.values()]
    if not records:
        return ["", *_troubles(cells)]
    training = [record["trained"] for record in records if "trained" in record]  # elsewhere, or at another commit
    commits = sorted({_short(str(record["commit"])) for record in (*records, *training) if "commit" in record})
    devices, training_devices = _devices(records), _devices(training)
    partly = f" (partly trained on {'; '.join(sorted(training_devices))})" if training_devices - devices else ""
    line = f"Run on {'; '.join(sorted(devices))}{partly}; commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}."
    by_run = {cell.runs[seed]: record for cell in cells.cells for seed, record in cell.provenance.items()}
    trained = [record for record in by_run.values() if record.get("command", "").startswith(TRAIN)]
    if timed := [record for record in trained if "took" in record]:
        runs = _counted(len(trained), "run")
        runs = runs if len(timed) == len(trained) else f"the {len(timed)} timed of {runs}"
        line += f" Training, summed over {runs}{_cores(timed)}: {clock(sum(record['took'] for record in timed))}."
    if number := len(stale_places(cells, plan)):
        line += (
            f" {_counted(number, 'cell')} stale: made by older code or under another config; --rerun-stale makes them"
            " again."
        )
    return [line, *_troubles(cells)]


def _cores(records: Sequence[Mapping[str, Any]]) -> str:
    """On how many cores each of these runs was trained; "" if not all on as many, or not on CPUs."""
    places = [record.get("trained", record) for record in records]
    numbers = {place.get("cores") for place in places}
    if len(numbers) > 1 or not all(place.get("device", "").endswith("cpu") for place in places):
        return ""
    number = numbers.pop()
    return f" on {_counted(number, 'core')} each" if isinstance(number, int) else ""  # else "mixed: ..."


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _short(commit: str) -> str:
    """A commit, or each of several, in ten digits; the "+" of uncommitted changes stays."""
    return re.sub(r"([0-9a-f]{10})[0-9a-f]+", r"\1", commit)


def _devices(records: Sequence[Mapping[str, Any]]) -> set[str]:
    """The kinds of devices; for CPUs with the name of the processor."""
    return {
        f"{record['device']}, {record['processor']}" if record.get("processor") and record["device"].endswith("cpu")
        else str(record["device"])
        for record in records if "device" in record
    }  # fmt: skip


def _troubles(cells: Cells, most: int = 3) -> list[str]:
    """What went wrong, each reason once, after the first `most` of the places where it did."""
    places: dict[str, list[str]] = {}
    for cell in cells.cells:
        reasons = [cell.reason] if "failed" in cell.status else []
        reasons += [f"{quantity} is refused: {reason}" for quantity, reason in cell.refused.items()]
        for reason in reasons:
            places.setdefault(reason, []).append(named(cell.where))
    return [
        f"{'; '.join(where[:most])}{f'; and {len(where) - most} more' if len(where) > most else ''}: {reason}"
        for reason, where in places.items()
    ]
