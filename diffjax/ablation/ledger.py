"""The ledger: every measured cell with its seeds, protocol, hardware, commit and command, as committed JSON.

Each experiment has one file, experiments/results/NAME.json, with a section for each budget except the smoke test's.
Failed runs and runs that were not made are values of the ledger, never gaps. Each cell also has the published values of
its place, with their marks. Reports and claims need nothing but this file, so nobody needs the runs to read it.

Runs that have less never remove what the ledger has:

- Seeds of the same code are merged, wherever they were run. A quantity that was not measured alike for all of them,
  such as a time on two kinds of hardware, is refused, with its numbers.
- Seeds of which no quantity was measured alike are not merged: the cell with more seeds stays; with equally many, the
  one with more quantities.
- A cell made by older code stays, marked stale, until all planned seeds have been redone, and is then replaced as a
  whole. Seeds of two versions of the code never share a cell.
- So does a cell that has a quantity by another score than today's budget, or that was kept before the budget had a
  score for it. Until then that quantity is not shown, but not lost either.
- So does a cell at a place that today's grid leaves out.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.collect import made_by, protocols_differ
from diffjax.ablation.experiment import Experiment
from diffjax.ablation.plan import Task
from diffjax.ablation.table import Marked, Table, Where
from diffjax.ablation.work import is_made, state_of
from diffjax.errors import Taken, UserError
from diffjax.host.json_files import write_json
from diffjax.metrics.protocol import differences
from diffjax.workdir.directory import Lock

SMOKE = "minute"  # the budget that is never kept
PATIENCE = 60.0  # seconds to wait for another process that is writing its cells and pictures, which takes a few


def place_of(experiment: Experiment) -> Path:
    """The file of an experiment's ledger."""
    return experiment.path.parent / "results" / f"{experiment.name}.json"


