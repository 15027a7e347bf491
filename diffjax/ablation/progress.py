"""How far an ablation has come: what every task is at, how many are done, and how long the rest will take."""

import contextlib
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffjax.ablation.plan import Task
from diffjax.ablation.work import state_of
from diffjax.progress import aside, clock

WAITING = {"not run": "waiting", "begun": "waiting", "trained": "waiting"}
FEW = 3  # labels that are still said one by one
ORDER = ("running", "done", "failed", "blocked", "crashed", "elsewhere", "waiting")


@dataclass
class Progress:
    """How far every task has come, for whoever watches."""

    tasks: Sequence[Task]
    root: Path
    running: dict[str, float] = field(default_factory=dict)  # id -> when it began
    elsewhere: set[str] = field(default_factory=set)  # in another process's hands
    crashed: dict[str, str] = field(default_factory=dict)  # id -> how its process ended
    took: list[float] = field(default_factory=list)  # seconds of those that ended here
    slots: int = 1

    def status(self, task: Task) -> str:
        if task.id in self.running:
            return "running"
        if task.id in self.crashed:
            return "crashed"
        if task.id in self.elsewhere:
            return "elsewhere"
        status = state_of(task, self.root).status
        return WAITING.get(status, status)

    def counts(self) -> Counter[str]:
        return Counter(self.status(task) for task in self.tasks)

    def left(self, counts: Counter[str]) -> str:
        """How long the rest will take, from what has ended so far; "" until something has."""
        if not self.took:
            return ""
        mean, now = sum(self.took) / len(self.took), time.monotonic()
        waiting = counts["waiting"] * mean
        begun = sum(max(mean - (now - since), 0.0) for since in self.running.values())
        return clock((waiting + begun) / self.slots)

    def line(self) -> str:
        """ "2 running, 3 done, 4 waiting; 2:10 left" """
        counts = self.counts()
        left = self.left(counts)
        return ", ".join(f"{counts[s]} {s}" for s in ORDER if counts[s]) + (f"; {left} left" if left else "")

    def rows(self) -> list[str]:
        """A line for each task that is running, in columns: its id, for how long, what it is at, and what it is."""
        now = time.monotonic()
        entries = [
            (task.id, clock(now - self.running[task.id]), doing(task, self.root), about(task))
            for task in self.tasks
            if task.id in self.running
        ]
        widths = [max((len(entry[i]) for entry in entries), default=0) for i in range(4)]
        return ["  ".join(word.ljust(w) for word, w in zip(entry, widths, strict=True)).rstrip() for entry in entries]


def doing(task: Task, root: Path) -> str:
    """What a running task is at: its step, or its measurements."""
    workdir = task.workdir(root)
    if task.compute or state_of(task, root).status == "trained":
        done = sum(evaluation.path(workdir).is_file() for evaluation in task.evaluations)
        return f"measuring {min(done + 1, len(task.evaluations))} of {len(task.evaluations)}"
    path = workdir / "metrics.jsonl"
    with contextlib.suppress(OSError, ValueError, IndexError):
        step = json.loads(path.read_text().splitlines()[-1])["step"]
        return f"step {step:,} of {task.config.train.steps:,}"
    return "starting"


def about(task: Task) -> str:
    """What distinguishes a task, for a person: where in the table it stands, and its seed."""
    return f"{place(task) or task.source}, seed {task.seed}"


def place(task: Task) -> str:
    """Where in the table a task stands: "model EDM, NFE 1/4". An axis along which it has many places is left out."""
    labels: dict[str, dict[str, None]] = {}
    for evaluation in task.evaluations:
        for axis, label in evaluation.where.items():
            labels.setdefault(axis, {})[label] = None
    return ", ".join(f"{axis} {'/'.join(of)}" for axis, of in labels.items() if len(of) <= FEW)


class Show:
    """Shows the progress: on a terminal as lines that are drawn over, elsewhere anew whenever something changes."""

    EVERY = 60.0  # seconds, where it is no terminal

    def __init__(self):
        self.said, self.counts, self.live, self.drawn = -1e9, None, sys.stderr.isatty(), 0

    def __call__(self, progress: Progress) -> None:
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self._draw([line[:width] for line in (progress.line(), *progress.rows())])
            return
        counts = progress.counts()
        if counts != self.counts or time.monotonic() - self.said > self.EVERY:
            aside("\n  ".join([progress.line(), *progress.rows()]))
            self.said, self.counts = time.monotonic(), counts

    def _draw(self, lines: Sequence[str]) -> None:
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        print(f"{up}\x1b[J" + "\n".join(lines), file=sys.stderr, flush=True)  # \x1b[J: from here on nothing is left
        self.drawn = len(lines)
