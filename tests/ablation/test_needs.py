"""Tables of functions that need no training, and of runs that need other runs, such as a judge."""

import json
import re
import shutil

import pytest

import launch
from diffjax.ablation import code, ledger, slurm
from diffjax.ablation.ablate import finish
from diffjax.ablation.collect import collect
from diffjax.ablation.experiment import read
from diffjax.ablation.plan import tasks
from diffjax.ablation.raised import RUN, Raised, noted
from diffjax.ablation.work import FILM, UNDRAWN, set_aside, state_of, work
from diffjax.errors import Taken, UserError
from diffjax.host.json_files import write_json
from diffjax.workdir.directory import Lock
from tests.ablation.tables import COMPUTED, left
from tests.tiny import quiet


def test_a_function_may_need_a_run_whose_directory_it_is_given(tmp_path):
    """Whose place on disk is no part of what it is."""
    path = tmp_path / "squares.py"
    text = COMPUTED.replace("(seed, x)", "(seed, x, judge)").replace("computed(square, 3)", (
        'computed(square, 3) * setting(judge=Run.of("configs/classifier.py:digits", train__steps=2))'))  # fmt: skip
    path.write_text(text)
    judge, *computing = tasks(read(path).budget("hour"), tmp_path / "runs")
    assert judge.source == "configs/classifier.py:digits" and not judge.evaluations and len(computing) == 3
    for task in computing:
        assert task.needs == (judge,)
        assert {e.keys["judge"] for e in task.evaluations} == {str(tmp_path / "runs" / judge.id)}
    _, *elsewhere = tasks(read(path).budget("hour"), tmp_path / "elsewhere")
    assert [e.id for e in elsewhere[0].evaluations] == [e.id for e in computing[0].evaluations]
    path.write_text(text.replace("train__steps=2", "train__steps=3"))
    _, *another = tasks(read(path).budget("hour"), tmp_path / "runs")
    assert not {e.id for e in another[0].evaluations} & {e.id for e in computing[0].evaluations}


JUDGE = """from diffjax.config import load
def get_config():
    c = load("configs/classifier.py:digits").unlock()
    c.train.update(steps=2, log_every=1, batch_size=64)
    return c
"""


@pytest.fixture
def own_judge(tmp_path):
    """A config file of a judge, in a folder of its own."""
    path = tmp_path / "configs" / "judge.py"
    path.parent.mkdir()
    path.write_text(JUDGE)
    return path


def test_a_differently_trained_run_changes_the_ids_of_all_that_need_it(own_judge, tmp_path):
    """Its config is a file's name in the grid, and what that file says is what it is: of what measures, and trains."""
    path = tmp_path / "squares.py"
    judge = f'Run.of("{own_judge}")'
    drawn = f'trained("configs/digits.py", 1, eval__classifier={judge}, eval__metrics=("classifier",))'
    begun = f'trained("configs/classifier.py:digits", 1, train__init_from={judge}, eval__metrics=("classifier",))'
    computing = f"computed(square, 1) * setting(judge={judge})"
    grid = " + ".join(f'{what} * vary("x", {{{n}: {{}}}})' for n, what in enumerate((computing, drawn, begun), 1))
    budget = f'BUDGETS = {{"hour": Budget("", {grid}, {{"square": "value"}}, 1)}}\n'
    text = COMPUTED.partition("BUDGETS")[0].replace("(seed, x)", "(seed, judge)")
    path.write_text(text.replace("(1, 2)", "(1, 2, 3)").replace("(1, 4)", "(1, 4, 9)") + budget)

    def plan():
        of, computing, drawing, beginning = tasks(read(path).budget("hour"), tmp_path / "runs")
        assert [task.needs for task in (computing, drawing, beginning)] == [(of,)] * 3
        return [of.id, *(task.evaluations[0].id for task in (computing, drawing)), drawing.id, beginning.id]

    before = plan()
    for old, new, changed in (
        ("log_every=1", "log_every=2", (False, False, False, False, False)),
        ("steps=2", "steps=3", (True, True, True, False, True)),
    ):
        own_judge.write_text(JUDGE.replace(old, new))
        assert tuple(one != other for one, other in zip(before, plan(), strict=True)) == changed, new


