"""The SLURM backend: submitit's job arrays, one task each, queued again when they are preempted or run out of time.

Signals tell it: SIGTERM of the first, and of the second one that submitit has asked for, 90 seconds before. Either lets
a training stop after the step under way, with a checkpoint; then the job goes back into the queue.
"""

import contextlib
import io
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from diffjax.ablation.experiment import ON_GPU
from diffjax.ablation.plan import Task
from diffjax.ablation.work import ENDED, is_made, state_of
from diffjax.errors import TAKEN, Taken, UserError
from diffjax.workdir import is_held

LOGS = "slurm"  # a folder among the runs
POLL = 5.0  # seconds between looks at the jobs
AGAIN = 60.0  # likewise at runs that another process had in hand
GPUS = ("gres", "gpus", "gpus_per_node", "gpus_per_task")  # how one may ask for them
OURS = ("job_name", "ntasks", "ntasks_per_node", "nodes", "array", "output", "error", "signal")  # a run is one process


class Asked(BaseException):
    """The scheduler has asked for an end. No Exception, which would be written down as one that the run raised."""


@dataclass(frozen=True)
class Job:
    """What a job does: one task of a plan, by names alone. Asked to stop, it is queued again and goes on."""

    run_one: Callable[[str, str, Path, str], None]  # of the next three, and the task's id
    path: str  # the experiment's file
    budget: str
    root: Path

    def __call__(self, task_id: str) -> int:
        try:
            with _listening():
                self.run_one(self.path, self.budget, self.root, task_id)
        except Taken:
            return TAKEN
        except Asked:
            _queue_again()
        return 0

    def checkpoint(self, task_id: str) -> Any:
        """The same again: a run continues from its last checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, task_id)


@contextlib.contextmanager
def _listening() -> Iterator[None]:
    """Raises Asked on SIGTERM and on submitit's signal; while it trains, once it has stopped and saved a checkpoint."""
    ours = _signal()

    def ask(number: int, frame: Any) -> None:
        for asking in (signal.SIGTERM, ours):
            signal.signal(asking, signal.SIG_IGN)  # it has been heard
        raise Asked

    before = {ours: signal.signal(ours, lambda number, frame: signal.raise_signal(signal.SIGTERM)),
              signal.SIGTERM: signal.signal(signal.SIGTERM, ask)}  # fmt: skip
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _queue_again() -> NoReturn:
    """Ends this job, so that it is run again, unless the scheduler ends it for good, or has queued it again itself."""
    import submitit

    job = submitit.JobEnvironment().job_id
    squeue = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
    if subprocess.run(squeue, capture_output=True, text=True).stdout.strip() == "RUNNING":
        signal.raise_signal(_signal())  # on which submitit queues it again, and exits
    sys.exit(f"job {job} is ended by the scheduler")


def _signal() -> signal.Signals:
    """The one on which submitit queues a job again."""
    import submitit

    return signal.Signals[f"SIG{submitit.JobEnvironment.USR_SIG}"]


def options(given: Sequence[str], budget: str, hours: float) -> dict[str, Any]:
    """What a job asks of the cluster, by sbatch's long options: the defaults, then what is `given`.

    By default 2 cores, the budget's limit of time, and a GPU for a budget that is of one. "KEY=" drops a default, "KEY"
    alone is a flag. Raises UserError for what is no option; what is one sbatch knows, and says.
    """
    found: dict[str, Any] = {"time": max(int(hours * 60), 1), "cpus_per_task": 2}
    asked = {}
    for word in given:
        key, equals, value = word.partition("=")
        key = key.strip().removeprefix("--").replace("-", "_")
        if not key.isidentifier():
            raise UserError(f"--slurm: {word!r} is no option; write KEY=VALUE, such as partition=gpu")
        if key in OURS:
            raise UserError(f"--slurm: {key} is not to choose here: each run is one process, in a job array")
        if key == "time" and not value.isdigit():
            raise UserError(f"--slurm: time {value!r} is not a number of minutes; write it as in time=120")
        asked[key] = int(value) if key == "time" else value if equals else True
    if budget in ON_GPU and not asked.keys() & set(GPUS):
        found["gpus_per_node"] = 1
    return {key: value for key, value in (found | asked).items() if value != ""}


