"""A budget as tasks: the networks to train, each once, and what to measure of each.

Two points whose configs differ in nothing that training depends on share one run. A run's id is a hash of the resolved
config without its paths, intervals and devices, and without how the run is sampled and measured. If a run needs another
run, that run's id is part of its hash: a run whose judge is trained differently is a different run.
"""

import inspect
import reprlib
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from diffjax import config as configs
from diffjax.ablation.code import code_of, code_of_function
from diffjax.ablation.cost import COSTS
from diffjax.ablation.experiment import Budget
from diffjax.ablation.grid import Numbers, Point, Run
from diffjax.ablation.table import Where
from diffjax.errors import UserError, suggestion
from diffjax.evaluation.choice import full
from diffjax.evaluation.table import possible_scores
from diffjax.metrics.protocol import canonical_json, fingerprint

LATER = ("sampler.", "eval.", "checkpoint.")  # keys of how a run is sampled and measured, not of its training
CHECKPOINT = "checkpoint.step"  # the one key that no config has: the step to measure, for a curve along a training
RETAINED = ("checkpoint_every", "keep")  # keys of `train` that decide which checkpoints a run leaves
UNWATCHED = {"eval.every": 0, "eval.best": ""}  # runs of a table are measured afterwards, not during training


@dataclass(frozen=True)
class Evaluation:
    """One measurement of a trained run, or one computation, for one place of the table."""

    id: str  # of the sampler and the evaluation alone: two places that are measured alike share it
    where: Where
    keys: Mapping[str, Any]  # what the place sets of these: {"sampler.steps": 10}
    code: str  # hash of the code that samples and measures it
    config: ConfigDict | None = None  # the run's, with the sampler and the evaluation of this place
    checkpoint: int | None = None  # the step to measure; None: the last

    def path(self, workdir: Path) -> Path:
        """Where its numbers are written."""
        return workdir / "cells" / f"{self.id}.json"


@dataclass
class Task:
    """One training run, the runs it needs, and all its measurements; or a function and its arguments."""

    id: str
    seed: int
    code: str  # hash of the code that computes it
    config: ConfigDict | None = None
    source: str = ""  # FILE.py[:VARIANT]
    changes: Mapping[str, Any] = field(default_factory=dict)  # training keys that override the config's
    compute: Callable[..., Numbers] | None = None
    needs: tuple["Task", ...] = ()
    evaluations: list[Evaluation] = field(default_factory=list)

    def workdir(self, root: Path) -> Path:
        return root / self.id

    def command(self) -> str:
        """The command that trains it alone, or the function that computes it."""
        if self.compute:
            return f"{self.compute.__name__} of the experiment's file, seed {self.seed}"
        flags = [f"--config.{key}={_flag_value(value)}" for key, value in self.changes.items()]
        words = ["python", "launch.py", "train", f"--config={self.source}", *flags, f"--workdir=DIR/{self.id}"]
        return shlex.join(words)


def tasks(budget: Budget, root: Path) -> list[Task]:
    """The tasks of a budget, each after those it needs.

    Raises UserError for a point with keys that its config does not have or that nothing would follow, with an invalid
    sampler, or with a checkpoint that its training does not keep, and for a quantity measured by a score that no metric
    of the grid gives.
    """
    plan: dict[str, Task] = {}
    for point in budget.grid:
        _check_keys(point)
        runs = _needed_runs(point.keys, plan, root)
        if point.compute:
            _add_computation(point, runs, plan, root)
        else:
            _training(point, runs, plan, root).evaluations.append(_evaluation(point, runs, root))
    _check_scores(budget, plan.values())
    for task in plan.values():
        _choose_film_sampler(task)
    return list(plan.values())


def waves(plan: Iterable[Task]) -> list[list[Task]]:
    """The tasks in groups, each of which can be run once the groups before it are done."""
    depths: dict[str, int] = {}

    def depth(task: Task) -> int:
        if task.id not in depths:
            depths[task.id] = 1 + max((depth(need) for need in task.needs), default=-1)
        return depths[task.id]

    groups: dict[int, list[Task]] = {}
    for task in plan:
        groups.setdefault(depth(task), []).append(task)
    return [groups[level] for level in sorted(groups)]