def keep(
    experiment: Experiment,
    name: str,
    cells: Cells,
    plan: Sequence[Task],
    on_kept: Callable[[Sequence[Cell]], None] = lambda cells: None,
) -> Path | None:
    """Merges the cells of a budget into the ledger and returns its path; None for a smoke test, or if nothing was run.

    `on_kept` gets the cells that the ledger then has, of all budgets, while other processes are still locked out: it
    keeps the pictures that belong to them. Raises UserError if another process does not let go of the ledger, or if it
    cannot be written.
    """
    if name == SMOKE or all(cell.status == "not run" for cell in cells.cells):
        return None
    path = place_of(experiment)
    with _alone(path):
        _merge(experiment, name, cells, plan, path)
        sections = [cells_of(experiment, budget) for budget in experiment.budgets]
        on_kept([cell for section in sections if section for cell in section.cells])
    return path


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Locks other processes out of a ledger. Raises UserError if one does not let go of it."""
    try:
        with _locked(path.parent, PATIENCE):
            yield
    except Taken as error:
        message = error.about("`workdir`: ", "ledger: ")
        raise UserError(f"{message}; nothing was kept, run the command again") from error


def check_writable(experiment: Experiment, name: str) -> None:
    """Raises UserError if cells of a budget could not be kept, because files cannot be written or locked."""
    if name != SMOKE:
        with contextlib.suppress(Taken), _locked(place_of(experiment).parent):
            pass


@contextlib.contextmanager
def _locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Locks the folder of ledgers. Raises Taken as `Lock` does, and UserError if files there cannot be locked."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(Lock(folder, wait))
        except Taken:
            raise
        except UserError as error:
            raise UserError(
                f"ledger: cannot write to {folder}, or not lock files there ({error.__cause__.strerror}), so nothing "
                "can be kept; use a copy of the repository where both are possible"
            ) from error
        yield


def _merge(experiment: Experiment, name: str, cells: Cells, plan: Sequence[Task], path: Path) -> None:
    content = _content(experiment)
    stored, budget = _stored(experiment, name), experiment.budget(name)
    planned = [dict(cell.where) for cell in cells.cells]
    left_out = [cell for cell in stored.cells if dict(cell.where) not in planned]
    merged = Cells(cells.table, [*(_merged(stored.at(cell.where), cell, plan) for cell in cells.cells), *left_out])
    cells_by_today = comparable(merged, budget.measures)
    entries = []
    for where in experiment.paper.places():
        cell, values = merged.at(where), published(experiment.paper, where)
        if values or cell.runs:
            entries.append(_to_json(cell, budget.measures) | {"published": values})
    content["source"] = experiment.paper.source
    content["budgets"][name] = {
        "what": budget.what,
        "measures": dict(budget.measures),
        "claims": [
            claim.verdict(cells_by_today, stale_places(cells_by_today, plan))._asdict() for claim in experiment.claims
        ],
        "cells": entries,
    }
    write_json(path, content)


def refresh(experiment: Experiment, plans: Mapping[str, Sequence[Task]]) -> None:
    """Brings the published values and the verdicts in the ledger up to date with the experiment's file.

    `plans` are those of the budgets that the ledger has.
    """
    path = place_of(experiment)
    with _alone(path):
        for name, plan in plans.items():
            _merge(experiment, name, Cells(experiment.paper, ()), plan, path)


def _merged(old: Cell, new: Cell, plan: Sequence[Task]) -> Cell:
    """What the ledger keeps of two cells of one place."""
    if not old.finished:
        return new
    old_is_stale, new_is_stale = stale(old, plan), stale(new, plan)
    if not new_is_stale and (old_is_stale or _other_scores(old, new.measures)):
        if new.complete:
            return new
        progress = f"{len(new.finished)} of {len(new.runs)} seeds redone" if new.finished else old.now
        return dataclasses.replace(old, now=progress)
    if new_is_stale and not old_is_stale:
        return old
    if not new_is_stale and _measured_alike(old, new):
        return _union(old, new)
    old_size, new_size = ((len(cell.finished), len(cell.protocols)) for cell in (old, new))  # seeds, then quantities
    return new if new_size >= old_size else old


def _other_scores(cell: Cell, measures: Mapping[str, str]) -> dict[str, str]:
    """Why a cell's quantities are not those of today's `measures`: {quantity: reason}, for those that differ."""
    reasons = {}
    for quantity, score in measures.items():
        stored_score = cell.measures.get(quantity)
        if stored_score is None and cell.lacking(quantity):
            reasons[quantity] = f"no {score} yet: the cell was kept before the budget had a score for {quantity}"
        if stored_score not in (None, score) and quantity in {*cell.protocols, *cell.refused}:
            reasons[quantity] = f"no {score} yet: the ledger has {stored_score}"
    return reasons


def comparable(cells: Cells, measures: Mapping[str, str]) -> Cells:
    """Cells as they are shown and compared: with the quantities alone that all seeds of a cell have by these scores."""
    return Cells(cells.table, [_comparable(cell, measures) for cell in cells.cells])


def _comparable(cell: Cell, measures: Mapping[str, str]) -> Cell:
    """A cell reduced to the quantities that today's scores give for all of its seeds; the others are refused.

    The ledger keeps those as they are: later runs may complete them.
    """
    refused = {
        quantity: f"no {score} for seed {', '.join(map(str, cell.lacking(quantity)))}, which other seeds have"
        for quantity, score in measures.items()
        if quantity in cell.protocols and cell.lacking(quantity)
    } | _other_scores(cell, measures)

    def accepted(by_quantity: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in by_quantity.items() if name in measures and name not in refused}

    return dataclasses.replace(
        cell,
        values=accepted(cell.values),
        protocols=accepted(cell.protocols),
        undefined=accepted(cell.undefined),
        refused=accepted(cell.refused) | refused,
    )


def _differing(one: Cell, other: Cell) -> dict[str, list[str]]:
    """The quantities that two cells measured differently, with the differences; [] for those they measured alike."""
    shared = [name for name in one.protocols if name in other.protocols]
    return {name: differences(one.protocols[name], other.protocols[name]) for name in shared}


def _measured_alike(one: Cell, other: Cell) -> bool:
    """Whether the seeds of two cells may be merged: of some quantity, unless they share none."""
    lines = _differing(one, other).values()
    return not lines or not all(lines)


def _union(old: Cell, new: Cell) -> Cell:
    """The seeds of both cells. The new one of a seed wins, unless it lacks a quantity that the old one has.

    What was measured differently for seeds of one and of the other is refused.
    """
    outcomes = {name: {**old.values.get(name, {}), **old.undefined.get(name, {})} for name in old.protocols}
    poorer = {seed for name, by_seed in outcomes.items() for seed in new.lacking(name) if seed in by_seed}
    from_old = old.finished - (new.finished - poorer)

    def merge_seeds(old_values: Mapping[int, Any], new_values: Mapping[int, Any]) -> dict[int, Any]:
        sources = {seed: old_values if seed in from_old else new_values for seed in new.runs}
        return {seed: source[seed] for seed, source in sources.items() if seed in source}

    from_new = new.finished - from_old
    refused = {**(old.refused if from_old else {}), **(new.refused if from_new else {})}
    for name, lines in _differing(old, new).items():
        if lines and from_old and from_new:
            numbers = merge_seeds(old.values.get(name, {}), new.values.get(name, {}))
            refused[name] = protocols_differ(lines, numbers)

    def merge_quantities(
        old_values: Mapping[str, Mapping[int, Any]], new_values: Mapping[str, Mapping[int, Any]]
    ) -> dict[str, dict]:
        names = [name for name in {**new_values, **old_values} if name not in refused]
        merged = {name: merge_seeds(old_values.get(name, {}), new_values.get(name, {})) for name in names}
        return {name: by_seed for name, by_seed in merged.items() if by_seed}

    values = merge_quantities(old.values, new.values)
    undefined = merge_quantities(old.undefined, new.undefined)
    protocols = {**old.protocols, **new.protocols}
    return Cell(
        new.where,
        new.runs,
        values,
        {name: protocol for name, protocol in protocols.items() if name in {**values, **undefined}},
        refused,
        failed=merge_seeds(old.failed, new.failed),
        undefined=undefined,
        blocked={seed: reason for seed, reason in new.blocked.items() if seed not in from_old},
        provenance=merge_seeds(old.provenance, new.provenance),
        measures=new.measures,
    )


def missing(experiment: Experiment, name: str, plan: Sequence[Task], root: Path) -> list[Task]:
    """The tasks of which the ledger lacks a place, or a quantity at one; the whole plan if it has none of them.

    Cells made by other code than today's, or measured by another score, count as lacking. Runs that these tasks need,
    and of which something in `root` is still to be measured, belong to them: they are needed whole.

    Raises UserError if one of these tasks needs a run that is not in `root`: what another judge measures could not be
    compared with what the ledger has.
    """
    cells, measures = _stored(experiment, name), experiment.budget(name).measures

    def has(cell: Cell, seed: int) -> bool:
        incomplete = any(seed in cell.lacking(quantity) for quantity in cell.protocols if quantity in measures)
        return seed in cell.finished and not (incomplete or stale(cell, plan) or _other_scores(cell, measures))

    lacking = [task for task in plan if not all(has(cells.at(e.where), task.seed) for e in task.evaluations)]
    if len(lacking) == sum(bool(task.evaluations) for task in plan):
        return list(plan)
    wanted = {task.id for task in lacking}
    for task in lacking:
        for need in task.needs:
            if need.id not in wanted and state_of(need, root).status not in ("trained", "done"):
                raise UserError(
                    f"`missing`: {task.id} needs the run {need.id} ({need.source}), which is not in {root}, and with "
                    "another one it could not be compared with what the ledger has; copy its directory there, or run "
                    "the whole table, without `missing`"
                )
    needed = {need.id for task in lacking for need in task.needs if not is_made(need, root)}
    return [task for task in plan if task.id in wanted | needed]


def stale(cell: Cell, plan: Iterable[Task]) -> bool:
    """Whether any seed of a cell was trained or measured by other code than today's, or under another config."""
    planned = {
        (task.id, task.seed): (evaluation.id, [task.code, evaluation.code])
        for task in plan
        for evaluation in task.evaluations
        if dict(evaluation.where) == dict(cell.where)
    }
    for seed, record in cell.provenance.items():
        if "code" not in record:
            continue
        evaluation_id, code = planned.get((cell.runs[seed], seed), ("", []))
        if not made_by(code, record["code"]) or record.get("evaluation", evaluation_id) != evaluation_id:
            return True
    return False