def test_a_run_that_begins_from_another_is_stale_with_it(own_judge, tmp_path, monkeypatch):
    """And one that another only judges is not trained again."""
    path, judge = tmp_path / "squares.py", f'Run.of("{own_judge}")'
    begun = f'trained("configs/digits.py:conditional", 1, train__init_from={judge})'
    drawn = f'trained("configs/digits.py", 1, eval__classifier={judge}, eval__metrics=("classifier",))'
    grid = f'{begun} * vary("x", {{1: {{}}}}) + {drawn} * vary("x", {{2: {{}}}})'
    budget = f'BUDGETS = {{"hour": Budget("", {grid}, {{"square": "frechet_pixels"}}, 1)}}\n'
    path.write_text(COMPUTED.partition("BUDGETS")[0] + budget)

    def codes():
        of, beginning, drawing = tasks(read(path).budget("hour"), tmp_path / "runs")
        return of.code, beginning.code, drawing.code, drawing.evaluations[0].code

    before, content = codes(), code._content
    monkeypatch.setattr(code, "_content", lambda p: "changed" if p.stem == "classifier" else content(p))
    assert [one != other for one, other in zip(before, codes(), strict=True)] == [True, True, False, True]


def test_cells_measured_by_another_judge_are_stale(own_judge, tmp_path):
    path, root = tmp_path / "experiments" / "squares.py", tmp_path / "runs"
    path.parent.mkdir()
    judge = f'computed(square, 3) * setting(judge=Run.of("{own_judge}"))'
    path.write_text(COMPUTED.replace("(seed, x)", "(seed, x, judge)").replace("computed(square, 3)", judge))
    of, *others = plan = tasks(read(path).budget("hour"), root)
    write_json(of.workdir(root) / "result.json", {"status": "finished"})
    for task in others:
        work(task, root, quiet)
    finish(read(path), "hour", plan, root)
    kept = ledger.cells_of(read(path), "hour")
    assert not any(ledger.stale(cell, plan) for cell in kept.cells)
    own_judge.write_text(JUDGE.replace("steps=2", "steps=3"))
    again = tasks(read(path).budget("hour"), root)
    assert all(ledger.stale(cell, again) for cell in kept.cells)
    assert {state_of(task, root).status for task in again} == {"not run"}, "and so are other runs"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('{"g": square}', "x={'g': <function squ.*>}: function has no place in JSON"),
        ("float('inf')", "x=inf: Out of range float values are not JSON compliant"),
        ("{1, 2}", "x={1, 2}: set has no place in JSON"),
        ('Run.of("configs/classifier.py:digits"), 1', "x=.*Run.*: Run has no place in JSON"),
    ],
)
def test_a_value_that_cannot_identify_a_run_is_a_one_line_error(tmp_path, capsys, value, said):
    path = tmp_path / "squares.py"
    path.write_text(COMPUTED.replace('{1: {"x": 1}', f'{{1: {{"x": ({value})}}'))
    assert launch.main(["ablate", str(path), "--budget=hour", f"--workdir={tmp_path / 'runs'}"]) == 2
    err = capsys.readouterr().err
    assert re.search(f"grid: a run cannot be identified by {said}", err) and err.count("\n") == 1, err


def test_arrays_are_told_apart_by_their_whole_content(tmp_path):
    (tmp_path / "experiments").mkdir()
    path, root = tmp_path / "experiments" / "squares.py", tmp_path / "runs"
    text = COMPUTED.replace("'Squares.'\n", "'Squares.'\nimport numpy as np\n").replace(
        "x * x + 0.1 * x", "float(np.sum(x)) + 0.1"
    )
    text = text.replace('{"x": 1}', '{"x": np.arange(5_000)}').replace('{"x": 2}', '{"x": np.float32(3)}')
    path.write_text(text)
    plan = tasks(read(path).budget("hour"), root)
    one, other = plan[0].evaluations
    path.write_text(text.replace("np.arange(5_000)", "np.where(np.arange(5_000) == 2_500, 0, np.arange(5_000))"))
    changed, same = tasks(read(path).budget("hour"), root)[0].evaluations
    assert one.id != changed.id and other.id == same.id
    path.write_text(text.replace("np.float32(3)", "3.0"))
    assert tasks(read(path).budget("hour"), root)[0].evaluations[1].id == other.id, "the same number"
    path.write_text(text)
    for task in plan:
        work(task, root, quiet)
    finish(read(path), "hour", plan, root)
    kept = ledger.cells_of(read(path), "hour").cells
    assert [cell.provenance[0]["measured with"]["x"] for cell in kept] == [list(range(5_000)), 3.0]
    work(plan[1], tmp_path / "elsewhere", quiet)
    finish(read(path), "hour", tasks(read(path).budget("hour"), tmp_path / "elsewhere"), tmp_path / "elsewhere")
    assert ledger.cells_of(read(path), "hour").cells == kept, "merged with those of another machine"


