"""Cells from run directories: what each seed gave to a place is read, then the seeds of a place are put together.

A score that is no finite number fails its own quantity alone; where none of those that are wanted is one, the seed.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.cost import cost_of
from diffjax.ablation.experiment import Budget, Experiment
from diffjax.ablation.plan import Evaluation, Task
from diffjax.ablation.raised import RUN, raised
from diffjax.ablation.table import Where
from diffjax.ablation.work import state_of
from diffjax.errors import UserError
from diffjax.metrics import Metric
from diffjax.metrics.protocol import differences
from diffjax.workdir import PLACE
from diffjax.writer import read_json

KEPT = (*PLACE, "nfe", "weights", "step")  # of the provenance that a measurement has written down


class Part(NamedTuple):
    """What one seed gave to a place."""

    seed: int
    run: str  # its id
    status: str  # "done", "failed", "blocked" (it raised, or a run that it needs has failed) or "not run"
    reason: str = ""
    scores: Mapping[str, Metric] = {}
    undefined: Mapping[str, str] = {}  # of those that are wanted, which are no numbers, and why
    made: Mapping[str, Any] = {}  # of what is done or failed: by which code, where, how
    today: bool = True  # whether that is the code there is now


def collect(experiment: Experiment, budget: Budget, tasks: Iterable[Task], root: Path) -> Cells:
    """The cells of a budget as the run directories have them now.

    A place may leave a quantity unmeasured, but not all of them may: raises UserError for a score that nothing gives.
    """
    by_place: dict[tuple, list[Part]] = {}
    for task in tasks:
        for evaluation in task.evaluations:
            part = _read(task, evaluation, set(budget.measures.values()), root)
            part = part._replace(today=not part.made or made_by([task.code, evaluation.code], part.made["code"]))
            by_place.setdefault(_key(evaluation.where), []).append(part)
    places = [place for place in experiment.paper.places() if _key(place) in by_place]
    found = [_combined(place, _of_one_code(by_place[_key(place)]), budget.measures) for place in places]
    given = {name for parts in by_place.values() for part in parts for name in part.scores}
    for quantity, name in budget.measures.items():
        if name not in given and all(cell.status == "done" for cell in found):
            there = ", ".join(sorted(given))
            raise UserError(f"experiment: measures {quantity} by {name!r}, which was not measured; there are {there}")
    return Cells(experiment.paper, found)


def _key(where: Where) -> tuple:
    return tuple(sorted(where.items()))


# --------------------------------------------------------------------------------------------------------------- read


def _read(task: Task, evaluation: Evaluation, wanted: Collection[str], root: Path) -> Part:
    """One seed's part: all scores that there are, and which of those that are wanted are no numbers."""
    state, workdir = state_of(task, root), task.workdir(root)
    trained = _surroundings(workdir)
    measured = {key: _placeless(value, root) for key, value in evaluation.keys.items()}
    how = {"command": _placeless(task.command(), root), "measured with": measured, "evaluation": evaluation.id}
    reason = _placeless(state.reason, root)
    path = evaluation.path(workdir)
    of_before = evaluation.checkpoint is not None and path.is_file()  # what a run was before it failed
    if state.status == "failed" and not of_before:
        return Part(task.seed, task.id, "failed", reason, made=trained | {"code": [state.code]} | how)
    if not path.is_file():
        reason = reason if state.status == "blocked" else _placeless(raised(workdir, RUN, evaluation.id), root)
        return Part(task.seed, task.id, "blocked" if reason else "not run", reason)
    content = read_json(path, needs=("metrics", "provenance"))
    of = content["provenance"]
    made = {name: of[name] for name in KEPT if of.get(name) is not None} | {"code": [state.code, of["code"]]} | how
    if any(made.get(name) != value for name, value in trained.items()):
        made["trained"] = trained  # elsewhere, or at another commit
    if state.status in ("done", "trained") and trained:
        result = read_json(workdir / "result.json", workdir, ("seconds",))
        made["took"] = result["seconds"]  # training, as long as it lasted
    found = cost_of(workdir) | {score["name"]: score for score in content["metrics"]}
    scores = {name: Metric(name, float(score["value"]), score["protocol"]) for name, score in found.items()}
    asked = {name: metric.value for name, metric in scores.items() if name in wanted}
    undefined = {name: f"{name} is {value}: {found[name]['meaning']}" for name, value in asked.items()
                 if not math.isfinite(value)}  # fmt: skip
    if undefined and undefined.keys() == asked.keys():
        return Part(task.seed, task.id, "failed", next(iter(undefined.values())), scores, made=made)
    return Part(task.seed, task.id, "done", "", scores, undefined, made)