def stale_places(cells: Cells, plan: Sequence[Task]) -> list[Where]:
    """The places of stale cells."""
    return [cell.where for cell in cells.cells if stale(cell, plan)]


def cells_of(experiment: Experiment, name: str) -> Cells | None:
    """The cells that the ledger has of a budget, by today's scores; None if it has none.

    Raises UserError for a file that is not a ledger, and for cells at places that the table no longer has.
    """
    stored, measures = _stored(experiment, name), experiment.budget(name).measures
    return comparable(stored, measures) if stored.cells else None


def _stored(experiment: Experiment, name: str) -> Cells:
    """The cells of a budget as the file has them, by whatever scores."""
    path = place_of(experiment)
    section = _content(experiment)["budgets"].get(name)
    if not section:
        return Cells(experiment.paper, ())
    try:  # an entry without runs has published values only
        cells = [_from_json(entry, section) for entry in section["cells"] if entry["runs"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"ledger: {path} is damaged at {name} ({error!r}); restore it from git") from error
    for cell in cells:
        try:
            experiment.paper.check(cell.where)
        except UserError as error:
            reason = str(error).removeprefix("experiment: ")
            raise UserError(
                f"ledger: {path} has cells that the table does not have: {reason}; rename them alike, or remove them"
            ) from error
    return Cells(experiment.paper, cells)


# --------------------------------------------------------------------------------------------------------------- JSON


def _content(experiment: Experiment) -> dict[str, Any]:
    path = place_of(experiment)
    if not path.exists():
        return {"experiment": experiment.name, "source": experiment.paper.source, "budgets": {}}
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UserError(f"ledger: {path} is not valid JSON ({error}); restore it from git") from error
    if not isinstance(content, dict) or not isinstance(content.get("budgets"), dict):
        raise UserError(f"ledger: {path} is not a ledger: it has no budgets; restore it from git")
    return content


def _to_json(cell: Cell, measures: Mapping[str, str]) -> dict[str, Any]:
    """A cell as JSON; with its scores only where they differ from those of the budget's section."""
    quantities = {name: _quantity(cell, name) for name in cell.protocols}
    quantities |= {name: {"refused": reason} for name, reason in cell.refused.items()}
    optional = {
        "failed": _text_keys(cell.failed),
        "blocked": _text_keys(cell.blocked),
        "measures": {} if cell.measures == measures else dict(cell.measures),
        "now": cell.now,
    }
    return {
        "where": dict(cell.where),
        "status": cell.status,
        "reason": cell.reason,
        "runs": _text_keys(cell.runs),
        "quantities": quantities,
        "provenance": _compact(cell.provenance),
    } | {name: value for name, value in optional.items() if value}


def _quantity(cell: Cell, name: str) -> dict[str, Any]:
    """A quantity's numbers, if any; "undefined" says why seeds whose run did not fail have none."""
    values, undefined = cell.values.get(name, {}), cell.undefined.get(name, {})
    return {
        "mean": cell.mean(name) if values else None,
        "sd": cell.sd(name) if values else None,
        "n": len(values),
        "values": _text_keys(values),
        "protocol": cell.protocols[name],
    } | ({"undefined": _text_keys(undefined)} if undefined else {})


def published(paper: Table, where: Where) -> dict[str, dict[str, Any]]:
    """The published values at a place, by quantity, each with its mark: a number, a number and its spread, or a word.

    Their source is the table's, except for derived values, whose source is the experiment's file.
    """
    entries = {}
    for quantity in paper.quantities:
        value = paper.published(quantity.name, where)
        value, mark = value.value if isinstance(value, Marked) else value, quantity.mark_of(value)
        if value is not None:
            source = {"source": "derived in the experiment's file"} if mark == "D" else {}
            entries[quantity.name] = {"value": value, "mark": mark} | source
    return entries


def _from_json(entry: dict[str, Any], section: dict[str, Any]) -> Cell:
    quantities = {name: content for name, content in entry["quantities"].items() if "refused" not in content}
    return Cell(
        entry["where"],
        _seed_keys(entry["runs"]),
        values={name: _numbers(content["values"]) for name, content in quantities.items() if content["values"]},
        undefined={
            name: _seed_keys(content["undefined"]) for name, content in quantities.items() if content.get("undefined")
        },
        protocols={name: content["protocol"] for name, content in quantities.items()},
        refused={name: content["refused"] for name, content in entry["quantities"].items() if "refused" in content},
        failed=_seed_keys(entry.get("failed", {})),
        blocked=_seed_keys(entry.get("blocked", {})),
        provenance=_expanded(entry["provenance"]),
        measures=entry.get("measures", section["measures"]),
        now=entry.get("now", ""),
    )


def _compact(provenance: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """What all seeds share, and under "seeds" what differs between them."""
    records = list(provenance.values())
    shared = {
        name: value
        for name, value in (records[0] if records else {}).items()
        if all(name in record and record[name] == value for record in records)
    }
    rest = {
        seed: {name: value for name, value in record.items() if name not in shared}
        for seed, record in provenance.items()
    }
    return shared | {"seeds": _text_keys(rest)}


def _expanded(provenance: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The inverse of `_compact`: the whole record of each seed."""
    shared = {name: value for name, value in provenance.items() if name != "seeds"}
    return {seed: shared | record for seed, record in _seed_keys(provenance["seeds"]).items()}


def _text_keys(by_seed: Mapping[int, Any]) -> dict[str, Any]:
    return {str(seed): value for seed, value in by_seed.items()}


def _numbers(by_text: Mapping[str, float]) -> dict[int, float]:
    """Numbers by seed. Raises ValueError or TypeError if one is no number."""
    return {seed: float(number) for seed, number in _seed_keys(by_text).items()}


def _seed_keys(by_text: Mapping[str, Any]) -> dict[int, Any]:
    return {int(seed): value for seed, value in by_text.items()}
