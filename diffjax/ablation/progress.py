"""The progress of an ablation: the state of every task, and an estimate of the time left.

A task has three phases: starting, up to its first logged step; training; and measuring. The time for a phase is
estimated from the tasks that this process started and that have come so far, from those most similar to the task.
"""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from diffjax.ablation.plan import Task
from diffjax.ablation.work import state_of
from diffjax.host.json_files import read_lines
from diffjax.host.progress import clock, to_stderr

WAITING = dict.fromkeys(("not run", "begun", "trained", "failing"), "waiting")
FEW = 3  # at most so many labels of an axis are listed
ORDER = ("running", "done", "failed", "blocked", "crashed", "elsewhere", "waiting")


class Done(NamedTuple):
    """How much of a task is done."""

    steps: int  # logged training steps
    places: int  # measured places


@dataclass
class Course:
    """The course of a task that this process started: what was done of it, and when, at the ends of its phases."""

    steps: int  # of its whole training; 0 for computations
    began: float
    first: Done  # when it began

    def __post_init__(self):
        self.last, self.since = self.first, self.began
        self.logged: tuple[float, int] | None = None  # time and number of the first step logged here
        # Time at which training was complete, and number of places measured by then.
        self.trained = (self.began, self.first.places) if self.first.steps == self.steps else None

    def look(self, done: Done, now: float) -> None:
        """Records what is done now, if it has changed since the last look."""
        if done == self.last:
            return
        self.last, self.since = done, now
        if self.logged is None and done.steps > self.first.steps:
            self.logged = now, done.steps
        if self.trained is None and done.steps == self.steps:
            self.trained = now, done.places

    def spent(self) -> dict[str, tuple[float, int]]:
        """By phase: seconds spent, and units done in them (1 for starting, steps, places)."""
        spent = {}
        if self.logged:
            time_logged, step = self.logged
            end = self.trained[0] if self.trained else self.since
            spent = {"starting": (time_logged - self.began, 1), "training": (end - time_logged, self.last.steps - step)}
        if self.trained:
            time_trained, places = self.trained
            spent["measuring"] = self.since - time_trained, self.last.places - places
        return spent


@dataclass
class Progress:
    """The state of every task of an ablation that is running."""

    tasks: Sequence[Task]
    root: Path
    running: dict[str, Course] = field(default_factory=dict)  # by id
    ended: dict[str, Course] = field(default_factory=dict)  # likewise, those that this process started
    elsewhere: set[str] = field(default_factory=set)  # held by another process
    crashed: dict[str, str] = field(default_factory=dict)  # id -> how its process ended
    slots: int = 1

    def begin(self, task: Task) -> None:
        """Records that a process now runs the task."""
        self.running[task.id] = Course(steps_of(task), time.monotonic(), done_of(task, self.root))

    def look(self) -> None:
        """Records what the running tasks have done."""
        for task in self.tasks:
            if task.id in self.running:
                self.running[task.id].look(done_of(task, self.root), time.monotonic())

    def end(self, task: Task) -> None:
        """Records that the task's process has ended, and what was done by then."""
        course = self.ended[task.id] = self.running.pop(task.id)
        course.look(done_of(task, self.root), time.monotonic())

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

    def left(self) -> str:
        """The time left: "2:10 left"; "more than 2:10 left" if only part of it can be estimated; "" if none."""
        pace, complete, total, longest = self.pace(), True, 0.0, 0.0
        for task in self.tasks:
            course = self.running.get(task.id)
            if not course and self.status(task) != "waiting":
                continue
            ahead = ahead_of(task, course, self.root)
            paces = {phase: pace_of(task, phase, pace) for phase in ahead}
            complete = complete and None not in paces.values()
            seconds = sum(ahead[phase] * unit for phase, unit in paces.items() if unit is not None)
            if course:
                seconds = max(seconds - (time.monotonic() - course.since), 0.0)
                longest = max(longest, seconds)
            total += seconds
        total = max(total / self.slots, longest)
        return f"{'' if complete else 'more than '}{clock(total)} left" if round(total) else ""

    def pace(self) -> dict[tuple[str, str], float]:
        """Seconds for one unit of a phase, by (kind of task, phase)."""
        sums: dict[tuple[str, str], tuple[float, int]] = {}
        courses = self.ended | self.running
        for task in self.tasks:
            for phase, (seconds, units) in courses[task.id].spent().items() if task.id in courses else ():
                for kind in kinds(task):
                    earlier = sums.get((kind, phase), (0.0, 0))
                    sums[kind, phase] = earlier[0] + seconds, earlier[1] + units
        return {key: seconds / units for key, (seconds, units) in sums.items() if units}

    def line(self) -> str:
        """ "2 running, 3 done, 4 waiting; 2:10 left" """
        counts = self.counts()
        left = self.left()
        return ", ".join(f"{counts[s]} {s}" for s in ORDER if counts[s]) + (f"; {left}" if left else "")

    def rows(self) -> list[str]:
        """A line for each running task, in columns: its id, its running time, its activity, and what it is."""
        now = time.monotonic()
        entries = [
            (task.id, clock(now - course.began), doing(task, course, self.root), about(task))
            for task in self.tasks
            if (course := self.running.get(task.id))
        ]
        widths = [max((len(entry[i]) for entry in entries), default=0) for i in range(4)]
        return ["  ".join(word.ljust(w) for word, w in zip(entry, widths, strict=True)).rstrip() for entry in entries]


