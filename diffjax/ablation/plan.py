"""A budget as tasks: the networks to train, each once, and what to measure of each.

Two points whose configs differ in nothing that training depends on share one run. A run's id is a hash of what does
change it: the resolved config but for its paths, its intervals, the devices, and how it is drawn from and measured.
"""

import hashlib
import json
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

LATER = ("sampler.", "eval.", "checkpoint.")  # keys of how a run is drawn from and measured, not of its training
CHECKPOINT = "checkpoint.step"  # the one key that no config has: the step to measure, for a curve
IRRELEVANT = ("train.keep", "train.profile", "data.data_dir")


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
        if point.compute:
            _computation(point, plan, root)
        else:
            _task(point, plan, root).evaluations.append(_evaluation(point, plan, root))
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


def _computation(point: Point, plan: dict[str, Task], root: Path) -> None:
    """Adds what needs no training of its own: one task for each function and seed."""
    path, name = point.compute.__code__.co_filename, point.compute.__name__
    identity = _hash({"function": f"{Path(path).stem}.{name}", "seed": point.seed})
    needs = _needs(point.keys, plan, root)
    code = code_of_function(path, name, (run.code for run in needs))
    task = plan.setdefault(identity, Task(identity, point.seed, code, source=name, compute=point.compute))
    if task.compute is not point.compute:
        raise UserError(f"grid: two functions are called {name}, and their runs would be one; give each its own name")
    task.needs = _once(*task.needs, *needs)
    located = {key: _located(value, plan, root) for key, value in point.keys.items()}
    is_what = {key: _identity(value) for key, value in point.keys.items()}
    task.evaluations.append(Evaluation(_hash(is_what), point.where, located, code))


def _evaluation(point: Point, plan: dict[str, Task], root: Path) -> Evaluation:
    """What is measured at a point."""
    located = {key: _located(value, plan, root) for key, value in point.keys.items()}
    checkpoint = located.pop(CHECKPOINT, None)
    config = laid(configs.load(point.config), located | _seed(point))
    if not config.eval.metrics:
        raise UserError(f"grid: nothing is measured at {dict(point.where)}; give eval.metrics")
    leaves = {path: value for path, value in configs.flatten(config).items() if path.startswith(LATER)}
    leaves |= {key: _identity(value) for key, value in point.keys.items() if isinstance(value, Run)}
    keys = {key: value for key, value in located.items() if key.startswith(LATER)}
    metrics = [":".join(full(name, config.eval.features)) for name in config.eval.metrics]
    code = code_of(config, metrics, (run.code for run in _needs(point.keys, plan, root)))
    identity = _hash({**leaves, CHECKPOINT: checkpoint})
    return Evaluation(identity, point.where, keys, code, config, checkpoint)


def _seed(point: Point) -> dict[str, int]:
    return {} if point.seed is None else {"seed": point.seed}


def _task(point: Point, plan: dict[str, Task], root: Path) -> Task:
    """The training run of a point: the one that is planned already, or a new one."""
    changes = {key: value for key, value in point.keys.items() if not key.startswith(LATER)}
    drawing = {key: value for key, value in point.keys.items() if key.startswith("sampler.")}
    needs = _needs(point.keys, plan, root)
    located = {key: _located(value, plan, root) for key, value in changes.items()}
    seed = _seed(point)
    config = laid(configs.load(point.config), located | seed)
    identity = run_id(config, {key: _identity(value) for key, value in changes.items() if isinstance(value, Run)})
    if identity not in plan:
        # Measured afterwards, as often as is asked; drawn from as `_picture` says.
        whole = laid(config, {**drawing, "eval.metrics": (), "eval.every": 0, "eval.best": ""})
        plan[identity] = Task(identity, config.seed, code_of(whole), whole, point.config, located | seed)
    task = plan[identity]
    task.needs = _once(*task.needs, *needs)
    return task


def _once(*tasks: Task) -> tuple[Task, ...]:
    """Each of them once, in their order."""
    return tuple({task.id: task for task in tasks}.values())


def _needs(keys: Mapping[str, Any], plan: dict[str, Task], root: Path) -> list[Task]:
    """The runs that are values of a point's keys."""
    return [_needed(value, plan, root) for value in keys.values() if isinstance(value, Run)]


def _needed(run: Run, plan: dict[str, Task], root: Path) -> Task:
    return _task(Point(config=run.config, keys=dict(run.keys)), plan, root)


def _located(value: Any, plan: dict[str, Task], root: Path) -> Any:
    """A value as a config takes it: of a run its directory."""
    return str(_needed(value, plan, root).workdir(root)) if isinstance(value, Run) else value


def _identity(value: Any) -> Any:
    """A value as a hash takes it: of a run what it is, not where."""
    return {"config": value.config, "keys": dict(value.keys)} if isinstance(value, Run) else value


def run_id(config: ConfigDict, runs: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that change with whatever may change what is trained."""
    leaves = {
        path: value
        for path, value in configs.flatten(config).items()
        if not path.startswith(LATER)
        and path not in IRRELEVANT
        and (path == "train.steps" or not configs.may_change(path))
    }
    return _hash(leaves | dict(runs))


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


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]