def _check_keys(point: Point) -> None:
    """Raises UserError for a key that the plan itself sets."""
    planned = UNWATCHED | ({} if point.compute else _seed(point))
    for key, value in planned.items():
        if point.keys.get(key, value) != value:
            reason = (
                "is counted by `seeds`" if key == "seed" else "has no effect: runs are measured after their training"
            )
            raise UserError(f"grid: at {dict(point.where)}: {key}={point.keys[key]} {reason}; leave it out")


def _check_scores(budget: Budget, plan: Iterable[Task]) -> None:
    """Raises UserError for a misspelt score, before anything is trained; the scores of functions are not known yet."""
    evaluations = [evaluation for task in plan for evaluation in task.evaluations]
    if any(evaluation.config is None for evaluation in evaluations):
        return
    metrics = {metric for evaluation in evaluations for metric in _metrics(evaluation.config)}
    scores = sorted({score for metric in metrics for score in possible_scores(*metric)} | set(COSTS))
    for quantity, score in budget.measures.items():
        if score not in scores:
            known = f"must be a score of its metrics: {', '.join(scores)}{suggestion(score, scores)}"
            raise UserError(f"experiment: measures {quantity} by {score!r}, which {known}")


def _metrics(config: ConfigDict) -> list[tuple[str, str]]:
    """The (metric, feature network) of a config's `eval.metrics`."""
    return [full(name, config.eval.features) for name in config.eval.metrics]