@pytest.fixture
def judged(tmp_path):
    """Squares that a judge measures, whose run has failed."""
    path, root = tmp_path / "experiments" / "squares.py", tmp_path / "runs"
    path.parent.mkdir()
    judge = 'computed(square, 3) * setting(judge=Run.of("configs/classifier.py:digits", train__steps=2))'
    path.write_text(COMPUTED.replace("(seed, x)", "(seed, x, judge)").replace("computed(square, 3)", judge))
    plan = tasks(read(path).budget("hour"), root)
    write_json(plan[0].workdir(root) / "result.json", {"status": "failed", "reason": "step 3 was not finite"})
    return path, root, plan


def test_missing_needs_the_judge_that_the_ledgers_cells_had(judged, tmp_path):
    path, root, (judge, *others) = judged
    write_json(judge.workdir(root) / "result.json", {"status": "finished"})
    experiment, plan = read(path), (judge, *others)
    assert ledger.missing(experiment, "hour", plan, tmp_path / "nowhere") == list(plan), "of nothing all is missing"
    work(others[0], root, quiet)
    finish(experiment, "hour", plan, root)
    assert ledger.missing(experiment, "hour", plan, root) == others[1:]
    with pytest.raises(UserError, match=f"`missing`: {others[1].id} needs the run {judge.id} .* not in .*nowhere"):
        ledger.missing(experiment, "hour", plan, tmp_path / "nowhere")


def test_two_budgets_compute_with_different_judges_in_one_directory(own_judge, tmp_path):
    """Neither takes the runs of the other for its own, made by older code."""
    path, root = tmp_path / "experiments" / "squares.py", tmp_path / "runs"
    path.parent.mkdir()
    judge = f'computed(square, 3) * setting(judge=Run.of("{own_judge}"))'
    text = COMPUTED.replace("(seed, x)", "(seed, x, judge)").replace("computed(square, 3)", judge)
    longer = text.partition("BUDGETS = ")[2].replace('"hour"', '"day"').replace('py")', 'py", train__steps=3)')
    path.write_text(f"{text}BUDGETS |= {longer}")
    experiment = read(path)
    for name in ("hour", "day", "hour"):
        of, *others = tasks(experiment.budget(name), root)
        write_json(of.workdir(root) / "result.json", {"status": "finished"})
        for task in others:
            work(task, root, quiet)
        assert not any(set_aside(task, root) for task in others)
        cells = collect(experiment, experiment.budget(name), [of, *others], root).cells
        assert [(cell.status, len(cell.values["square"])) for cell in cells] == [("done", 3)] * 2


def test_missing_takes_a_needed_run_that_is_a_row_itself(tmp_path):
    """Squares by a teacher and by two students that begin from it. What the ledger has of them is not run again."""
    path, root = tmp_path / "experiments" / "squares.py", tmp_path / "runs"
    path.parent.mkdir()
    measured = 'eval__metrics=("frechet:pixels",)'
    teacher = f'trained("configs/digits.py", 1, train__steps=2, {measured})'
    begun = 'train__init_from=Run.of("configs/digits.py", train__steps=2)'
    student = f'trained("configs/digits.py", 2, {begun}, {measured})'
    grid = f'{teacher} * vary("x", {{1: {{}}}}) + {student} * vary("x", {{2: {{}}}})'
    budget = f'BUDGETS = {{"hour": Budget("", {grid}, {{"square": "frechet_pixels"}}, 1)}}\n'
    path.write_text(COMPUTED.partition("BUDGETS")[0] + budget)
    experiment = read(path)
    first, *students = plan = tasks(experiment.budget("hour"), root)
    assert [task.needs for task in students] == [(first,)] * 2

    def missing(root):
        return [task.id for task in ledger.missing(experiment, "hour", plan, root)]

    left(students[1], root, frechet_pixels=1.0)
    finish(experiment, "hour", plan, root)
    assert missing(tmp_path / "nowhere") == [first.id, students[0].id], "it will be made first"
    left(first, root, frechet_pixels=1.0)
    finish(experiment, "hour", plan, root)
    assert missing(root) == [students[0].id]
    first.evaluations[0].path(first.workdir(root)).unlink()
    assert missing(root) == [first.id, students[0].id], "needed whole"
    with pytest.raises(UserError, match=f"needs the run {first.id}"):
        missing(tmp_path / "nowhere")


