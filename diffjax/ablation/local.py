"""The local backend: a pool of slots, each for one process with its own GPUs or its own share of the cores.

A task starts once the runs it needs are done, and never if one of them failed. Killed tasks continue where they
stopped. A task that another process holds is left to it and checked again later. On SIGINT, SIGTERM and SIGHUP (a
closed terminal) the processes are asked to stop after the current step; on Linux also when this process is killed.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from diffjax.ablation.plan import Task
from diffjax.ablation.progress import Progress
from diffjax.ablation.work import ENDED, is_made, state_of
from diffjax.errors import TAKEN, UserError
from diffjax.host.progress import to_stderr
from diffjax.host.surroundings import visible_gpus
from diffjax.workdir.directory import is_locked

POLL = 0.5  # seconds between checks of the processes
MEMORY = "XLA_PYTHON_CLIENT_MEM_FRACTION"  # the share of a GPU's memory that JAX takes when it starts
AGAIN = 10.0  # seconds until a run that another process held is checked again
DEVICES = Path("/dev")
Command = Callable[[Task], list[str]]


@dataclass(frozen=True)
class Slot:
    """What one process may use: some GPUs, or some cores."""

    environment: tuple[tuple[str, str], ...] = ()
    cores: tuple[int, ...] = ()

    def start(self, command: list[str], log: Path) -> subprocess.Popen:
        log.parent.mkdir(parents=True, exist_ok=True)
        pin = ["taskset", "--cpu-list", ",".join(map(str, self.cores))] if self.cores and _installed("taskset") else []
        bind = ["setpriv", "--pdeathsig", "TERM"] if _installed("setpriv") else []  # SIGTERM when this process dies
        with log.open("a") as output:
            return subprocess.Popen(
                [*bind, *pin, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=os.environ | dict(self.environment), start_new_session=True,
            )  # fmt: skip


def slots(number: int = 0) -> list[Slot]:
    """Divides this machine into slots; by default one for each GPU or, without GPUs, for each pair of cores.

    If there are more slots than GPUs, they share the GPUs and their memory: small networks leave most of a GPU idle. On
    CPUs there are never more slots than cores; a message says so. The chips of a TPU belong to one process at a time:
    there is one slot, and UserError for more.
    """
    if _has_tpu():
        if number > 1:
            raise UserError(
                f"`slots`: {number} must be 1 on a TPU, whose chips belong to one process at a time; or set "
                "JAX_PLATFORMS=cpu to run on the cores"
            )
        return [Slot()]
    gpus = visible_gpus()
    if gpus and number > len(gpus):
        slots_per_gpu = -(-number // len(gpus))
        memory = os.environ.get(MEMORY, f"{0.9 / slots_per_gpu:.3f}")
        return [Slot((("CUDA_VISIBLE_DEVICES", gpus[i % len(gpus)]), (MEMORY, memory))) for i in range(number)]
    if gpus:
        number = number or len(gpus)
        shares = [gpus[i::number] for i in range(number)]
        return [Slot((("CUDA_VISIBLE_DEVICES", ",".join(share)),)) for share in shares]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    if number > len(cores):
        to_stderr(f"slots: {number} is more than the {len(cores)} cores here; using {len(cores)}")
    number = min(number or max(len(cores) // 2, 1), len(cores))
    return [Slot(cores=tuple(cores[i::number])) for i in range(number)]


def _has_tpu() -> bool:
    """Whether processes started here use a TPU, found without starting JAX: by the files of its chips, and libtpu."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    chips = [*DEVICES.glob("accel[0-9]*"), *DEVICES.glob("vfio/[0-9]*")]  # TPU v2 to v4, and later ones
    return bool(chips) and find_spec("libtpu") is not None and (not platforms or "tpu" in platforms)


def _installed(program: str) -> bool:
    """Whether this machine has one of the programs that come with Linux."""
    return shutil.which(program) is not None


def run(
    tasks: Sequence[Task], root: Path, command: Command, pool: Sequence[Slot], show: Callable[[Progress], None]
) -> Progress:
    """Runs the tasks, each once the runs it needs are done; returns when no task is left that can run.

    However it ends, it leaves no process behind.
    """
    progress = Progress(tasks, root, slots=len(pool))
    free, live = list(pool), {}
    retry_at: dict[str, float] = {}
    progress.counts()  # raises for unreadable files before anything starts
    with Stop() as stop, _no_process_left(live):
        while True:
            for task_id, (process, slot, task) in list(live.items()):
                if process.poll() is not None:
                    _ended(task, process.returncode, progress, retry_at)
                    free.append(slot)
                    del live[task_id]
            if stop.asked:
                return progress
            for task in tasks:
                if free and _ready(task, progress, live, retry_at):
                    slot = free.pop(0)
                    progress.begin(task)
                    live[task.id] = slot.start(command(task), task.workdir(root) / "log.txt"), slot, task
            progress.look()
            show(progress)
            if not live and not progress.elsewhere:
                return progress
            time.sleep(POLL)


@contextlib.contextmanager
def _no_process_left(live: dict) -> Iterator[None]:
    """Asks the processes that are still live in the end to stop, and waits for them."""
    try:
        yield
    finally:
        for process, _, _ in live.values():
            process.send_signal(signal.SIGTERM)
        if live:
            runs = "1 run" if len(live) == 1 else f"{len(live)} runs"
            with contextlib.suppress(OSError):  # the terminal may be closed; the processes are still waited for
                to_stderr(f"stopping {runs}; a training ends after its current step, with a checkpoint")
        for process, _, _ in live.values():
            process.wait()


def _ready(task: Task, progress: Progress, live: dict, retry_at: dict[str, float]) -> bool:
    if task.id in live or task.id in progress.crashed or time.monotonic() < retry_at.get(task.id, 0.0):
        return False
    progress.elsewhere.discard(task.id)
    if progress.status(task) in ENDED or not all(is_made(need, progress.root) for need in task.needs):
        return False
    if is_locked(task.workdir(progress.root)):  # a process that finds this out has started JAX for nothing
        _leave(task, progress, retry_at)
        return False
    return True


def _leave(task: Task, progress: Progress, retry_at: dict[str, float]) -> None:
    """Leaves a task to the process that holds it, until it is checked again."""
    progress.elsewhere.add(task.id)
    retry_at[task.id] = time.monotonic() + AGAIN


def _ended(task: Task, status: int, progress: Progress, retry_at: dict[str, float]) -> None:
    """Records the end of a task's process, with this exit status."""
    if status == TAKEN:
        del progress.running[task.id]
        _leave(task, progress, retry_at)
        return
    progress.end(task)
    state = state_of(task, progress.root)
    if state.status not in ENDED:
        message = last_line(task.workdir(progress.root) / "log.txt")
        progress.crashed[task.id] = state.reason or f"ended with status {status}: {message}"


def last_line(log: Path) -> str:
    """The last line of a process's log."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.is_file() else []
    return lines[-1] if lines else "its log is empty"


class Stop:
    """Notes SIGINT, SIGTERM and SIGHUP instead of ending at once. Ignored signals stay so, as SIGHUP under nohup."""

    asked = False  # whether a signal has arrived

    def __enter__(self) -> "Stop":
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        handled = [number for number in signals if signal.getsignal(number) not in (signal.SIG_IGN, None)]
        self.before = {number: signal.signal(number, self._note) for number in handled}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        self.asked = True


def this_program() -> list[str]:
    """The command that starts launch.py again."""
    return [sys.executable, str(Path(sys.argv[0]).resolve())]
