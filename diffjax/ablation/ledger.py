"""The ledger: every cell that was measured, with seeds, protocol, hardware, commit and command, as committed JSON.

One file an experiment, experiments/results/NAME.json, with a section for each budget but the smoke test's. A failed run
and one that was not run are values of it, never gaps. What was published there stands in each cell, with its mark. It
holds everything that a report and the claims need, so that nobody needs the runs to read it.

Nothing that it has is lost to runs that have less. Seeds of the same code, measured alike, come together from wherever
they were run; where they were measured otherwise, the cell stays that has more of them, and of as many more quantities.
One that older code made stays, marked stale, until all seeds that are planned were done again, and goes as a whole
then: seeds of two codes never stand in one cell. So does one that has a quantity by another score than today's budget,
or was kept before there was one: what it has of that is not shown, and not lost.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.collect import made_by
from diffjax.ablation.experiment import Experiment
from diffjax.ablation.plan import Task
from diffjax.ablation.table import Marked, Table, Where
from diffjax.ablation.work import state_of
from diffjax.errors import Taken, UserError
from diffjax.metrics.protocol import differences
from diffjax.workdir import Hold
from diffjax.writer import write_json

SMOKE = "minute"  # the budget that is never kept
PATIENCE = 60.0  # seconds for another process to write its cells and its pictures, which takes a few


def place_of(experiment: Experiment) -> Path:
    """The file of an experiment's ledger."""
    return experiment.path.parent / "results" / f"{experiment.name}.json"


def keep(
    experiment: Experiment,
    name: str,
    cells: Cells,
    plan: Sequence[Task],
    beside: Callable[[Sequence[Cell]], None] = lambda kept: None,
) -> Path | None:
    """Writes the cells of a budget down, where they are more than what is there. None for a smoke test, or no run.

    `beside` keeps what belongs to the cells that the ledger then has, of all budgets, before another process may write.
    Raises UserError where another process has the ledger in hand and keeps it.
    """
    if name == SMOKE or all(cell.status == "not run" for cell in cells.cells):
        return None
    path = place_of(experiment)
    try:
        with Hold(path.parent, PATIENCE):
            _merge(experiment, name, cells, plan, path)
            there = [cells_of(experiment, budget) for budget in experiment.budgets]
            beside([cell for of in there if of for cell in of.cells])
    except Taken as error:
        said = error.about("--workdir: ", "ledger: ")
        raise UserError(f"{said}; nothing was kept, do it again") from error
    return path


def _merge(experiment: Experiment, name: str, cells: Cells, plan: Sequence[Task], path: Path) -> None:
    content = _content(experiment)
    before, budget = _kept(experiment, name), experiment.budget(name)
    whole = Cells(cells.table, [_better(before.at(cell.where), cell, plan) for cell in cells.cells])
    places = [whole.at(place) for place in experiment.paper.places()]
    shown = Cells(cells.table, [_shown(cell, budget.measures) for cell in whole.cells])
    content["source"] = experiment.paper.source
    content["budgets"][name] = {
        "what": budget.what,
        "measures": dict(budget.measures),
        "claims": [claim.verdict(shown)._asdict() for claim in experiment.claims],
        "cells": [
            _json(cell, budget.measures) | {"published": beside}
            for cell in places
            if (beside := published(experiment.paper, cell.where)) or cell.runs
        ],
    }
    write_json(path, content)


def _better(old: Cell, new: Cell, plan: Sequence[Task]) -> Cell:
    """Which of two cells of a place is kept."""
    if not old.finished:
        return new
    if (stale(old, plan) or _otherwise(old, new.measures)) and not stale(new, plan):
        if new.complete:
            return new
        now = f"{len(new.finished)} of {len(new.runs)} seeds done again" if new.finished else old.now
        return dataclasses.replace(old, now=now)
    if stale(new, plan) and not stale(old, plan):
        return old
    if not stale(new, plan) and _alike(old, new):
        return _joined(old, new)
    more = [(len(cell.finished), len(cell.protocols)) for cell in (old, new)]  # seeds, and quantities with an outcome
    return new if more[1] >= more[0] else old


def _otherwise(cell: Cell, measures: Mapping[str, str]) -> dict[str, str]:
    """The quantities that a cell has by other scores than these, or had none for yet, and what it has instead."""
    found = {}
    for quantity, score in measures.items():
        before = cell.measures.get(quantity)
        if before is None and cell.lacking(quantity):
            found[quantity] = f"no {score} yet: the cell was kept before the budget had one for it"
        if before not in (None, score) and quantity in {*cell.protocols, *cell.refused}:
            found[quantity] = f"no {score} yet: what the ledger has is {before}"
    return found


