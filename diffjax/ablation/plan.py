"""A budget as tasks: the networks to train, each once, and what to measure of each.

Two points whose configs differ in nothing that training depends on share one run. A run's id is a hash of what does
change it: the resolved config but for its paths, its intervals, the devices, and how it is drawn from and measured. A
run that another needs stands in the other's hash by its id: one that is trained in another way is another.
"""

import inspect
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from diffjax import config as configs
from diffjax.ablation.code import code_of, code_of_function
from diffjax.ablation.experiment import Budget
from diffjax.ablation.grid import Numbers, Point, Run
from diffjax.ablation.table import Where
from diffjax.errors import UserError
from diffjax.measures.choice import full
from diffjax.metrics.protocol import canonical_json, fingerprint

LATER = ("sampler.", "eval.", "checkpoint.")  # keys of how a run is drawn from and measured, not of its training
CHECKPOINT = "checkpoint.step"  # the one key that no config has: the step to measure, for a curve
UNWATCHED = {"eval.every": 0, "eval.best": ""}  # measured afterwards, as often as is asked, at steps that are said


@dataclass(frozen=True)
class Evaluation:
    """One measurement of a trained run, or one computation, for one place of the table."""

    id: str  # of the sampler and the evaluation alone: two places that are measured alike share it
    where: Where
    keys: Mapping[str, Any]  # what the place says of them: "sampler.steps": 10
    code: str  # of the code that draws and measures it
    config: ConfigDict | None = None  # the run's, with the sampler and the evaluation of this place
    checkpoint: int | None = None  # the step to measure; None: the last

    def path(self, workdir: Path) -> Path:
        """Where its numbers are written."""
        return workdir / "cells" / f"{self.id}.json"


@dataclass
class Task:
    """One training run, the runs it needs, and everything that is measured of it; or a function and its arguments."""

    id: str
    seed: int
    code: str  # of the code that computes it
    config: ConfigDict | None = None
    source: str = ""  # FILE.py[:VARIANT]
    changes: Mapping[str, Any] = field(default_factory=dict)  # training keys laid over it
    compute: Callable[..., Numbers] | None = None
    needs: tuple["Task", ...] = ()
    evaluations: list[Evaluation] = field(default_factory=list)

    def workdir(self, root: Path) -> Path:
        return root / self.id

    def command(self) -> str:
        """What trains it from the front door, or which function computes it."""
        if self.compute:
            return f"{self.compute.__name__} of the experiment's file, seed {self.seed}"
        words = [f"--config.{key}={_said(value)}" for key, value in self.changes.items()]
        return " ".join(["python launch.py train", f"--config={self.source}", *words, f"--workdir=DIR/{self.id}"])


def tasks(budget: Budget, root: Path) -> list[Task]:
    """The tasks of a budget, those that others need first. Raises UserError for a point whose config does not build."""
    plan: dict[str, Task] = {}
    for point in budget.grid:
        runs = _runs(point.keys, plan, root)
        if point.compute:
            _computation(point, runs, plan, root)
        else:
            _task(point, runs, plan, root).evaluations.append(_evaluation(point, runs, root))
    for task in plan.values():
        _picture(task)
    return list(plan.values())


def waves(plan: Iterable[Task]) -> list[list[Task]]:
    """The tasks in groups, each of what can be run once the groups before it are done."""
    depth: dict[str, int] = {}

    def of(task: Task) -> int:
        if task.id not in depth:
            depth[task.id] = 1 + max((of(need) for need in task.needs), default=-1)
        return depth[task.id]

    groups: dict[int, list[Task]] = {}
    for task in plan:
        groups.setdefault(of(task), []).append(task)
    return [groups[level] for level in sorted(groups)]