def steps_of(task: Task) -> int:
    """The steps of a task's training; 0 for computations."""
    return 0 if task.compute else task.config.train.steps


def done_of(task: Task, root: Path) -> Done:
    """How much of a task is done, according to its run directory."""
    workdir = task.workdir(root)
    places = sum(evaluation.path(workdir).is_file() for evaluation in task.evaluations)
    if task.compute or state_of(task, root).status in ("trained", "done"):
        return Done(steps_of(task), places)
    return Done(next((line["step"] for line in read_lines(workdir / "metrics.jsonl", last=1)), 0), places)


def ahead_of(task: Task, course: Course | None, root: Path) -> dict[str, int]:
    """The units still to do in each phase. Starting includes the steps up to the first logged one."""
    done = course.last if course else done_of(task, root)
    steps = steps_of(task) - done.steps
    starts = steps > 0 and not (course and course.logged)
    if starts:
        steps -= min(task.config.train.log_every or steps, steps)
    ahead = {"starting": int(starts), "training": steps, "measuring": len(task.evaluations) - done.places}
    return {phase: units for phase, units in ahead.items() if units}


def kinds(task: Task) -> tuple[str, ...]:
    """The kinds of a task, the closest first: itself, its training but for the seed, its config file, its role."""
    changes = {key: value for key, value in task.changes.items() if key != "seed"}
    role = "computed" if task.compute else "measured" if task.evaluations else "needed"
    return task.id, f"{task.source} {changes}", task.source, role


def pace_of(task: Task, phase: str, pace: dict[tuple[str, str], float]) -> float | None:
    """Seconds for one unit of a task's phase, from the closest kind that has come so far; None if none has."""
    return next((pace[kind, phase] for kind in kinds(task) if (kind, phase) in pace), None)


def doing(task: Task, course: Course, root: Path) -> str:
    """The activity of a running task: its step, or its measurement."""
    if task.evaluations and course.last.steps == course.steps:
        return f"measuring {min(course.last.places + 1, len(task.evaluations))} of {len(task.evaluations)}"
    if course.logged:
        return f"step {course.last.steps:,} of {course.steps:,}"
    return "compiling" if (task.workdir(root) / "config.json").is_file() else "starting"


def about(task: Task) -> str:
    """What distinguishes a task for a reader: its place in the table, and its seed."""
    return f"{place(task)}, seed {task.seed}"


def place(task: Task) -> str:
    """A task's place in the table: "model EDM, NFE 1/4", without axes along which it has many labels.

    If there is no other axis, its config or function tells it from the other tasks.
    """
    labels: dict[str, dict[str, None]] = {}
    for evaluation in task.evaluations:
        for axis, label in evaluation.where.items():
            labels.setdefault(axis, {})[label] = None
    named = [f"{axis} {'/'.join(names)}" for axis, names in labels.items() if len(names) <= FEW]
    return ", ".join(named) or task.source


class Show:
    """Shows the progress: on a terminal as lines that are redrawn in place, elsewhere whenever something changes."""

    EVERY = 60.0  # seconds between lines without a change, if not on a terminal

    def __init__(self):
        self.last_shown, self.counts, self.live, self.drawn = -1e9, None, sys.stderr.isatty(), 0

    def __call__(self, progress: Progress) -> None:
        if self.live:
            columns, lines = shutil.get_terminal_size()
            shown = (progress.line(), *progress.rows())[: max(lines - 1, 1)]  # the cursor cannot go above the screen
            self._draw([line[: columns - 1] for line in shown])
            return
        counts = progress.counts()
        if counts != self.counts or time.monotonic() - self.last_shown > self.EVERY:
            to_stderr("\n  ".join([progress.line(), *progress.rows()]))
            self.last_shown, self.counts = time.monotonic(), counts

    def _draw(self, lines: Sequence[str]) -> None:
        cursor_up = f"\x1b[{self.drawn}A" if self.drawn else ""
        clear_below = "\x1b[J"
        print(cursor_up + clear_below + "\n".join(lines), file=sys.stderr, flush=True)
        self.drawn = len(lines)