def run(tasks: Sequence[Task], job: Job, asked: dict[str, Any], say: Callable[[str], None]) -> dict[str, str]:
    """Submits what is missing and waits, first what others need; what needs a run that failed is not submitted.

    What another process has in hand is left to it, and submitted again if that ends before the run does. How those
    ended that ended unexpectedly, by id. Raises UserError where there is no scheduler, or it takes no jobs.
    """
    submitit = _submitit()
    tried: set[str] = set()
    ended: dict[str, str] = {}
    elsewhere: list[Task] = []
    while True:
        wave = [task for task in tasks if task.id not in tried and _ready(task, job.root)]
        if wave:
            found = _array(submitit, wave, job, asked, say)
            tried |= {task.id for task in wave}
            ended |= {task_id: how for task_id, how in found.items() if how != TAKEN}
            elsewhere += [task for task in wave if found.get(task.id) == TAKEN]
        elif elsewhere:
            still = _wait_for_others(elsewhere, job.root, say)
            tried -= {task.id for task in elsewhere if task not in still}
            elsewhere = still
        else:
            return ended


def _ready(task: Task, root: Path) -> bool:
    return all(is_made(need, root) for need in task.needs) and state_of(task, root).status not in ENDED


def _wait_for_others(elsewhere: Sequence[Task], root: Path, say: Callable[[str], None]) -> list[Task]:
    """Until another process has let go of one of these at least: those that are still in hand."""
    say(f"left to another process that has them in hand, and waited for: {len(elsewhere)}")
    still = list(elsewhere)
    while len(still) == len(elsewhere):
        time.sleep(AGAIN)
        still = [task for task in elsewhere if is_held(task.workdir(root))]
    return still


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UserError("--backend: slurm needs submitit; pip install -e '.[slurm]'") from error
    return submitit


def _array(submitit: Any, wave: Sequence[Task], job: Job, asked: dict[str, Any], say: Callable) -> dict[str, Any]:
    """One job array, and its end: TAKEN of those that found their run in another process's hands, why others failed."""
    jobs = _submit(submitit, wave, job, asked)
    number = jobs[0].job_id.partition("_")[0]
    say(f"{len(jobs)} jobs submitted as array {number}, logs in {job.root / LOGS}")
    try:
        _wait(jobs, say)
    except KeyboardInterrupt:
        say(f"the jobs go on; scancel {number} ends them")
        raise
    ends = {task.id: _end(job) for task, job in zip(wave, jobs, strict=True)}
    return {task_id: end for task_id, end in ends.items() if end}


def _end(job: Any) -> Any:
    """What a job that has ended gave back, or the last line of how it failed."""
    error = job.exception()
    return str(error).strip().splitlines()[-1] if error else job.result()


def _wait(jobs: Sequence[Any], say: Callable[[str], None]) -> None:
    """Until all have ended; whenever their states change, how many are in each."""
    before = ""
    while not all(job.done() for job in jobs):
        now = ", ".join(f"{n} {state.lower()}" for state, n in sorted(Counter(job.state for job in jobs).items()))
        if now != before:
            say(now)
            before = now
        time.sleep(POLL)


def _submit(submitit: Any, wave: Sequence[Task], job: Job, asked: dict[str, Any]) -> list[Any]:
    others = {key: value for key, value in asked.items() if key != "time"}
    cores = [f"--cpus-per-task={asked['cpus_per_task']}"] if "cpus_per_task" in asked else []
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # what sbatch says there is in the error as well
            executor = submitit.SlurmExecutor(folder=job.root / LOGS, max_num_timeout=1000)
            executor.update_parameters(
                job_name="diffjax", ntasks_per_node=1, time=asked["time"], additional_parameters=others,
                srun_args=cores,  # since 22.05 srun does not take the cores of its job by itself
            )  # fmt: skip
            return executor.map_array(job, [task.id for task in wave])
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise UserError(f"--backend: slurm took no jobs; sbatch says: {_in_a_line(error)}") from error
    except Exception as error:  # there is no srun here
        raise UserError(f"--backend: slurm cannot be reached ({_in_a_line(error)})") from error


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