def _picture(task: Task) -> None:
    """Lets a run be drawn from, for its pictures, at the point of most steps; of several the one in their middle.

    One network call shows nothing of a diffusion model, and neither does the least, or the most, of eta or guidance.
    """
    there = [evaluation.config for evaluation in task.evaluations if evaluation.config is not None]
    if there:
        most = max(config.sampler.steps for config in there)
        best = [config.sampler for config in there if config.sampler.steps == most]
        with task.config.unlocked():
            task.config.sampler = best[len(best) // 2].copy_and_resolve_references()


def _computation(point: Point, runs: Mapping[str, Task], plan: dict[str, Task], root: Path) -> None:
    """Adds what needs no training of its own: one task for each function and seed."""
    path, name = inspect.unwrap(point.compute).__code__.co_filename, point.compute.__name__
    identity = _hash({"function": f"{Path(path).stem}.{name}", "seed": point.seed})
    code = code_of_function(path, name, (run.code for run in runs.values()))
    task = plan.setdefault(identity, Task(identity, point.seed, code, source=name, compute=point.compute))
    if task.compute is not point.compute:
        raise UserError(f"grid: two functions are called {name}, and their runs would be one; give each its own name")
    task.needs = _once(*task.needs, *runs.values())
    measured = _hash({**point.keys, **_ids(runs)})
    task.evaluations.append(Evaluation(measured, point.where, {**point.keys, **_places(runs, root)}, code))


def _evaluation(point: Point, runs: Mapping[str, Task], root: Path) -> Evaluation:
    """What is measured at a point."""
    located = {**point.keys, **_places(runs, root)}
    checkpoint = located.pop(CHECKPOINT, None)
    config = laid(configs.load(point.config), located | UNWATCHED | _seed(point))
    if not config.eval.metrics:
        raise UserError(f"grid: nothing is measured at {dict(point.where)}; give eval.metrics")
    leaves = _later(configs.decisive(config) | _ids(runs))
    metrics = [":".join(full(name, config.eval.features)) for name in config.eval.metrics]
    code = code_of(config, metrics, (run.code for run in runs.values()))
    identity = _hash({**leaves, CHECKPOINT: checkpoint})
    return Evaluation(identity, point.where, _later(located), code, config, checkpoint)


def _later(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Those of how a run is drawn from and measured."""
    return {key: value for key, value in keys.items() if key.startswith(LATER)}


def _seed(point: Point) -> dict[str, int]:
    return {} if point.seed is None else {"seed": point.seed}


def _task(point: Point, runs: Mapping[str, Task], plan: dict[str, Task], root: Path) -> Task:
    """The training run of a point, where `runs` are its keys' values: one that is planned already, or a new one."""
    located = {key: value for key, value in {**point.keys, **_places(runs, root)}.items() if not key.startswith(LATER)}
    drawing = {key: value for key, value in point.keys.items() if key.startswith("sampler.")}
    changes = located | _seed(point)
    config = laid(configs.load(point.config), changes)
    identity = run_id(config, _ids(runs))
    if identity not in plan:
        whole = laid(config, {**drawing, "eval.metrics": (), **UNWATCHED})  # drawn from as `_picture` says
        plan[identity] = Task(identity, config.seed, code_of(whole), whole, point.config, changes)
    task = plan[identity]
    task.needs = _once(*task.needs, *runs.values())
    return task


def _once(*tasks: Task) -> tuple[Task, ...]:
    """Each of them once, in their order."""
    return tuple({task.id: task for task in tasks}.values())


def _runs(keys: Mapping[str, Any], plan: dict[str, Task], root: Path) -> dict[str, Task]:
    """The runs that are values of a point's keys, planned."""
    asked = {key: Point(config=run.config, keys=dict(run.keys)) for key, run in keys.items() if isinstance(run, Run)}
    return {key: _task(point, _runs(point.keys, plan, root), plan, root) for key, point in asked.items()}


def _places(runs: Mapping[str, Task], root: Path) -> dict[str, str]:
    """Runs as a config takes them, and a function: by their directories."""
    return {key: str(run.workdir(root)) for key, run in runs.items()}


def _ids(runs: Mapping[str, Task]) -> dict[str, str]:
    """Runs as a hash takes them: by what they are, not where."""
    return {key: run.id for key, run in runs.items()}


def run_id(config: ConfigDict, runs: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits that change with whatever may change what is trained; of `runs` it needs, their ids."""
    leaves = configs.decisive(config) | runs
    return _hash({path: value for path, value in leaves.items() if not path.startswith(LATER)})


def laid(config: ConfigDict, keys: Mapping[str, Any]) -> ConfigDict:
    """`config` with values laid over it, as strictly as from the command line."""
    try:
        return configs.override(config, [(key, _said(value)) for key, value in keys.items()])
    except UserError as error:
        raise UserError(f"grid: {error}") from error


def _said(value: Any) -> str:
    """A value as one says it on the command line."""
    if isinstance(value, tuple) and value and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return str(value)


def _hash(keys: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits. Raises UserError for a value that JSON cannot say: no other process would know it."""
    for key, value in keys.items():
        try:
            canonical_json(value)
        except (TypeError, ValueError) as error:
            said = " ".join(f"{reprlib.repr(value)}: {error}".split())
            raise UserError(f"grid: a run cannot be known by {key}={said}") from error
    return fingerprint(keys)
