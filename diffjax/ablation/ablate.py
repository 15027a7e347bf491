"""The command `ablate`: runs a budget of an experiment on a backend, keeps its cells, and prints the table."""

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
from diffjax.host.progress import to_stderr
from diffjax.host.surroundings import commit

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
    """Runs what is missing of a table, then prints it.

    Each run has a directory in `root`, named by its id. An ablation can therefore be stopped, moved to another machine,
    and merged with another one by copying directories. With `missing` the directories are not needed: only what the
    ledger lacks for today's code is run.

    Raises UserError for user errors, before anything runs; and after printing, if a run is still missing or needs one
    that failed. A run that failed by itself is a result like any other.
    """
    if slots < 0:
        raise UserError(f"`slots`: {slots} must be a number of processes, at least 1; or 0 for the machine's default")
    if slots and backend != "local":
        raise UserError(f"`slots`: {slots} needs `backend=local`, not {backend}")
    if slurm_options and backend != "slurm":
        raise UserError(f"`slurm`: {slurm_options[0]} needs `backend=slurm`, not {backend}")
    root = root.resolve() if backend == "slurm" else root  # its jobs write paths into what they record
    experiment = read(path)
    job_options = slurm.options(slurm_options, budget, experiment.budget(budget).hours)
    plan = tasks(experiment.budget(budget), root)
    ledger.cells_of(experiment, budget)  # raises now, not after the runs, if the ledger is damaged
    if backend != "print":
        ledger.check_writable(experiment, budget)  # likewise
    pool = local.slots(slots) if backend == "local" else []
    if rerun_stale:
        redo(plan, root)
    runs = ledger.missing(experiment, budget, plan, root) if missing else plan
    if missing:
        to_stderr(f"the ledger has {len(plan) - len(runs)} of {len(plan)} runs")
    if budget != ledger.SMOKE and commit().endswith("+"):
        to_stderr("the code has uncommitted changes, which the ledger will record for these runs; better commit first")
    command = commands(experiment, budget, root)
    if backend == "print":
        for line in lines(runs, root, command):
            print(line)
        return
    if backend == "slurm":
        job = slurm.Job(run_one, str(Path(path).resolve()), budget, root)
        crashes = slurm.run(runs, job, job_options, to_stderr)
    else:
        crashes = local.run(runs, root, command, pool, Show()).crashed
    finish(experiment, budget, plan, root, [
        f"{task_id}: {reason} (see {root / task_id / 'log.txt' if backend == 'local' else root / slurm.LOGS})"
        for task_id, reason in crashes.items()
    ])  # fmt: skip
    complain(runs, root)


def complain(plan: Sequence[Task], root: Path) -> None:
    """Raises UserError if any task of the plan is not done, and says why."""
    states = {task.id: state_of(task, root) for task in plan}
    blocked = [state.reason for state in states.values() if state.status == "blocked"]
    missing = [task_id for task_id, state in states.items() if state.status not in ENDED]
    if blocked:
        raise UserError(f"ablate: {len(blocked)} of {len(plan)} runs could not be made: {blocked[0]}")
    if missing:
        raise UserError(
            f"ablate: {len(missing)} of {len(plan)} runs are not done ({', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}); the same command continues them"
        )


def lines(plan: Sequence[Task], root: Path, command: Callable[[Task], list[str]]) -> list[str]:
    """A shell line for each missing run. If some runs need others, comments say which must have ended first."""
    groups = waves([task for task in plan if not is_over(task, root)])
    output = []
    for i, group in enumerate(groups):
        if len(groups) > 1:
            output.append("# once all lines above have ended (these need their runs):" if i else "# first these:")
        output += [shlex.join(["python", "launch.py", *command(task)[2:]]) for task in group]
    return output


def run_one(path: str, budget: str, root: Path, task_id: str) -> None:
    """Runs one task of a plan in this process; every backend starts this."""
    plan = {task.id: task for task in tasks(read(path).budget(budget), root)}
    if task_id not in plan:
        raise UserError(f"`run`: {task_id!r} is not a run of {path} at {budget}; it must be one of {', '.join(plan)}")
    work(plan[task_id], root, to_stderr)


def finish(experiment: Experiment, name: str, plan: Sequence[Task], root: Path, crashes: Sequence[str] = ()) -> Cells:
    """Collects the cells, merges them into the ledger, prints the table as the ledger then has it, then the `crashes`.

    Raises UserError, and writes nothing, if a user error is all that the table has ever produced. If the ledger cannot
    be written, prints the cells as they are, and then raises.
    """
    cells = collect(experiment, experiment.budget(name), plan, root)
    errors, stored = mistakes(task.workdir(root) for task in plan), ledger.cells_of(experiment, name)
    if errors and not any(cell.finished for cell in (*cells.cells, *(stored.cells if stored else ()))):
        raise UserError(errors[0])
    merged: Cells | None = None
    try:
        path = ledger.keep(experiment, name, cells, plan, partial(thumbnails.keep, experiment, plan, root))
        merged = ledger.cells_of(experiment, name)
    finally:  # the table took hours: whatever becomes of the ledger, it is printed
        shown = merged or ledger.comparable(cells, experiment.budget(name).measures)
        print(markdown(experiment, name, shown, plan))
        for crash in crashes:
            to_stderr(crash)
    if path:
        to_stderr(f"kept in {path}")
    return cells


def redo(plan: Sequence[Task], root: Path) -> None:
    """Sets aside what older code made, so that it is made again."""
    for task in plan:
        for path in set_aside(task, root):
            to_stderr(f"made by older code, set aside as {path}")


def commands(experiment: Experiment, budget: str, root: Path) -> Callable[[Task], list[str]]:
    """A function that gives the command line of a task."""

    def command(task: Task) -> list[str]:
        return [
            *local.this_program(), "ablate", str(experiment.path), f"--budget={budget}", f"--workdir={root}",
            f"--run={task.id}",
        ]  # fmt: skip

    return command
