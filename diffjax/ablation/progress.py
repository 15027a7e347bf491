"""How far an ablation has come: what every task is at, how many are done, and how long the rest will take.

A task starts, up to the first step that it logs, then trains, then measures. How long each of these takes is taken from
the tasks that were begun here, from those most alike that have come so far.
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
from diffjax.progress import aside, clock
from diffjax.writer import read_lines

WAITING = dict.fromkeys(("not run", "begun", "trained", "failing"), "waiting")
FEW = 3  # labels that are still said one by one
ORDER = ("running", "done", "failed", "blocked", "crashed", "elsewhere", "waiting")


class Done(NamedTuple):
    """What is done of a task."""

    steps: int  # of its training, as far as they are logged
    places: int  # measured


@dataclass
class Course:
    """How a task went that was begun here: how much was done of it, and since when, at the turning points."""

    steps: int  # of its whole training; 0 of what is computed
    began: float
    first: Done

    def __post_init__(self):
        self.last, self.since = self.first, self.began
        self.logged: tuple[float, int] | None = None  # when the first step was logged, and which
        self.trained = (self.began, self.first.places) if self.first.steps == self.steps else None  # likewise, places

    def look(self, done: Done, now: float) -> None:
        """Notes what is done now, if it is more than at the last look."""
        if done == self.last:
            return
        self.last, self.since = done, now
        if self.logged is None and done.steps > self.first.steps:
            self.logged = now, done.steps
        if self.trained is None and done.steps == self.steps:
            self.trained = now, done.places

    def spent(self) -> dict[str, tuple[float, int]]:
        """Seconds, and what was done in them, by phase: of starting one, steps of training, places of measuring."""
        spent = {}
        if self.logged:
            when, step = self.logged
            end = self.trained[0] if self.trained else self.since
            spent = {"starting": (when - self.began, 1), "training": (end - when, self.last.steps - step)}
        if self.trained:
            when, places = self.trained
            spent["measuring"] = self.since - when, self.last.places - places
        return spent


@dataclass
class Progress:
    """How far every task has come, for whoever watches."""

    tasks: Sequence[Task]
    root: Path
    running: dict[str, Course] = field(default_factory=dict)  # by id
    ended: dict[str, Course] = field(default_factory=dict)  # here
    elsewhere: set[str] = field(default_factory=set)  # in another process's hands
    crashed: dict[str, str] = field(default_factory=dict)  # id -> how its process ended
    slots: int = 1

    def begin(self, task: Task) -> None:
        """Notes that a process has the task in hand from now on."""
        self.running[task.id] = Course(steps_of(task), time.monotonic(), done_of(task, self.root))

    def look(self) -> None:
        """Notes what the running tasks have done."""
        for task in self.tasks:
            if task.id in self.running:
                self.running[task.id].look(done_of(task, self.root), time.monotonic())

    def end(self, task: Task) -> None:
        """Notes that its process has ended, and what it has done until then."""
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
        """How long the rest will take: "2:10 left"; "more than 2:10 left" if that is of a part; "" if it is of none."""
        pace, whole, seconds, longest = self.pace(), True, 0.0, 0.0
        for task in self.tasks:
            course = self.running.get(task.id)
            if not course and self.status(task) != "waiting":
                continue
            ahead = ahead_of(task, course, self.root)
            known = {phase: of for phase in ahead if (of := pace_of(task, phase, pace)) is not None}
            whole = whole and known.keys() == ahead.keys()
            takes = sum(ahead[phase] * known[phase] for phase in known)
            if course:
                takes = max(takes - (time.monotonic() - course.since), 0.0)
                longest = max(longest, takes)
            seconds += takes
        seconds = max(seconds / self.slots, longest)
        return f"{'' if whole else 'more than '}{clock(seconds)} left" if round(seconds) else ""

    def pace(self) -> dict[tuple[str, str], float]:
        """Seconds for one of what is done in each phase, by the kind of task and the phase."""
        sums: dict[tuple[str, str], tuple[float, int]] = {}
        courses = self.ended | self.running
        for task in self.tasks:
            for phase, (seconds, number) in courses[task.id].spent().items() if task.id in courses else ():
                for kind in kinds(task):
                    before = sums.get((kind, phase), (0.0, 0))
                    sums[kind, phase] = before[0] + seconds, before[1] + number
        return {key: seconds / number for key, (seconds, number) in sums.items() if number}

    def line(self) -> str:
        """ "2 running, 3 done, 4 waiting; 2:10 left" """
        counts = self.counts()
        left = self.left()
        return ", ".join(f"{counts[s]} {s}" for s in ORDER if counts[s]) + (f"; {left}" if left else "")

    def rows(self) -> list[str]:
        """A line for each task that is running, in columns: its id, for how long, what it is at, and what it is."""
        now = time.monotonic()
        entries = [
            (task.id, clock(now - course.began), doing(task, course, self.root), about(task))
            for task in self.tasks
            if (course := self.running.get(task.id))
        ]
        widths = [max((len(entry[i]) for entry in entries), default=0) for i in range(4)]
        return ["  ".join(word.ljust(w) for word, w in zip(entry, widths, strict=True)).rstrip() for entry in entries]


def steps_of(task: Task) -> int:
    """The steps of its training; 0 of what is computed."""
    return 0 if task.compute else task.config.train.steps


def done_of(task: Task, root: Path) -> Done:
    """What is done of a task."""
    workdir = task.workdir(root)
    places = sum(evaluation.path(workdir).is_file() for evaluation in task.evaluations)
    if task.compute or state_of(task, root).status in ("trained", "done"):
        return Done(steps_of(task), places)
    return Done(next((line["step"] for line in read_lines(workdir / "metrics.jsonl", last=1)), 0), places)


def ahead_of(task: Task, course: Course | None, root: Path) -> dict[str, int]:
    """What is still to do in each phase. What has not logged a step starts, and goes as far as that in doing so."""
    done = course.last if course else done_of(task, root)
    steps = steps_of(task) - done.steps
    starts = steps > 0 and not (course and course.logged)
    if starts:
        steps -= min(task.config.train.log_every or steps, steps)
    ahead = {"starting": int(starts), "training": steps, "measuring": len(task.evaluations) - done.places}
    return {phase: number for phase, number in ahead.items() if number}


def kinds(task: Task) -> tuple[str, ...]:
    """What a task is one of, the closest first: itself, what trains alike, what its file trains, judges or judged."""
    changes = {key: value for key, value in task.changes.items() if key != "seed"}
    sort = "computed" if task.compute else "measured" if task.evaluations else "needed"
    return task.id, f"{task.source} {changes}", task.source, sort


def pace_of(task: Task, phase: str, pace: dict[tuple[str, str], float]) -> float | None:
    """Seconds for one of what a task does in a phase, from the closest kind that has come so far; None if none has."""
    return next((pace[kind, phase] for kind in kinds(task) if (kind, phase) in pace), None)


def doing(task: Task, course: Course, root: Path) -> str:
    """What a running task is at: its step, or its measurements."""
    if task.evaluations and course.last.steps == course.steps:
        return f"measuring {min(course.last.places + 1, len(task.evaluations))} of {len(task.evaluations)}"
    if course.logged:
        return f"step {course.last.steps:,} of {course.steps:,}"
    return "compiling" if (task.workdir(root) / "config.json").is_file() else "starting"


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
        self.last_shown, self.counts, self.live, self.drawn = -1e9, None, sys.stderr.isatty(), 0

    def __call__(self, progress: Progress) -> None:
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self._draw([line[:width] for line in (progress.line(), *progress.rows())])
            return
        counts = progress.counts()
        if counts != self.counts or time.monotonic() - self.last_shown > self.EVERY:
            aside("\n  ".join([progress.line(), *progress.rows()]))
            self.last_shown, self.counts = time.monotonic(), counts

    def _draw(self, lines: Sequence[str]) -> None:
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        print(f"{up}\x1b[J" + "\n".join(lines), file=sys.stderr, flush=True)  # \x1b[J: from here on nothing is left
        self.drawn = len(lines)
