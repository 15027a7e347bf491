"""Cells from run directories: reads what each seed gave to a place, then combines the seeds of each place.

A score that is not finite fails its own quantity alone. If none of a seed's wanted scores is finite, the seed failed.
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
from diffjax.host.json_files import read_json, strict
from diffjax.metrics import Metric
from diffjax.metrics.protocol import differences
from diffjax.workdir.directory import PLACE

KEPT = (*PLACE, "nfe", "weights", "step")  # the entries of a measurement's provenance that cells keep


class Part(NamedTuple):
    """What one seed gave to a place."""

    seed: int
    run: str  # its id
    status: str  # "done", "failed", "blocked" (it raised an exception, or needs a run that failed) or "not run"
    reason: str = ""
    scores: Mapping[str, Metric] = {}
    undefined: Mapping[str, str] = {}  # the wanted scores that are not finite, with the reasons
    provenance: Mapping[str, Any] = {}  # if done or failed: by which code, where and how it was made
    today: bool = True  # whether that is today's code


def collect(experiment: Experiment, budget: Budget, tasks: Iterable[Task], root: Path) -> Cells:
    """The cells of a budget as the run directories have them now.

    Some places may leave a quantity unmeasured. Raises UserError for a score that no place gives.
    """
    by_place: dict[tuple, list[Part]] = {}
    for task in tasks:
        for evaluation in task.evaluations:
            part = _read(task, evaluation, set(budget.measures.values()), root)
            if part.provenance:
                part = part._replace(today=made_by([task.code, evaluation.code], part.provenance["code"]))
            by_place.setdefault(_key(evaluation.where), []).append(part)
    places = [place for place in experiment.paper.places() if _key(place) in by_place]
    cells = [_combined(place, _of_one_code(by_place[_key(place)]), budget.measures) for place in places]
    measured = {name for parts in by_place.values() for part in parts for name in part.scores}
    for quantity, name in budget.measures.items():
        if name not in measured and all(cell.status == "done" for cell in cells):
            scores = ", ".join(sorted(measured))
            raise UserError(f"experiment: measures {quantity} by {name!r}, which must be a measured score: {scores}")
    return Cells(experiment.paper, cells)


def _key(where: Where) -> tuple:
    return tuple(sorted(where.items()))


# --------------------------------------------------------------------------------------------------------------- read


def _read(task: Task, evaluation: Evaluation, wanted: Collection[str], root: Path) -> Part:
    """One seed's part: all of its scores, and which of the wanted ones are not finite."""
    state, workdir = state_of(task, root), task.workdir(root)
    training = _training_place(workdir)
    keys = {key: _placeless(value, root) for key, value in evaluation.keys.items()}
    how = {"command": _placeless(task.command(), root), "measured with": keys, "evaluation": evaluation.id}
    reason = _placeless(state.reason, root)
    path = evaluation.path(workdir)
    good_checkpoint = evaluation.checkpoint is not None and path.is_file()  # measured before the run failed
    if state.status == "failed" and not good_checkpoint:
        return Part(task.seed, task.id, "failed", reason, provenance=training | {"code": [state.code]} | how)
    if not path.is_file():
        reason = reason if state.status == "blocked" else _placeless(raised(workdir, RUN, evaluation.id), root)
        return Part(task.seed, task.id, "blocked" if reason else "not run", reason)
    content = read_json(path, needs=("metrics", "provenance"))
    record = content["provenance"]
    provenance = {name: record[name] for name in KEPT if record.get(name) is not None}
    provenance = strict(provenance | {"code": [state.code, record["code"]]} | how)
    if any(provenance.get(name) != value for name, value in training.items()):
        provenance["trained"] = training  # elsewhere, or at another commit
    if state.status in ("done", "trained") and training:
        result = read_json(workdir / "result.json", workdir, ("seconds",))
        provenance["took"] = result["seconds"]  # for training
    entries = cost_of(workdir) | {score["name"]: score for score in content["metrics"]}
    scores = {name: Metric(name, float(entry["value"]), entry["protocol"]) for name, entry in entries.items()}
    values = {name: metric.value for name, metric in scores.items() if name in wanted}
    undefined = {
        name: f"{name} is {value}: {entries[name]['meaning']}"
        for name, value in values.items()
        if not math.isfinite(value)
    }
    if undefined and undefined.keys() == values.keys():
        return Part(task.seed, task.id, "failed", next(iter(undefined.values())), scores, provenance=provenance)
    return Part(task.seed, task.id, "done", "", scores, undefined, provenance)