def _choose_film_sampler(task: Task) -> None:
    """Films of a run use the sampler of its place with the most steps; of several such places, the middle one.

    One network call shows nothing of a diffusion model, and neither does the smallest or the largest eta or guidance.
    """
    samplers = [evaluation.config.sampler for evaluation in task.evaluations if evaluation.config is not None]
    if samplers:
        most_steps = max(sampler.steps for sampler in samplers)
        longest = [sampler for sampler in samplers if sampler.steps == most_steps]
        with task.config.unlocked():
            task.config.sampler = longest[len(longest) // 2].copy_and_resolve_references()


def _add_computation(point: Point, runs: Mapping[str, Task], plan: dict[str, Task], root: Path) -> None:
    """Adds a point that is computed, not trained: one task for each function and seed."""
    path, name = inspect.unwrap(point.compute).__code__.co_filename, point.compute.__name__
    task_id = _hash({"function": f"{Path(path).stem}.{name}", "seed": point.seed} | _ids(runs))
    code = code_of_function(path, name, (run.code for run in runs.values()))
    task = plan.setdefault(task_id, Task(task_id, point.seed, code, source=name, compute=point.compute))
    if task.compute is not point.compute:
        raise UserError(f"grid: two functions are called {name}, and their runs would be one; give each its own name")
    task.needs = _unique(*task.needs, *runs.values())
    evaluation_id = _hash({**point.keys, **_ids(runs)})
    task.evaluations.append(Evaluation(evaluation_id, point.where, {**point.keys, **_directories(runs, root)}, code))


def _evaluation(point: Point, runs: Mapping[str, Task], root: Path) -> Evaluation:
    """The measurement of a point."""
    keys = {**point.keys, **_directories(runs, root)}
    checkpoint = keys.pop(CHECKPOINT, None)
    config = laid(_loaded(point.config), keys | UNWATCHED | _seed(point))
    try:
        configs.build("sampler", config.sampler)  # a mistake of one place would else appear after its training
    except UserError as error:
        raise UserError(f"grid: at {dict(point.where)}: {error}") from error
    if not config.eval.metrics:
        raise UserError(f"grid: nothing is measured at {dict(point.where)}; set eval.metrics")
    if checkpoint is not None:
        _check_checkpoint(checkpoint, config.train, point.where)
    leaves = _later(configs.decisive(config) | _ids(runs))
    code = code_of(config, [":".join(metric) for metric in _metrics(config)], (run.code for run in runs.values()))
    evaluation_id = _hash({**leaves, CHECKPOINT: checkpoint})
    return Evaluation(evaluation_id, point.where, _later(keys), code, config, checkpoint)


def _check_checkpoint(step: Any, train: ConfigDict, where: Where) -> None:
    """Raises UserError unless a training to its end leaves a checkpoint of this step."""
    every = train.checkpoint_every or train.steps
    saved = sorted({*range(every, train.steps, every), train.steps})
    problem = ""
    if isinstance(step, bool) or not isinstance(step, int) or step not in saved:
        problem = f"must be one of the steps with a checkpoint, every {every} and the last, {train.steps}"
    elif step not in saved[-train.keep :]:
        problem = f"is not among the last {train.keep}, which train.keep={train.keep} leaves; raise that"
    if problem:
        raise UserError(f"grid: at {dict(where)}: {CHECKPOINT}={step} {problem}")


def _later(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of how a run is sampled and measured."""
    return {key: value for key, value in keys.items() if key.startswith(LATER)}


def _seed(point: Point) -> dict[str, int]:
    return {} if point.seed is None else {"seed": point.seed}


def _training(point: Point, runs: Mapping[str, Task], plan: dict[str, Task], root: Path) -> Task:
    """The training run of a point, planned already or new; `runs` are the runs among the values of its keys."""
    keys = {
        key: value for key, value in {**point.keys, **_directories(runs, root)}.items() if not key.startswith(LATER)
    }
    sampler_keys = {key: value for key, value in point.keys.items() if key.startswith("sampler.")}
    changes = keys | _seed(point)
    config = laid(_loaded(point.config), changes)
    task_id = run_id(config, _ids(runs))
    if task_id not in plan:
        # The sampler is replaced by `_choose_film_sampler`.
        run_config = laid(config, {**sampler_keys, "eval.metrics": (), **UNWATCHED})
        code = code_of(run_config, needs=(run.code for key, run in runs.items() if not key.startswith(LATER)))
        plan[task_id] = Task(task_id, config.seed, code, run_config, point.config, changes)
    task = plan[task_id]
    if CHECKPOINT in point.keys or any(evaluation.checkpoint is not None for evaluation in task.evaluations):
        _check_retained(task, config, point.where)
    task.needs = _unique(*task.needs, *runs.values())
    return task


def _check_retained(task: Task, config: ConfigDict, where: Where) -> None:
    """Raises UserError if a point's config leaves other checkpoints than the run, which is the same otherwise."""
    for key in RETAINED:
        if config.train[key] != task.config.train[key]:
            raise UserError(
                f"grid: at {dict(where)}: train.{key}={config.train[key]} must be {task.config.train[key]}, as at "
                "another place of the same run"
            )


def _unique(*tasks: Task) -> tuple[Task, ...]:
    """The tasks in their order, each once."""
    return tuple({task.id: task for task in tasks}.values())


def _needed_runs(keys: Mapping[str, Any], plan: dict[str, Task], root: Path) -> dict[str, Task]:
    """Plans the runs among the values of a point's keys: {key: its task}."""
    points = {key: Point(config=run.config, keys=dict(run.keys)) for key, run in keys.items() if isinstance(run, Run)}
    return {key: _training(point, _needed_runs(point.keys, plan, root), plan, root) for key, point in points.items()}


def _directories(runs: Mapping[str, Task], root: Path) -> dict[str, str]:
    """Runs as configs and functions take them: by directory."""
    return {key: str(run.workdir(root)) for key, run in runs.items()}


def _ids(runs: Mapping[str, Task]) -> dict[str, str]:
    """Runs as hashes take them: by what they are, not where."""
    return {key: run.id for key, run in runs.items()}


def run_id(config: ConfigDict, runs: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits that depend on all that may change a training; `runs` are the ids of those it needs."""
    leaves = configs.decisive(config) | runs
    return _hash({path: value for path, value in leaves.items() if not path.startswith(LATER)})


def _loaded(path: str) -> ConfigDict:
    """The config of a grid, FILE.py[:VARIANT]."""
    try:
        return configs.load(path)
    except UserError as error:
        raise error.about("`config`: ", "grid: ") from error


def laid(config: ConfigDict, keys: Mapping[str, Any]) -> ConfigDict:
    """`config` with overrides, checked as strictly as from the command line."""
    try:
        return configs.override(config, [(key, _flag_value(value)) for key, value in keys.items()])
    except UserError as error:
        raise UserError(f"grid: {str(error).replace('`config.', '`')}") from error  # these keys are no flags


def _flag_value(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, tuple) and value and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return str(value)


def _hash(keys: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits.

    Raises UserError for a value that JSON cannot represent, because no other process would recognise it.
    """
    for key, value in keys.items():
        try:
            canonical_json(value)
        except (TypeError, ValueError) as error:
            reason = " ".join(f"{reprlib.repr(value)}: {error}".split())
            raise UserError(f"grid: a run cannot be identified by {key}={reason}") from error
    return fingerprint(keys)
