"""The ledger: every cell that was measured, with seeds, protocol, hardware, commit and command, as committed JSON.

One file an experiment, experiments/results/NAME.json, with a section for each budget but the smoke test's. A failed run
and one that was not run are values of it, never gaps. It is written from run directories, and holds everything that a
report and the claims need, so that nobody needs the runs to read it.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.cost import cost_of
from diffjax.ablation.experiment import Budget, Experiment
from diffjax.ablation.plan import Evaluation, Task
from diffjax.ablation.work import state_of
from diffjax.errors import UserError
from diffjax.metrics import Metric, check_comparable
from diffjax.writer import write_json

SMOKE = "minute"  # the budget that is never kept


def collect(experiment: Experiment, budget: Budget, tasks: Iterable[Task], root: Path) -> Cells:
    """The cells of a budget as the run directories have them now.

    A place may leave a quantity unmeasured, but not all of them may: raises UserError for a score that nothing gives.
    """
    by_place: dict[tuple, list[tuple[Task, Evaluation]]] = {}
    for task in tasks:
        for evaluation in task.evaluations:
            by_place.setdefault(tuple(sorted(evaluation.where.items())), []).append((task, evaluation))
    order = [tuple(sorted(where.items())) for where in experiment.paper.places()]
    given: set[str] = set()
    found = [_cell(budget, by_place[place], root, given) for place in order if place in by_place]
    for quantity, name in budget.measures.items():
        if name not in given and all(cell.status == "done" for cell in found):
            there = ", ".join(sorted(given))
            raise UserError(f"experiment: measures {quantity} by {name!r}, which was not measured; there are {there}")
    return Cells(experiment.paper, found)


def _cell(budget: Budget, parts: list[tuple[Task, Evaluation]], root: Path, given: set[str]) -> Cell:
    """One place, of all its seeds; adds the names of all its scores to `given`."""
    where = parts[0][1].where
    metrics: dict[str, dict[int, Metric]] = {name: {} for name in budget.measures}
    runs, missing, failed, provenance, code = {}, [], [], {}, {}
    for task, evaluation in parts:
        runs[task.seed] = task.id
        state = state_of(task, root)
        if state.status == "failed":
            failed.append(f"seed {task.seed} failed: {state.said}")
            continue
        path = evaluation.path(task.workdir(root))
        if not path.is_file():
            missing.append(f"seed {task.seed} was not run")
            continue
        content = json.loads(path.read_text())
        scores = cost_of(task.workdir(root)) | {score["name"]: score for score in content["metrics"]}
        given.update(scores)
        reason = _into(metrics, task.seed, scores, budget.measures)
        if reason:
            failed.append(f"seed {task.seed}: {reason}")
            continue
        kept = {name: content["provenance"].get(name) for name in ("commit", "device", "nfe", "weights", "step")}
        code[str(task.seed)] = [state.code, content["provenance"]["code"]]
        provenance = kept | {"code": code, "command": task.command(), "measured with": dict(evaluation.keys)}
    status = _status(len(parts), len(missing), len(failed))
    values = {name: {seed: metric.value for seed, metric in of.items()} for name, of in metrics.items() if of}
    for of in metrics.values():
        if of:
            check_comparable(*of.values())
    protocols = {name: next(iter(of.values())).protocol for name, of in metrics.items() if of}
    if status != "done":
        values, protocols = (values, protocols) if status == "part failed" else ({}, {})
    return Cell(where, runs, status, "; ".join(failed + missing), values, protocols, provenance)


def _into(metrics: dict, seed: int, scores: Mapping[str, dict], measures: Mapping[str, str]) -> str:
    """Puts one seed's scores where they belong, those that there are; why not, if one is no number."""
    for quantity, name in measures.items():
        if name not in scores:
            continue
        value = float(scores[name]["value"])
        if not math.isfinite(value):
            return f"{name} is {value}: {scores[name]['meaning']}"
        metrics[quantity][seed] = Metric(name, value, scores[name]["protocol"])
    return ""


def _status(seeds: int, missing: int, failed: int) -> str:
    if missing:
        return "not run" if missing + failed == seeds else "running"
    if failed:
        return "failed" if failed == seeds else "part failed"
    return "done"


# -------------------------------------------------------------------------------------------------------------- files


def place_of(experiment: Experiment) -> Path:
    """The file of an experiment's ledger."""
    return experiment.path.parent / "results" / f"{experiment.name}.json"


def keep(experiment: Experiment, name: str, cells: Cells) -> Path | None:
    """Writes the cells of a budget down; those that were not run leave what is there. None for a smoke test."""
    if name == SMOKE:
        return None
    path, content = place_of(experiment), _content(experiment)
    before = cells_of(experiment, name)
    kept = [before.at(cell.where) if cell.status == "not run" and before else cell for cell in cells.cells]
    kept = [cell if cell.status != "not run" else Cell(cell.where, cell.runs, "not run", cell.said) for cell in kept]
    whole = Cells(cells.table, kept)
    budget = experiment.budget(name)
    content["budgets"][name] = {
        "what": budget.what,
        "measures": dict(budget.measures),
        "claims": [claim.verdict(whole)._asdict() for claim in experiment.claims],
        "cells": [_json(cell) for cell in kept],
    }
    write_json(path, content)
    return path


def cells_of(experiment: Experiment, name: str) -> Cells | None:
    """The cells that the ledger has of a budget; None if it has none."""
    section = _content(experiment)["budgets"].get(name)
    return section and Cells(experiment.paper, [_parsed(cell) for cell in section["cells"]])


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
            "values": {str(seed): value for seed, value in values.items()},
            "protocol": cell.protocols[name],
        }
        for name, values in cell.values.items()
    }
    runs = {str(seed): run for seed, run in cell.runs.items()}
    return {"where": dict(cell.where), "status": cell.status, "said": cell.said, "runs": runs,
            "quantities": quantities, "provenance": dict(cell.provenance)}  # fmt: skip


def _parsed(cell: dict[str, Any]) -> Cell:
    quantities = cell["quantities"]
    values = {name: {int(s): v for s, v in of["values"].items()} for name, of in quantities.items()}
    protocols = {name: of["protocol"] for name, of in quantities.items()}
    runs = {int(seed): run for seed, run in cell["runs"].items()}
    return Cell(cell["where"], runs, cell["status"], cell["said"], values, protocols, cell["provenance"])


def stale(cell: Cell, tasks: Iterable[Task]) -> bool:
    """Whether a seed of a cell was trained or measured by other code than today's, or under another config."""
    today = {
        (task.id, str(task.seed)): [task.code, evaluation.code]
        for task in tasks
        for evaluation in task.evaluations
        if dict(evaluation.where) == dict(cell.where)
    }
    made = cell.provenance.get("code", {})
    return any(today.get((cell.runs[int(seed)], seed)) != code for seed, code in made.items())
