"""The ledger: every cell that was measured, with seeds, protocol, hardware, commit and command, as committed JSON.

One file an experiment, experiments/results/NAME.json, with a section for each budget but the smoke test's. A failed run
and one that was not run are values of it, never gaps. What was published there stands in each cell, with its mark. It
holds everything that a report and the claims need, so that nobody needs the runs to read it.

Nothing that it has is lost to runs that have less. A cell gives way to another of the same code with at least as many
finished seeds. One that older code made stays, marked stale, until all seeds that are planned were done again, and goes
as a whole then: seeds of two codes never stand in one cell.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.experiment import Experiment
from diffjax.ablation.plan import Task
from diffjax.ablation.table import Marked, Table, Where
from diffjax.errors import Taken, UserError
from diffjax.workdir import Hold
from diffjax.writer import write_json

SMOKE = "minute"  # the budget that is never kept
PATIENCE = 60.0  # seconds for another process to write its cells, which takes one


def place_of(experiment: Experiment) -> Path:
    """The file of an experiment's ledger."""
    return experiment.path.parent / "results" / f"{experiment.name}.json"


def keep(experiment: Experiment, name: str, cells: Cells, plan: Sequence[Task]) -> Path | None:
    """Writes the cells of a budget down, where they are more than what is there. None for a smoke test, or no run.

    Raises UserError where another process has the ledger in hand and keeps it.
    """
    if name == SMOKE or all(cell.status == "not run" for cell in cells.cells):
        return None
    path = place_of(experiment)
    try:
        with Hold(path.parent, PATIENCE):
            _merge(experiment, name, cells, plan, path)
    except Taken as error:
        raise UserError(f"ledger: {str(error).removeprefix('--workdir: ')}; nothing was kept, do it again") from error
    return path


def _merge(experiment: Experiment, name: str, cells: Cells, plan: Sequence[Task], path: Path) -> None:
    content = _content(experiment)
    before = cells_of(experiment, name) or Cells(experiment.paper, ())
    whole = Cells(cells.table, [_better(before.at(cell.where), cell, plan) for cell in cells.cells])
    budget = experiment.budget(name)
    content["source"] = experiment.paper.source
    content["budgets"][name] = {
        "what": budget.what,
        "measures": dict(budget.measures),
        "claims": [claim.verdict(whole)._asdict() for claim in experiment.claims],
        "cells": [_json(cell) | {"published": published(experiment.paper, cell.where)} for cell in whole.cells],
    }
    write_json(path, content)


def _better(old: Cell, new: Cell, plan: Sequence[Task]) -> Cell:
    """Which of two cells of a place is kept."""
    if not old.finished:
        return new
    if stale(old, plan) and not stale(new, plan):
        if new.complete:
            return new
        now = f"{len(new.finished)} of {len(new.runs)} seeds done again" if new.finished else old.now
        return dataclasses.replace(old, now=now)
    if stale(new, plan) and not stale(old, plan):
        return old
    return new if len(new.finished) >= len(old.finished) else old


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
        if made["code"] != code[: len(made["code"])] or made.get("evaluation", measurement) != measurement:
            return True
    return False


def cells_of(experiment: Experiment, name: str) -> Cells | None:
    """The cells that the ledger has of a budget; None if it has none."""
    section = _content(experiment)["budgets"].get(name)
    return section and Cells(experiment.paper, [_parsed(cell) for cell in section["cells"]])


# --------------------------------------------------------------------------------------------------------------- JSON


def _content(experiment: Experiment) -> dict[str, Any]:
    path = place_of(experiment)
    if not path.is_file():
        return {"experiment": experiment.name, "source": experiment.paper.source, "budgets": {}}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"ledger: {path} is no JSON ({error}); restore it from git") from error


def _json(cell: Cell) -> dict[str, Any]:
    quantities = {
        name: {
            "mean": cell.mean(name),
            "sd": cell.sd(name),
            "n": len(values),
            "values": _by_text(values),
            "protocol": cell.protocols[name],
        }
        for name, values in cell.values.items()
    }
    quantities |= {name: {"refused": why} for name, why in cell.refused.items()}
    more = {name: value for name, value in (("failed", _by_text(cell.failed)), ("now", cell.now)) if value}
    return {"where": dict(cell.where), "status": cell.status, "said": cell.said, "runs": _by_text(cell.runs),
            "quantities": quantities, "provenance": _compact(cell.provenance)} | more  # fmt: skip


def published(paper: Table, where: Where) -> dict[str, dict[str, Any]]:
    """What was published at a place, by quantity, each with its mark: a number, a number and its spread, or a word."""
    found = {}
    for quantity in paper.quantities:
        value = paper.published(quantity.name, where)
        value, mark = (value.value, value.mark) if isinstance(value, Marked) else (value, quantity.mark)
        if value is not None:
            found[quantity.name] = {"value": value, "mark": mark}
    return found


def _parsed(cell: dict[str, Any]) -> Cell:
    quantities = {name: of for name, of in cell["quantities"].items() if "refused" not in of}
    provenance, runs = cell["provenance"], _by_seed(cell["runs"])
    earlier = "seeds" not in provenance  # of before seeds had provenance of their own
    return Cell(
        cell["where"],
        runs,
        cell["status"],
        cell["said"],
        values={name: _by_seed(of["values"]) for name, of in quantities.items()},
        protocols={name: of["protocol"] for name, of in quantities.items()},
        refused={name: of["refused"] for name, of in cell["quantities"].items() if "refused" in of},
        failed=_once_failed(cell, runs) if earlier else _by_seed(cell.get("failed", {})),
        provenance=_once_made(provenance) if earlier else _spread(provenance),
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


def _once_made(provenance: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Of an earlier ledger: the code of each seed, and all the rest of the last one, whose it was."""
    made = {int(seed): {"code": code} for seed, code in provenance.get("code", {}).items()}
    rest = {name: value for name, value in provenance.items() if name != "code" and value is not None}
    return made | {seed: rest | made[seed] for seed in list(made)[-1:]}


def _once_failed(cell: Mapping[str, Any], runs: Mapping[int, str]) -> dict[int, str]:
    """Of an earlier ledger: the seeds that have no value, of a cell that failed in part or as a whole."""
    if cell["status"] not in ("failed", "part failed"):
        return {}
    measured = {int(seed) for of in cell["quantities"].values() for seed in of.get("values", {})}
    return {seed: cell["said"] for seed in runs if seed not in measured}


def _by_text(of: Mapping[int, Any]) -> dict[str, Any]:
    return {str(seed): value for seed, value in of.items()}


def _by_seed(of: Mapping[str, Any]) -> dict[int, Any]:
    return {int(seed): value for seed, value in of.items()}
