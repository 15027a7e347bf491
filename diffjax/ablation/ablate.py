"""The command `ablate`: a budget of an experiment, run by a backend, then kept and shown."""

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from diffjax.ablation import ledger, local, slurm, thumbnails
from diffjax.ablation.cells import Cells
from diffjax.ablation.collect import collect
from diffjax.ablation.experiment import Experiment, read
from diffjax.ablation.markdown import markdown
from diffjax.ablation.plan import Task, tasks, waves
from diffjax.ablation.progress import Show
from diffjax.ablation.raised import mistakes
from diffjax.ablation.work import ENDED, is_over, set_aside, state_of, work
from diffjax.errors import UserError
from diffjax.progress import aside
from diffjax.workdir import commit

ROOT = Path("runs/ablations")


def ablate(
    path: str,
    budget: str,
    backend: str = "local",
    root: Path = ROOT,
    slots: int = 0,
    rerun_stale: bool = False,
    missing: bool = False,
    slurm_options: Sequence[str] = (),
) -> None:
    """Runs what is missing of a table and prints it. Raises UserError, before anything runs, for a user's mistakes.

    Runs live in `root`, each in a directory of its own, named by what it is: an ablation can be stopped, moved to
    another machine, and merged with another by copying its directories. `missing` goes on without them: what the ledger
    has of today's code is not run again. Raises UserError after printing, too, where a run is missing in the end, or
    needs one that failed; a run that failed by itself is a result like any other.
    """
    if slots < 0:
        raise UserError(f"--slots: {slots} is not a number of processes; at least 1, or 0 for what this machine has")
    if slurm_options and backend != "slurm":
        raise UserError(f"--slurm: {slurm_options[0]} goes with --backend=slurm, not with {backend}")
    experiment = read(path)
    asked = slurm.options(slurm_options, budget, experiment.budget(budget).hours)
    plan = tasks(experiment.budget(budget), root)
    ledger.cells_of(experiment, budget)  # what is wrong with it is said before anything runs
    if rerun_stale:
        redo(plan, root)
    runs = ledger.missing(experiment, budget, plan, root) if missing else plan
    if missing:
        aside(f"the ledger has {len(plan) - len(runs)} of {len(plan)} runs")
    if budget != ledger.SMOKE and commit().endswith("+"):
        aside("the code was changed since its commit: the ledger will say so of what is run now; better commit first")
    command = commands(experiment, budget, root)
    if backend == "print":
        for line in lines(runs, root, command):
            print(line)
        return
    if backend == "slurm":
        ended = slurm.run(runs, slurm.Job(run_one, str(Path(path).resolve()), budget, root.resolve()), asked, aside)
    else:
        ended = local.run(runs, root, command, local.slots(slots), Show()).crashed
    finish(experiment, budget, plan, root)
    for task_id, said in ended.items():
        aside(f"{task_id}: {said} (see {root / task_id / 'log.txt' if backend == 'local' else root / slurm.LOGS})")
    complain(runs, root)


def complain(plan: Sequence[Task], root: Path) -> None:
    """Raises UserError, in one line, where something of the plan is still missing, and says why."""
    states = {task.id: state_of(task, root) for task in plan}
    blocked = [state.reason for state in states.values() if state.status == "blocked"]
    missing = [task_id for task_id, state in states.items() if state.status not in ENDED]
    if blocked:
        raise UserError(f"ablate: {len(blocked)} of {len(plan)} runs were not made: {blocked[0]}")
    if missing:
        raise UserError(
            f"ablate: {len(missing)} of {len(plan)} runs are not done ({', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}); the same command goes on with them"
        )


def lines(plan: Sequence[Task], root: Path, command: Callable[[Task], list[str]]) -> list[str]:
    """A shell line for each run that is missing; where some need others, comments say what must have ended first."""
    missing = [task for task in plan if not is_over(task, root)]
    groups = waves(missing)
    printed = []
    for i, group in enumerate(groups):
        if len(groups) > 1:
            then = "first these" if not i else "when all above have ended (not before: it needs their runs)"
            printed.append(f"# {then}:")
        printed += [shlex.join(["python", "launch.py", *command(task)[2:]]) for task in group]
    return printed


def run_one(path: str, budget: str, root: Path, task_id: str) -> None:
    """One task of a plan, in this process: what every backend starts."""
    plan = {task.id: task for task in tasks(read(path).budget(budget), root)}
    if task_id not in plan:
        raise UserError(f"--run: {task_id!r} is no run of {path} at {budget}; there are {', '.join(plan)}")
    work(plan[task_id], root, aside)


def finish(experiment: Experiment, name: str, plan: Sequence[Task], root: Path) -> Cells:
    """Collects the cells, writes them into the ledger, and prints the table as the ledger has it now.

    Raises UserError, with nothing written, where nothing ever came of the table but a mistake of the user's.
    """
    cells = collect(experiment, experiment.budget(name), plan, root)
    found, known = mistakes(task.workdir(root) for task in plan), ledger.cells_of(experiment, name)
    if found and not any(cell.finished for cell in (*cells.cells, *(known.cells if known else ()))):
        raise UserError(found[0])
    kept = ledger.keep(experiment, name, cells, plan, partial(thumbnails.keep, experiment, plan, root))
    print(markdown(experiment, name, ledger.cells_of(experiment, name) or cells, plan))
    if kept:
        aside(f"kept in {kept}")
    return cells


def redo(plan: Sequence[Task], root: Path) -> None:
    """Sets aside the runs that older code made, so that they are run again."""
    for task in plan:
        for path in set_aside(task, root):
            aside(f"made by older code, now set aside: {path}")


def commands(experiment: Experiment, budget: str, root: Path) -> Callable[[Task], list[str]]:
    """The command line of one task."""

    def command(task: Task) -> list[str]:
        return [
            *local.this_program(), "ablate", str(experiment.path), f"--budget={budget}", f"--workdir={root}",
            f"--run={task.id}",
        ]  # fmt: skip

    return command
