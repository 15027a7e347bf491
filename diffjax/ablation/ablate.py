"""The command `ablate`: a budget of an experiment, run by a backend, then kept and shown."""

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from diffjax.ablation import ledger, local, slurm
from diffjax.ablation.cells import Cells
from diffjax.ablation.experiment import Experiment, read
from diffjax.ablation.markdown import markdown
from diffjax.ablation.plan import Task, tasks
from diffjax.ablation.work import set_aside, state_of, work
from diffjax.errors import UserError
from diffjax.progress import aside

BACKENDS = ("local", "slurm", "print")
ROOT = Path("runs/ablations")


def ablate(
    path: str,
    budget: str,
    backend: str = "local",
    root: Path = ROOT,
    slots: int = 0,
    rerun_stale: bool = False,
    partition: str = "",
) -> None:
    """Runs what is missing of a table and prints it. Raises UserError, before anything runs, for a user's mistakes.

    Runs live in `root`, each in a directory of its own, named by what it is: an ablation can be stopped, moved to
    another machine, and merged with another by copying its directories.
    """
    if slots < 0:
        raise UserError(f"--slots: {slots} is not a number of processes; at least 1, or 0 for what this machine has")
    experiment = read(path)
    plan = tasks(experiment.budget(budget), root)
    if rerun_stale:
        redo(plan, root)
    command = commands(experiment, budget, root)
    if backend == "print":
        for task in plan:
            if state_of(task, root).status not in ("done", "failed"):
                print(shlex.join(["python", "launch.py", *command(task)[2:]]))
        return
    crashed: dict[str, str] = {}
    if backend == "slurm":
        slurm.run(plan, root, path, budget, experiment.budget(budget).hours, partition, aside)
    else:
        crashed = local.run(plan, root, command, local.slots(slots), Show()).crashed
    finish(experiment, budget, plan, root)
    for task_id, said in crashed.items():
        aside(f"{task_id}: {said} (see {root / task_id / 'log.txt'})")
    if crashed:
        raise UserError(
            f"ablate: {len(crashed)} of {len(plan)} runs ended unexpectedly; the same command tries them again"
        )


def run_one(path: str, budget: str, root: Path, task_id: str) -> None:
    """One task of a plan, in this process: what every backend starts."""
    plan = {task.id: task for task in tasks(read(path).budget(budget), root)}
    if task_id not in plan:
        raise UserError(f"--run: {task_id!r} is no run of {path} at {budget}; there are {', '.join(plan)}")
    work(plan[task_id], root, aside)


def finish(experiment: Experiment, name: str, plan: Sequence[Task], root: Path) -> Cells:
    """Collects the cells, writes them into the ledger and prints the table."""
    cells = ledger.collect(experiment, experiment.budget(name), plan, root)
    kept = ledger.keep(experiment, name, cells)
    print(markdown(experiment, name, cells, plan))
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


class Show:
    """Says how far an ablation has come: on a terminal in one line that changes, elsewhere whenever something does."""

    EVERY = 60.0  # seconds, where it is no terminal

    def __init__(self):
        self.said, self.counts, self.live = -1e9, {}, sys.stderr.isatty()

    def __call__(self, progress: local.Progress) -> None:
        counts = progress.counts()
        ended = not progress.running and not progress.elsewhere
        if self.live:
            end = "\n" if ended else ""
            print(f"\r\x1b[2K{progress.line()}", end=end, file=sys.stderr, flush=True)
        elif counts != self.counts or time.monotonic() - self.said > self.EVERY:
            aside(progress.line())
            self.said, self.counts = time.monotonic(), counts
