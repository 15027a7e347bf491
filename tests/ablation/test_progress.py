"""What a person sees of an ablation under way."""

import json
import os
import re
from types import SimpleNamespace

import pytest

from diffjax.ablation import progress as watching
from diffjax.ablation.plan import Evaluation, Task
from diffjax.ablation.progress import Progress, Show, place
from diffjax.config import load, override
from diffjax.host.json_files import write_json


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still."""
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(watching, "time", clock)
    return clock


class Table:
    """A judge and four runs of two files, 1,000 steps and three places each, whose run directories a test writes."""

    def __init__(self, root):
        config = override(load("configs/toy2d.py:moons"), [("train.steps", "1000"), ("train.log_every", "100")])
        self.root, self.plan = root, [Task("judge", 0, "", config, "judge.py")]
        for name in ("moons0", "moons1", "rings0", "gan0"):
            places = [Evaluation(f"{nfe}", {"model": name, "NFE": f"{nfe}"}, {}, "") for nfe in (1, 10, 100)]
            self.plan.append(Task(name, 0, "", config, f"{name[:-1]}.py", needs=(self.plan[0],), evaluations=places))
        self.progress = Progress(self.plan, root)

    def task(self, name):
        return next(task for task in self.plan if task.id == name)

    def begin(self, name):
        self.progress.begin(self.task(name))

    def end(self, name):
        self.progress.end(self.task(name))

    def logs(self, name, *steps):
        write_json(self.root / name / "config.json", {})
        with (self.root / name / "metrics.jsonl").open("a") as file:
            file.writelines(json.dumps({"step": step}) + "\n" for step in steps)
        self.progress.look()

    def trains(self, name):
        write_json(self.root / name / "result.json", {"status": "finished"})
        self.progress.look()

    def measures(self, name, places=1):
        workdir, of = self.root / name, self.task(name).evaluations
        for evaluation in [e for e in of if not e.path(workdir).is_file()][:places]:
            write_json(evaluation.path(workdir), {})
        self.progress.look()

    def done(self, *names):
        for name in names:
            self.trains(name)
            self.measures(name, 3)

    @property
    def left(self):
        return self.progress.line().partition("; ")[2]


@pytest.fixture
def table(tmp_path, clock):
    return Table(tmp_path)


def test_the_line_counts_tasks_and_the_rows_show_activities(table, clock):
    table.done("judge", "moons0")
    write_json(table.root / "gan0" / "result.json", {"status": "failed", "reason": "not finite"})
    table.trains("moons1")
    table.begin("moons1")
    clock.now += 20
    table.begin("rings0")
    clock.now += 120
    table.logs("rings0", 100, 200)
    table.measures("moons1")
    assert table.progress.line().startswith("2 running, 2 done, 1 failed")
    measuring, training = table.progress.rows()
    assert re.fullmatch(r"moons1  2:20  measuring 2 of 3 +model moons1, NFE 1/10/100, seed 0", measuring)
    assert re.fullmatch(r"rings0  2:00  step 200 of 1,000 +model rings0, NFE 1/10/100, seed 0", training)


def test_a_run_without_a_logged_step_is_starting_or_compiling(table):
    table.begin("judge")
    assert "  starting  " in table.progress.rows()[0]
    table.logs("judge")
    assert "  compiling  " in table.progress.rows()[0]
    table.logs("judge", 100)
    assert "  step 100 of 1,000  " in table.progress.rows()[0]
    with (table.root / "judge" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2')  # on its way
    table.progress.look()
    assert "  step 100 of 1,000  " in table.progress.rows()[0]


def test_a_continued_run_is_compiling_too(table):
    table.logs("judge", 100, 200)
    table.begin("judge")
    assert "  compiling  " in table.progress.rows()[0]
    table.logs("judge", 300)
    assert "  step 300 of 1,000  " in table.progress.rows()[0]


def test_the_time_left_is_estimated_from_similar_tasks_and_never_from_a_judge(table, clock):
    table.done("rings0", "gan0")
    table.begin("judge")
    assert table.left == "", "nothing is known"
    clock.now += 10
    table.logs("judge", 100)
    clock.now += 5
    table.logs("judge", 200)
    assert table.left == "more than 0:40 left", "800 steps of the judge, at 20 a second; two others are unknown"
    clock.now += 40
    table.trains("judge")
    table.end("judge")
    table.begin("moons0")
    assert table.left == "", "what the judge took says nothing of what it judges"
    clock.now += 30
    table.logs("moons0", 100)
    assert table.left == "more than 0:30 left", "that the other one takes to start"
    clock.now += 10
    table.logs("moons0", 200)
    assert table.left == "more than 3:20 left", "800 steps at 10 a second; and 30 seconds and 900 steps of the other"
    clock.now += 80
    table.logs("moons0", 1000)
    table.trains("moons0")
    clock.now += 15
    table.measures("moons0")
    assert table.left == "3:15 left", "2 places of 15 seconds each; and 30 seconds, 900 steps and 3 places"
    clock.now += 5
    assert table.left == "3:10 left"
    clock.now += 25
    table.measures("moons0", 2)
    table.end("moons0")
    assert table.left == "2:45 left", "30 seconds, 900 steps, and 3 places"


def test_less_similar_tasks_are_used_until_there_is_a_better_estimate(table, clock):
    table.done("judge", "moons0", "rings0")
    table.trains("moons1")
    table.begin("moons1")
    clock.now += 20
    table.measures("moons1", 2)
    assert table.left == "more than 0:40 left", "another file's places may take as long; its training is unknown"


def test_an_overdue_run_has_no_time_left_in_the_line(table, clock):
    table.done("judge", "moons0", "rings0", "gan0")
    table.trains("moons1")
    table.begin("moons1")
    clock.now += 10
    table.measures("moons1", 2)
    assert table.left == "0:05 left"
    clock.now += 5
    assert table.progress.line() == "1 running, 4 done"


def test_slots_share_waiting_tasks_and_wait_for_the_longest(table, clock):
    table.progress.slots = 2
    table.done("judge", "rings0", "gan0")
    for name in ("moons0", "moons1"):
        table.trains(name)
        table.begin(name)
    clock.now += 10
    table.measures("moons0", 1)
    table.measures("moons1", 2)
    assert table.left == "0:20 left", "the longer of two that run; not half of 25 seconds"


def test_a_quick_function_is_timed_by_what_it_had_done_at_its_end(table, clock):
    for number in range(2):
        places = [Evaluation(f"{x}", {"x": f"{x}"}, {}, "") for x in range(4)]
        table.plan.append(Task(f"squares{number}", number, "", source="square", compute=print, evaluations=places))
    table.done("judge", "moons0", "moons1", "rings0", "gan0")
    table.begin("squares0")
    clock.now += 8
    for evaluation in table.task("squares0").evaluations:
        write_json(evaluation.path(table.root / "squares0"), {})
    table.end("squares0")
    assert table.left == "0:08 left"


def test_terminals_redraw_lines_and_logs_get_one_for_each_change(table, capsys):
    progress, show = table.progress, Show()
    table.done("judge")
    table.begin("moons0")
    table.begin("rings0")
    show(progress)
    show(progress)
    assert capsys.readouterr().err.splitlines() == [progress.line(), *(f"  {row}" for row in progress.rows())]
    show.live = True
    show(progress)
    table.done("rings0")
    table.end("rings0")
    show(progress)
    first, then = capsys.readouterr().err.split("\x1b[3A")
    assert first.count("\n") == 3 and then.startswith("\x1b[J1 running, ") and then.count("\n") == 2


def test_what_does_not_fit_on_the_terminal_is_cut(table, monkeypatch, capsys):
    """Lines above the screen could not be redrawn, and would be repeated for ever."""
    show = Show()
    show.live = True
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((20, 3)))
    for task in ("judge", "moons0", "rings0"):
        table.begin(task)
    show(table.progress)
    lines = capsys.readouterr().err.removeprefix("\x1b[J").splitlines()
    assert len(lines) == 2 and all(len(line) == 19 for line in lines)


@pytest.mark.parametrize(
    ("places", "name"),
    [
        ([{"model": "EDM", "NFE": str(nfe)} for nfe in (1, 4)], "model EDM, NFE 1/4"),
        ([{"model": "EDM", "NFE": str(nfe)} for nfe in (1, 4, 8, 16)], "model EDM"),
        ([{"eta": eta, "steps": steps} for eta in "abcd" for steps in "1234"], "configs/one.py"),
    ],
)
def test_a_run_is_named_by_its_place_and_never_by_nothing(places, name):
    evaluations = [Evaluation("e", where, {}, "") for where in places]
    assert place(Task("run", 0, "", source="configs/one.py", evaluations=evaluations)) == name
