"""The SLURM backend: submitit's job arrays, one task a job, queued again when preempted or out of time.

SIGTERM announces a preemption; the end of the time limit is announced 90 seconds before by a signal that submitit asked
for. Either lets a training stop after the current step, with a checkpoint; then the job goes back into the queue.
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
from diffjax.workdir.directory import is_locked

LOGS = "slurm"  # a folder among the runs
POLL = 5.0  # seconds between checks of the jobs
AGAIN = 60.0  # seconds between checks of runs that another process holds
GPUS = ("gres", "gpus", "gpus_per_node", "gpus_per_task")  # options that request GPUs
# Options that users cannot set.
OURS = ("job_name", "ntasks", "ntasks_per_node", "nodes", "array", "output", "error", "signal")


class Asked(BaseException):
    """The scheduler has asked the job to stop. Not an Exception: those are recorded as raised by the run."""


@dataclass(frozen=True)
class Job:
    """A job: runs one task of a plan, given by names alone. If asked to stop, it is queued again and continues."""

    run_one: Callable[[str, str, Path, str], None]  # takes the next three fields and the task's id
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
        """The same job again, for submitit: a run continues from its last checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, task_id)


@contextlib.contextmanager
def _listening() -> Iterator[None]:
    """Raises Asked on SIGTERM and on submitit's signal; during training, after it has stopped with a checkpoint."""
    timeout_signal = _signal()

    def ask(number: int, frame: Any) -> None:
        for announced in (signal.SIGTERM, timeout_signal):
            signal.signal(announced, signal.SIG_IGN)  # once is enough
        raise Asked

    def forward(number: int, frame: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    handlers = {
        timeout_signal: signal.signal(timeout_signal, forward),
        signal.SIGTERM: signal.signal(signal.SIGTERM, ask),
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _queue_again() -> NoReturn:
    """Ends this job so that it runs again, unless the scheduler ends it for good or has queued it again itself."""
    import submitit

    job = submitit.JobEnvironment().job_id
    squeue = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
    if subprocess.run(squeue, capture_output=True, text=True).stdout.strip() == "RUNNING":
        signal.raise_signal(_signal())  # submitit then queues the job again and exits
    sys.exit(f"job {job} was ended by the scheduler")


def _signal() -> signal.Signals:
    """The signal on which submitit queues a job again."""
    import submitit

    return signal.Signals[f"SIG{submitit.JobEnvironment.USR_SIG}"]


def options(given: Sequence[str], budget: str, hours: float) -> dict[str, Any]:
    """The sbatch options of a job, by their long names: the defaults, overridden by those `given`.

    The defaults are 2 cores, the budget's time limit, and a GPU if the budget is for one. "KEY=" drops a default, "KEY"
    alone is a flag. Raises UserError for words that cannot be options; whether an option exists, sbatch decides.
    """
    defaults: dict[str, Any] = {"time": max(int(hours * 60), 1), "cpus_per_task": 2}
    overrides = {}
    for word in given:
        key, equals, value = word.partition("=")
        key = key.strip().removeprefix("--").replace("-", "_")
        if not key.isidentifier():
            raise UserError(f"`slurm`: {word!r} must be KEY=VALUE, such as partition=gpu")
        if key in OURS:
            raise UserError(f"`slurm`: {key} cannot be set: each run is one process in a job array")
        if key == "time" and not value.isdigit():
            raise UserError(f"`slurm`: time {value!r} must be a number of minutes, as in time=120")
        overrides[key] = int(value) if key == "time" else value if equals else True
    if budget in ON_GPU and not overrides.keys() & set(GPUS):
        defaults["gpus_per_node"] = 1
    return {key: value for key, value in (defaults | overrides).items() if value != ""}


def run(tasks: Sequence[Task], job: Job, asked: dict[str, Any], say: Callable[[str], None]) -> dict[str, str]:
    """Submits what is missing and waits for it: {task id: message} of the jobs that ended unexpectedly.

    Runs that others need go first; what needs a failed run is not submitted. A run that another process holds is left
    to it, and submitted again if that process ends before the run does. Raises UserError if there is no scheduler, or
    if it takes no jobs.
    """
    submitit = _submitit()
    tried: set[str] = set()
    crashes: dict[str, str] = {}
    held: list[Task] = []
    while True:
        wave = [task for task in tasks if task.id not in tried and _ready(task, job.root)]
        if wave:
            ends = _array(submitit, wave, job, asked, say)
            tried |= {task.id for task in wave}
            crashes |= {task_id: end for task_id, end in ends.items() if end != TAKEN}
            held += [task for task in wave if ends.get(task.id) == TAKEN]
        elif held:
            still_held = _wait_for_others(held, job.root, say)
            tried -= {task.id for task in held if task not in still_held}
            held = still_held
        else:
            return crashes


def _ready(task: Task, root: Path) -> bool:
    return all(is_made(need, root) for need in task.needs) and state_of(task, root).status not in ENDED


def _wait_for_others(held: Sequence[Task], root: Path, say: Callable[[str], None]) -> list[Task]:
    """Waits until other processes have released at least one of these runs; returns those that are still held."""
    say(f"waiting for runs that other processes hold: {len(held)}")
    still_held = list(held)
    while len(still_held) == len(held):
        time.sleep(AGAIN)
        still_held = [task for task in held if is_locked(task.workdir(root))]
    return still_held


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UserError("`backend`: slurm needs submitit; pip install -e '.[slurm]'") from error
    return submitit


def _array(submitit: Any, wave: Sequence[Task], job: Job, asked: dict[str, Any], say: Callable) -> dict[str, Any]:
    """Runs one job array to its end: {task id: TAKEN}, if another process held the run, or {task id: message}."""
    jobs = _submit(submitit, wave, job, asked)
    number = jobs[0].job_id.partition("_")[0]
    say(f"{len(jobs)} jobs submitted as array {number}, logs in {job.root / LOGS}")
    try:
        _wait(jobs, say)
    except KeyboardInterrupt:
        say(f"the jobs continue; scancel {number} ends them")
        raise
    ends = {task.id: _end(job) for task, job in zip(wave, jobs, strict=True)}
    return {task_id: end for task_id, end in ends.items() if end}


def _end(job: Any) -> Any:
    """What an ended job returned, or the last line of its error."""
    error = job.exception()
    return str(error).strip().splitlines()[-1] if error else job.result()


def _wait(jobs: Sequence[Any], say: Callable[[str], None]) -> None:
    """Waits until all jobs have ended; says how many are in each state whenever that changes."""
    last_counts = ""
    while not all(job.done() for job in jobs):
        counts = ", ".join(f"{n} {state.lower()}" for state, n in sorted(Counter(job.state for job in jobs).items()))
        if counts != last_counts:
            say(counts)
            last_counts = counts
        time.sleep(POLL)


def _submit(submitit: Any, wave: Sequence[Task], job: Job, asked: dict[str, Any]) -> list[Any]:
    others = {key: value for key, value in asked.items() if key != "time"}
    cores = [f"--cpus-per-task={asked['cpus_per_task']}"] if "cpus_per_task" in asked else []
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the error has sbatch's message too
            executor = submitit.SlurmExecutor(folder=job.root / LOGS, max_num_timeout=1000)
            executor.update_parameters(
                job_name="diffjax", ntasks_per_node=1, time=asked["time"], additional_parameters=others,
                srun_args=cores,  # since SLURM 22.05 srun no longer takes over the cores of its job
            )  # fmt: skip
            return executor.map_array(job, [task.id for task in wave])
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise UserError(f"`backend`: slurm took no jobs; sbatch says: {_in_a_line(error)}") from error
    except Exception as error:  # such as: no srun on this machine
        raise UserError(f"`backend`: slurm cannot be reached ({_in_a_line(error)})") from error


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