def _shown(cell: Cell, measures: Mapping[str, str]) -> Cell:
    """What a cell has of these quantities, by these scores; one that it has otherwise, or not of all seeds, is refused.

    It is kept all the same: runs that have more make it whole.
    """
    refused = {
        quantity: f"no {score} of seed {', '.join(map(str, cell.lacking(quantity)))}, which others have"
        for quantity, score in measures.items()
        if quantity in cell.protocols and cell.lacking(quantity)
    } | _otherwise(cell, measures)

    def whole(of: Mapping[str, Any]) -> dict[str, Any]:
        return {quantity: value for quantity, value in of.items() if quantity in measures and quantity not in refused}

    return dataclasses.replace(
        cell,
        values=whole(cell.values),
        protocols=whole(cell.protocols),
        undefined=whole(cell.undefined),
        refused=whole(cell.refused) | refused,
    )


def _alike(one: Cell, other: Cell) -> bool:
    """Whether their seeds may stand in one cell."""
    shared = [name for name in one.protocols if name in other.protocols]
    differing = any(differences(one.protocols[name], other.protocols[name]) for name in shared)
    return not (differing or one.refused or other.refused)


def _joined(old: Cell, new: Cell) -> Cell:
    """The seeds of both; of a seed that both have the new one, unless that lacks a quantity which the old one has."""
    has = {name: {**old.values.get(name, {}), **old.undefined.get(name, {})} for name in old.protocols}
    less = {seed for name, of in has.items() for seed in new.lacking(name) if seed in of}
    kept = old.finished - (new.finished - less)

    def both(theirs: Mapping[int, Any], ours: Mapping[int, Any]) -> dict[int, Any]:
        return {seed: of[seed] for seed in new.runs if seed in (of := theirs if seed in kept else ours)}

    def each(theirs: Mapping[str, Mapping[int, Any]], ours: Mapping[str, Mapping[int, Any]]) -> dict[str, dict]:
        whole = {name: both(theirs.get(name, {}), ours.get(name, {})) for name in {**ours, **theirs}}
        return {name: of for name, of in whole.items() if of}

    values, undefined = each(old.values, new.values), each(old.undefined, new.undefined)
    return Cell(
        new.where,
        new.runs,
        values,
        {name: how for name, how in {**old.protocols, **new.protocols}.items() if name in {**values, **undefined}},
        failed=both(old.failed, new.failed),
        undefined=undefined,
        blocked={seed: why for seed, why in new.blocked.items() if seed not in kept},
        provenance=both(old.provenance, new.provenance),
        measures=new.measures,
    )


def missing(experiment: Experiment, name: str, plan: Sequence[Task], root: Path) -> list[Task]:
    """The tasks of which the ledger lacks a place, or a quantity there; all if it has none.

    What it has of other code than today's, or by another score, it lacks.

    Raises UserError where one of them needs a run that is not in `root`: what another judge measures is no comparison.
    """
    cells, measures = _kept(experiment, name), experiment.budget(name).measures

    def has(cell: Cell, seed: int) -> bool:
        in_part = any(seed in cell.lacking(quantity) for quantity in cell.protocols if quantity in measures)
        return seed in cell.finished and not (in_part or stale(cell, plan) or _otherwise(cell, measures))

    lacking = [task for task in plan if not all(has(cells.at(of.where), task.seed) for of in task.evaluations)]
    if len(lacking) == sum(bool(task.evaluations) for task in plan):
        return list(plan)
    for task in lacking:
        if gone := [need for need in task.needs if state_of(need, root).status not in ("trained", "done")]:
            raise UserError(
                f"--missing: {task.id} needs the run {gone[0].id} ({gone[0].source}), which is not in {root}, and with "
                "another one it could not be compared with what the ledger has; copy its directory there, or run the "
                "whole table, without --missing"
            )
    return lacking


def stale(cell: Cell, plan: Iterable[Task]) -> bool:
    """Whether a seed of a cell was trained or measured by other code than today's, or under another config."""
    today = {
        (task.id, task.seed): (evaluation.id, [task.code, evaluation.code])
        for task in plan
        for evaluation in task.evaluations
        if dict(evaluation.where) == dict(cell.where)
    }
    for seed, made in cell.provenance.items():
        if "code" not in made:
            continue
        measurement, code = today.get((cell.runs[seed], seed), ("", []))
        if not made_by(code, made["code"]) or made.get("evaluation", measurement) != measurement:
            return True
    return False


def cells_of(experiment: Experiment, name: str) -> Cells | None:
    """The cells that the ledger has of a budget, by the scores that it has today; None if it has none.

    Raises UserError for a file that is no ledger, and for cells of places that the table does not have any more.
    """
    kept, measures = _kept(experiment, name), experiment.budget(name).measures
    return Cells(kept.table, [_shown(cell, measures) for cell in kept.cells]) if kept.cells else None