def _placeless(value: Any, root: Path) -> Any:
    """With DIR where the runs happen to live, as in commands."""
    return value.replace(f"{root}/", "DIR/") if isinstance(value, str) else value


def _surroundings(workdir: Path) -> dict[str, Any]:
    """Where a run was trained; {} of what is computed."""
    path = workdir / "config.json"
    config = read_json(path, workdir) if path.is_file() else {}
    return {name: config[name] for name in PLACE if name in config}


# ------------------------------------------------------------------------------------------------------------ combine


def made_by(code: Sequence[str], by: Sequence[str]) -> bool:
    """Whether what was made `by` one code, of training and then, unless it failed, of measuring, is of another."""
    return list(by) == list(code[: len(by)])


def _of_one_code(parts: Sequence[Part]) -> list[Part]:
    """The seeds that one code made; of others it is said that they are not measured.

    That is today's code, or where it has made none, the code that made most. A run that failed has the code of its
    training alone, and goes with whatever measured others of the same training.
    """
    made = [part for part in parts if part.made]
    if all(part.today for part in made):
        return list(parts)
    if any(part.today for part in made):
        kept = {part.seed for part in made if part.today}
    else:
        alike = [{part.seed for part in made if made_by(one.made["code"], part.made["code"])} for one in made]
        kept = max(alike, key=len)
    reason = "other code made it than the other seeds; --rerun-stale makes all alike"
    return [
        part if part.seed in kept or not part.made else Part(part.seed, part.run, "blocked", reason) for part in parts
    ]


def _combined(where: Where, parts: Sequence[Part], measures: Mapping[str, str]) -> Cell:
    """One place, of all its seeds. A quantity that was not measured in all of them, and alike, is refused, it alone."""
    values, protocols, refused, undefined = {}, {}, {}, {}
    for quantity, name in measures.items():
        of = {part.seed: part.scores[name] for part in parts if part.status == "done" and name in part.scores}
        if not of:
            continue
        protocol = next(iter(of.values())).protocol
        unknown = {part.seed: part.undefined[name] for part in parts if part.seed in of and name in part.undefined}
        differing = {line for metric in of.values() for line in differences(protocol, metric.protocol)}
        lacking = [str(part.seed) for part in parts if part.status == "done" and part.seed not in of]
        if lacking:
            refused[quantity] = f"no {name} of seed {', '.join(lacking)}, which others have"
        elif differing:
            each = ", ".join(f"{metric.value:.6g} (seed {seed})" for seed, metric in of.items())
            refused[quantity] = f"protocols differ: {', '.join(sorted(differing))}; {each}"
        else:
            values[quantity] = {seed: metric.value for seed, metric in of.items() if seed not in unknown}
            protocols[quantity], undefined[quantity] = protocol, unknown
    return Cell(
        where,
        runs={part.seed: part.run for part in parts},
        values={quantity: numbers for quantity, numbers in values.items() if numbers},
        protocols=protocols,
        refused=refused,
        failed={part.seed: part.reason for part in parts if part.status == "failed"},
        undefined={quantity: unknown for quantity, unknown in undefined.items() if unknown},
        blocked={part.seed: part.reason for part in parts if part.status == "blocked"},
        provenance={part.seed: part.made for part in parts if part.made},
        measures=dict(measures),
    )