def test_a_task_that_needs_a_failed_run_is_blocked_at_once(judged, capsys):
    path, root, (judge, *others) = judged
    said = f"needs {judge.id}, which failed: step 3 was not finite"
    assert {state_of(task, root)[:2] for task in others} == {("blocked", said)}
    words = ["ablate", str(path), "--budget=hour", f"--workdir={root}"]
    assert launch.main(words) == 2
    shown = capsys.readouterr()
    assert f"ablate: 3 of 4 runs could not be made: {said}" in shown.err
    assert "| 1 | failed | 1 |" in shown.out and f"seeds 0, 1, 2 not measured: {said}" in shown.out
    assert "| squares grow | **not decided** |" in shown.out, "it says nothing of squares"
    assert launch.main([*words, f"--run={others[0].id}"]) == 2
    assert f"--run: {others[0].id} needs {judge.id}" in capsys.readouterr().err
    kept = json.loads(ledger.place_of(read(path)).read_text())["budgets"]["hour"]["cells"]
    assert {cell["status"] for cell in kept} == {"failed"} and all(said in cell["reason"] for cell in kept)
    assert not any("failed" in cell for cell in kept), "no run of theirs has"
    shutil.rmtree(judge.workdir(root))
    assert {state_of(task, root).status for task in others} == {"not run"}, "a judge made anew lets them go on"


def test_a_task_that_needs_a_run_that_raised_waits_for_it(judged):
    path, root, (judge, *others) = judged
    (judge.workdir(root) / "result.json").unlink()
    with pytest.raises(Raised), noted(judge.id, judge.workdir(root), RUN):
        raise ValueError("no such digit")
    assert state_of(judge, root)[:2] == ("not run", "raised ValueError: no such digit"), "to be tried again"
    said = f"needs {judge.id}, which raised ValueError: no such digit"
    assert {state_of(task, root)[:2] for task in others} == {("blocked", said)}
    cells = finish(read(path), "hour", [judge, *others], root).cells
    assert {cell.reason for cell in cells} == {f"seeds 0, 1, 2 not measured: {said}"}
    write_json(judge.workdir(root) / "result.json", {"status": "finished"})
    assert {state_of(task, root)[:2] for task in others} == {("not run", "")}


def test_a_task_does_not_wait_for_the_film_of_a_run_it_needs(judged):
    _, root, (judge, *others) = judged
    write_json(judge.workdir(root) / "result.json", {"status": "finished"})
    (judge.workdir(root) / UNDRAWN).mkdir()
    with pytest.raises(Raised), noted(judge.id, judge.workdir(root), FILM):
        raise ValueError("no such frame")
    assert state_of(judge, root)[:2] == ("trained", "raised ValueError: no such frame"), "to be tried again"
    assert {state_of(task, root)[:2] for task in others} == {("not run", "")}
    work(others[0], root, quiet)
    assert state_of(others[0], root).status == "done"


def test_the_ledger_has_no_paths_of_this_machine(judged):
    path, root, (judge, *others) = judged
    write_json(judge.workdir(root) / "result.json", {"status": "finished"})
    work(others[0], root, str)
    experiment = read(path)
    cells = finish(experiment, "hour", [judge, *others], root).cells
    assert cells[0].provenance[0]["measured with"] == {"x": 1, "judge": f"DIR/{judge.id}"}
    assert str(root.parent) not in ledger.place_of(experiment).read_text()


def test_slurm_gets_needed_runs_first_and_nothing_that_needs_a_failed_run(judged, monkeypatch):
    path, root, (judge, *others) = judged
    (judge.workdir(root) / "result.json").unlink()
    submitted = []

    def ends(result):
        def array(submitit, wave, *_):
            submitted.append([task.id for task in wave])
            for task in wave:
                write_json(task.workdir(root) / "result.json", result)
            return {}

        return array

    monkeypatch.setattr(slurm, "_submitit", lambda: None)
    for result, waves in (
        ({"status": "failed", "reason": "not finite"}, [[judge.id]]),
        ({"status": "finished"}, [[judge.id], [task.id for task in others]]),
    ):
        submitted.clear()
        shutil.rmtree(root)
        monkeypatch.setattr(slurm, "_array", ends(result))
        slurm.run([judge, *others], slurm.Job(quiet, str(path), "hour", root), {}, quiet)
        assert submitted == waves