def _placeless(value: Any, root: Path) -> Any:
    """Text with DIR in place of the folder of the run directories, as in commands; other values as they are."""
    return value.replace(f"{root}/", "DIR/") if isinstance(value, str) else value


def _training_place(workdir: Path) -> dict[str, Any]:
    """Where a run was trained: hardware and commit; {} for computations."""
    path = workdir / "config.json"
    config = read_json(path, workdir) if path.is_file() else {}
    return {name: config[name] for name in PLACE if name in config}


# ------------------------------------------------------------------------------------------------------------ combine


def made_by(code: Sequence[str], by: Sequence[str]) -> bool:
    """Whether hashes `by` agree with `code`: that of the training and, unless the run failed, of the measurement."""
    return list(by) == list(code[: len(by)])


def _of_one_code(parts: Sequence[Part]) -> list[Part]:
    """The seeds that one version of the code made; the others become "blocked".

    That is today's code or, if it has made none, the code that made most. A failed run has the hash of its training
    alone, and goes with seeds of the same training, whatever code measured those.
    """
    finished = [part for part in parts if part.provenance]
    if all(part.today for part in finished):
        return list(parts)
    if any(part.today for part in finished):
        kept = {part.seed for part in finished if part.today}
    else:
        codes = [part.provenance["code"] for part in finished]
        groups = [{part.seed for part in finished if made_by(code, part.provenance["code"])} for code in codes]
        kept = max(groups, key=len)
    reason = "made by other code than the other seeds; --rerun-stale makes all by the same"
    return [
        part if part.seed in kept or not part.provenance else Part(part.seed, part.run, "blocked", reason)
        for part in parts
    ]


def protocols_differ(differences: Iterable[str], values: Mapping[int, float]) -> str:
    """Why a quantity is refused whose seeds were measured differently, with their values."""
    numbers = ", ".join(f"{value:.6g} (seed {seed})" for seed, value in sorted(values.items()))
    return f"protocols differ: {', '.join(sorted(differences))}; {numbers}"


def _combined(where: Where, parts: Sequence[Part], measures: Mapping[str, str]) -> Cell:
    """The cell of a place from all of its seeds.

    A quantity that was not measured alike for all of them is refused; the others stay.
    """
    values, protocols, refused, undefined = {}, {}, {}, {}
    for quantity, name in measures.items():
        metrics = {part.seed: part.scores[name] for part in parts if part.status == "done" and name in part.scores}
        if not metrics:
            continue
        protocol = next(iter(metrics.values())).protocol
        reasons = {part.seed: part.undefined[name] for part in parts if part.seed in metrics and name in part.undefined}
        differing = {line for metric in metrics.values() for line in differences(protocol, metric.protocol)}
        if differing:
            refused[quantity] = protocols_differ(differing, {seed: metric.value for seed, metric in metrics.items()})
        else:
            values[quantity] = {seed: metric.value for seed, metric in metrics.items() if seed not in reasons}
            protocols[quantity], undefined[quantity] = protocol, reasons
    return Cell(
        where,
        runs={part.seed: part.run for part in parts},
        values={quantity: by_seed for quantity, by_seed in values.items() if by_seed},
        protocols=protocols,
        refused=refused,
        failed={part.seed: part.reason for part in parts if part.status == "failed"},
        undefined={quantity: reasons for quantity, reasons in undefined.items() if reasons},
        blocked={part.seed: part.reason for part in parts if part.status == "blocked"},
        provenance={part.seed: part.provenance for part in parts if part.provenance},
        measures=dict(measures),
    )
