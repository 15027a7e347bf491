"""The local backend: a pool of slots, each a process of its own with a GPU group or a share of the cores.

A task begins when the runs it needs are there, and never if one of them failed. Killed ones go on where they were; one
that another process has in hand is left to it, and looked at again. On SIGINT, SIGTERM and SIGHUP (a terminal that was
closed) the processes are asked to stop after the step under way, and on Linux also when this one is killed.
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
from pathlib import Path

from diffjax.ablation.plan import Task
from diffjax.ablation.progress import Progress
from diffjax.ablation.work import ENDED, is_made, state_of
from diffjax.errors import TAKEN
from diffjax.progress import aside

POLL = 0.5  # seconds between looks at the processes
MEMORY = "XLA_PYTHON_CLIENT_MEM_FRACTION"  # of a GPU, taken by JAX when it starts
AGAIN = 10.0  # seconds before a run that another process had in hand is looked at again
Command = Callable[[Task], list[str]]


@dataclass(frozen=True)
class Slot:
    """What one process may use: some GPUs, or some cores."""

    environment: tuple[tuple[str, str], ...] = ()
    cores: tuple[int, ...] = ()

    def start(self, command: list[str], log: Path) -> subprocess.Popen:
        log.parent.mkdir(parents=True, exist_ok=True)
        pinned = ["taskset", "--cpu-list", ",".join(map(str, self.cores))] if self.cores and _there("taskset") else []
        bound = ["setpriv", "--pdeathsig", "TERM"] if _there("setpriv") else []  # asked to stop when this process dies
        with log.open("a") as output:
            return subprocess.Popen(
                [*bound, *pinned, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=os.environ | dict(self.environment), start_new_session=True,
            )  # fmt: skip


def slots(number: int = 0) -> list[Slot]:
    """So many shares of this machine; 0: one for each GPU, or for each pair of cores where there is none.

    More slots than GPUs share them, and their memory: small networks leave most of a GPU idle. There are never
    more slots than cores: who asks for more is told so.
    """
    gpus = _gpus()
    if gpus and number > len(gpus):
        on_one = -(-number // len(gpus))
        share = os.environ.get(MEMORY, f"{0.9 / on_one:.3f}")
        return [Slot((("CUDA_VISIBLE_DEVICES", gpus[i % len(gpus)]), (MEMORY, share))) for i in range(number)]
    if gpus:
        number = number or len(gpus)
        shares = [gpus[i::number] for i in range(number)]
        return [Slot((("CUDA_VISIBLE_DEVICES", ",".join(share)),)) for share in shares]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    if number > len(cores):
        aside(f"--slots: there are cores for {len(cores)} processes at once, not for {number}")
    number = min(number or max(len(cores) // 2, 1), len(cores))
    return [Slot(cores=tuple(cores[i::number])) for i in range(number)]


def _gpus() -> list[str]:
    """The GPUs that this process may use, by number, without starting JAX on them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True).stdout
    return [str(i) for i, line in enumerate(listed.splitlines()) if line.startswith("GPU")]


def _there(program: str) -> bool:
    """Whether this machine has one of the programs that come with Linux."""
    return shutil.which(program) is not None


def run(
    tasks: Sequence[Task], root: Path, command: Command, pool: Sequence[Slot], show: Callable[[Progress], None]
) -> Progress:
    """Carries out the tasks, each when the runs it needs are done; returns when none is left that can be.

    However it ends, no process of its own is left.
    """
    progress = Progress(tasks, root, slots=len(pool))
    free, live = list(pool), {}
    look_again: dict[str, float] = {}
    progress.counts()  # a file that cannot be read is complained of before anything begins
    with Stop() as stopping, _none_left(live):
        while True:
            for task_id, (process, slot, task) in list(live.items()):
                if process.poll() is not None:
                    _ended(task, process.returncode, progress, look_again)
                    free.append(slot)
                    del live[task_id]
            if stopping.asked:
                return progress
            for task in tasks:
                if free and _ready(task, progress, live, look_again):
                    slot = free.pop(0)
                    progress.begin(task)
                    live[task.id] = slot.start(command(task), task.workdir(root) / "log.txt"), slot, task
            progress.look()
            show(progress)
            if not live and not progress.elsewhere:
                return progress
            time.sleep(POLL)


@contextlib.contextmanager
def _none_left(live: dict) -> Iterator[None]:
    """Asks the processes that are still live in the end to stop, and waits for them."""
    try:
        yield
    finally:
        for process, _, _ in live.values():
            process.send_signal(signal.SIGTERM)
        for process, _, _ in live.values():
            process.wait()


def _ready(task: Task, progress: Progress, live: dict, look_again: dict[str, float]) -> bool:
    if task.id in live or task.id in progress.crashed or time.monotonic() < look_again.get(task.id, 0.0):
        return False
    progress.elsewhere.discard(task.id)
    if progress.status(task) in ENDED:
        return False
    return all(is_made(need, progress.root) for need in task.needs)


def _ended(task: Task, status: int, progress: Progress, look_again: dict[str, float]) -> None:
    """What the end of a process means for its task."""
    if status == TAKEN:
        del progress.running[task.id]
        progress.elsewhere.add(task.id)
        look_again[task.id] = time.monotonic() + AGAIN
        return
    progress.end(task)
    state = state_of(task, progress.root)
    if state.status not in ENDED:
        said = last_line(task.workdir(progress.root) / "log.txt")
        progress.crashed[task.id] = state.reason or f"ended with status {status}: {said}"


def last_line(log: Path) -> str:
    """The last thing that a process said."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.is_file() else []
    return lines[-1] if lines else "it said nothing"


class Stop:
    """SIGINT, SIGTERM and SIGHUP ask for an end in good order; what is ignored stays so, as SIGHUP under nohup."""

    asked = False

    def __enter__(self) -> "Stop":
        heard = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
                 if signal.getsignal(s) not in (signal.SIG_IGN, None)]  # fmt: skip
        self.before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        self.asked = True


def this_program() -> list[str]:
    """How to start launch.py again."""
    return [sys.executable, str(Path(sys.argv[0]).resolve())]
