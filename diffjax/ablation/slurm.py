"""The SLURM backend: submitit's job arrays, one task each, requeued when they are preempted or run out of time."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from diffjax.ablation.plan import Task
from diffjax.ablation.work import state_of
from diffjax.errors import TAKEN, UserError

POLL = 5.0  # seconds between looks at the jobs


class Job:
    """What a job does: one task of a plan, by names alone. Asked to stop, it is queued again and goes on."""

    def __call__(self, path: str, budget: str, root: str, task_id: str) -> int:
        from diffjax.ablation.ablate import run_one
        from diffjax.errors import Taken

        try:
            run_one(path, budget, Path(root), task_id)
        except Taken:
            return TAKEN
        return 0

    def checkpoint(self, *arguments: str) -> Any:
        """The same again: a run continues from its last checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *arguments)


def run(
    tasks: Sequence[Task], root: Path, path: str, budget: str, hours: float, partition: str, say: Callable[[str], None]
) -> None:
    """Submits what is missing, what others need first, and waits. Raises UserError where there is no scheduler."""
    submitit = _submitit()
    todo = [task for task in tasks if state_of(task, root).status not in ("done", "failed")]
    needed = {need.id for task in todo for need in task.needs}
    for wave in ([t for t in todo if t.id in needed], [t for t in todo if t.id not in needed]):
        if wave:
            _array(submitit, wave, root, path, budget, hours, partition, say)


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UserError("--backend: slurm needs submitit; pip install -e '.[slurm]'") from error
    return submitit


def _array(
    submitit: Any, wave: Sequence[Task], root: Path, path: str, budget: str, hours: float, partition: str, say: Callable
) -> None:
    """One job array, and its end."""
    logs = root / "slurm"
    try:
        executor = submitit.SlurmExecutor(folder=logs, max_num_timeout=1000)
        options = {"time": max(int(hours * 60), 1), "job_name": "diffjax", "ntasks_per_node": 1}
        executor.update_parameters(**options, **({"partition": partition} if partition else {}))
        jobs = executor.map_array(
            Job(), *zip(*((str(Path(path).resolve()), budget, str(root.resolve()), t.id) for t in wave), strict=True)
        )
    except Exception as error:  # whatever sbatch says, or that there is none
        raise UserError(f"--backend: slurm cannot be reached ({' '.join(str(error).split())[:300]})") from error
    say(f"{len(jobs)} jobs submitted as array {jobs[0].job_id.partition('_')[0]}, logs in {logs}")
    before = ""
    while not all(job.done() for job in jobs):
        states: dict[str, int] = {}
        for job in jobs:
            states[job.state] = states.get(job.state, 0) + 1
        now = ", ".join(f"{n} {state.lower()}" for state, n in sorted(states.items()))
        if now != before:
            say(now)
            before = now
        time.sleep(POLL)
    for task, job in zip(wave, jobs, strict=True):
        if error := job.exception():
            say(f"{task.id}: {str(error).strip().splitlines()[-1]} (see {logs})")