def test_printed_lines_say_what_must_have_ended_first(judged, capsys):
    path, root, (judge, *others) = judged
    (judge.workdir(root) / "result.json").unlink()
    words = ["ablate", str(path), "--budget=hour", f"--workdir={root}"]
    assert launch.main([*words, "--backend=print"]) == 0
    first, of_judge, then, *rest = capsys.readouterr().out.splitlines()
    assert first == "# first these:" and of_judge.endswith(f"--run={judge.id}")
    assert then.startswith("# once all lines above have ended") and len(rest) == len(others)
    assert launch.main([*words, f"--run={others[0].id}"]) == 2
    assert f"needs {judge.id} (configs/classifier.py:digits): it is not run; run it first" in capsys.readouterr().err


def test_a_table_that_needs_no_training_is_computed(tmp_path, capsys):
    (tmp_path / "experiments").mkdir()
    path, root = tmp_path / "experiments" / "squares.py", tmp_path / "runs"
    path.write_text(COMPUTED)
    experiment = read(path)
    plan = tasks(experiment.budget("hour"), root)
    assert len(plan) == 3
    for task in plan:
        work(task, root, quiet)
    cells = finish(experiment, "hour", plan, root)
    assert [dict(cell.values["square"]) for cell in cells.cells] == [
        {0: 1.0, 1: 1.1, 2: 1.2},
        {0: 4.0, 1: 4.2, 2: 4.4},
    ]
    assert "| squares grow | **reproduced** |" in capsys.readouterr().out
    assert [cell.protocols for cell in cells.cells] == [{"square": {}}] * 2
    path.write_text(COMPUTED.replace("x * x", "x ** 3"))
    finish(read(path), "hour", tasks(read(path).budget("hour"), root), root)
    assert capsys.readouterr().out.count("stale)") == 2, "the function is part of the code"


def test_a_computed_number_may_bring_its_protocol(tmp_path):
    (tmp_path / "experiments").mkdir()
    path, root = tmp_path / "experiments" / "squares.py", tmp_path / "runs"
    number = 'Metric("value", x * x + 0.1 * x * seed, {"x": x})'
    text = COMPUTED.replace("x * x + 0.1 * x * seed", number)
    path.write_text(text.replace("import *", "import *\nfrom diffjax.metrics import Metric"))
    experiment = read(path)
    plan = tasks(experiment.budget("hour"), root)
    for task in plan:
        work(task, root, quiet)
    cells = finish(experiment, "hour", plan, root)
    assert [cell.protocols["square"] for cell in cells.cells] == [{"x": 1}, {"x": 2}]


def test_two_functions_of_one_name_are_an_error(tmp_path):
    path = tmp_path / "squares.py"
    text = COMPUTED.replace("BUDGETS", "one = square\ndef square(seed, x):\n    return {'value': 100 + x}\nBUDGETS")
    grid = "computed(one, 3) * vary('x', {1: {'x': 1}}) + computed(square, 3) * vary"
    path.write_text(text.replace('{1: {"x": 1}, 2:', "{2:").replace("computed(square, 3) * vary", grid))
    with pytest.raises(UserError, match="two functions are called square, and their runs would be one"):
        tasks(read(path).budget("hour"), tmp_path)


def test_a_run_that_another_process_computes_is_left_to_it(tmp_path):
    path = tmp_path / "squares.py"
    path.write_text(COMPUTED)
    task = tasks(read(path).budget("hour"), tmp_path)[0]
    with Lock(task.workdir(tmp_path)), pytest.raises(Taken):
        work(task, tmp_path, quiet)
    assert not (task.workdir(tmp_path) / "cells").exists() and not (task.workdir(tmp_path) / "code.json").exists()


def test_a_directory_renamed_to_another_run_is_an_error(tmp_path):
    path = tmp_path / "squares.py"
    path.write_text(COMPUTED)
    one, two, _ = tasks(read(path).budget("hour"), tmp_path)
    work(one, tmp_path, quiet)
    one.workdir(tmp_path).rename(two.workdir(tmp_path))
    assert state_of(one, tmp_path).status == "not run"
    with pytest.raises(UserError, match=f"`workdir`: .*{two.id} holds the run {one.id}; rename it to that"):
        state_of(two, tmp_path)