def _kept(experiment: Experiment, name: str) -> Cells:
    """The cells as they were kept, by whatever scores."""
    path = place_of(experiment)
    section = _content(experiment)["budgets"].get(name)
    if not section:
        return Cells(experiment.paper, ())
    try:  # of places without a run there is only the paper's
        cells = [_parsed(cell, section) for cell in section["cells"] if cell["runs"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"ledger: {path} is damaged at {name} ({error!r}); restore it from git") from error
    for cell in cells:
        try:
            experiment.paper.check(cell.where)
        except UserError as error:
            said = str(error).removeprefix("experiment: ")
            raise UserError(
                f"ledger: {path} has cells that the table does not have: {said}; name them alike, or remove them"
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
        raise UserError(f"ledger: {path} is no JSON ({error}); restore it from git") from error
    if not isinstance(content, dict) or not isinstance(content.get("budgets"), dict):
        raise UserError(f"ledger: {path} is no ledger: it has no budgets; restore it from git")
    return content


def _json(cell: Cell, measures: Mapping[str, str]) -> dict[str, Any]:
    """A cell; its scores where they are not those of the budget, which the section has."""
    quantities = {name: _quantity(cell, name) for name in cell.protocols}
    quantities |= {name: {"refused": why} for name, why in cell.refused.items()}
    seeds = {"failed": _by_text(cell.failed), "blocked": _by_text(cell.blocked)}
    own = {} if cell.measures == measures else dict(cell.measures)
    more = {name: value for name, value in {**seeds, "measures": own, "now": cell.now}.items() if value}
    return {"where": dict(cell.where), "status": cell.status, "reason": cell.reason, "runs": _by_text(cell.runs),
            "quantities": quantities, "provenance": _compact(cell.provenance)} | more  # fmt: skip


def _quantity(cell: Cell, name: str) -> dict[str, Any]:
    """Its numbers, of which there may be none, and under "undefined" why seeds whose run did not fail have none."""
    values, undefined = cell.values.get(name, {}), cell.undefined.get(name, {})
    return {
        "mean": cell.mean(name) if values else None,
        "sd": cell.sd(name) if values else None,
        "n": len(values),
        "values": _by_text(values),
        "protocol": cell.protocols[name],
    } | ({"undefined": _by_text(undefined)} if undefined else {})


def published(paper: Table, where: Where) -> dict[str, dict[str, Any]]:
    """What was published at a place, by quantity, each with its mark: a number, a number and its spread, or a word.

    The source is the table's; what is derived is nobody's but the experiment's own.
    """
    found = {}
    for quantity in paper.quantities:
        value = paper.published(quantity.name, where)
        value, mark = (value.value, value.mark) if isinstance(value, Marked) else (value, quantity.mark)
        if value is not None:
            derived = {"source": "derived in the experiment's file"} if mark == "D" else {}
            found[quantity.name] = {"value": value, "mark": mark} | derived
    return found


def _parsed(cell: dict[str, Any], section: dict[str, Any]) -> Cell:
    quantities = {name: of for name, of in cell["quantities"].items() if "refused" not in of}
    return Cell(
        cell["where"],
        _by_seed(cell["runs"]),
        values={name: _by_seed(of["values"]) for name, of in quantities.items() if of["values"]},
        undefined={name: _by_seed(of["undefined"]) for name, of in quantities.items() if of.get("undefined")},
        protocols={name: of["protocol"] for name, of in quantities.items()},
        refused={name: of["refused"] for name, of in cell["quantities"].items() if "refused" in of},
        failed=_by_seed(cell.get("failed", {})),
        blocked=_by_seed(cell.get("blocked", {})),
        provenance=_spread(cell["provenance"]),
        measures=cell.get("measures", section["measures"]),
        now=cell.get("now", ""),
    )


def _compact(provenance: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """What all seeds have alike, and under "seeds" what each has of its own."""
    records = list(provenance.values())
    alike = {
        name: value
        for name, value in (records[0] if records else {}).items()
        if all(name in other and other[name] == value for other in records)
    }
    own = {seed: {k: v for k, v in made.items() if k not in alike} for seed, made in provenance.items()}
    return alike | {"seeds": _by_text(own)}


def _spread(provenance: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """All of it for each seed."""
    alike = {name: value for name, value in provenance.items() if name != "seeds"}
    return {seed: alike | own for seed, own in _by_seed(provenance["seeds"]).items()}


def _by_text(of: Mapping[int, Any]) -> dict[str, Any]:
    return {str(seed): value for seed, value in of.items()}


def _by_seed(of: Mapping[str, Any]) -> dict[int, Any]:
    return {int(seed): value for seed, value in of.items()}
