"""Tables end to end: planned, run in processes, killed, continued, kept, refused."""

import errno
import json
import shutil
import signal
import time
from pathlib import Path

import pytest

import launch
from diffjax.ablation import ledger, local
from diffjax.ablation import work as module
from diffjax.ablation.ablate import finish, redo
from diffjax.ablation.collect import collect
from diffjax.ablation.experiment import read
from diffjax.ablation.plan import tasks
from diffjax.ablation.work import FILM, FORWARD, UNDRAWN, is_over, state_of, work
from diffjax.drawing import pictures
from diffjax.errors import Taken, UserError
from diffjax.evaluation import METRICS
from diffjax.host.json_files import write_json
from diffjax.host.surroundings import processor
from diffjax.training.loop import train
from diffjax.workdir.directory import Lock, record_config
from tests import tiny
from tests.tiny import quiet

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The runs of its hour, made once in this process."""
    root = tmp_path_factory.mktemp("runs")
    for task in tasks(read(HERE / "moons.py").budget("hour"), root):
        work(task, root, quiet)
    return root


@pytest.fixture
def finished(moons, runs, tmp_path):
    """Its hour, run: the experiment, its plan, and a copy of its runs."""
    experiment, root = read(moons), shutil.copytree(runs, tmp_path / "runs")
    return experiment, tasks(experiment.budget("hour"), root), root


def test_a_table_is_run_kept_and_read_again(finished, capsys):
    experiment, plan, root = finished
    cells = finish(experiment, "hour", plan, root)
    assert [cell.status for cell in cells.cells] == ["done"] * 4
    kept = ledger.cells_of(experiment, "hour")
    assert [(c.where, c.runs, c.values, c.protocols) for c in kept.cells] == [
        (c.where, c.runs, c.values, c.protocols) for c in cells.cells
    ]
    cell = kept.cells[0]
    assert cell.runs == {0: plan[0].id, 1: plan[1].id} and set(cell.values["distance"]) == {0, 1}
    for task in plan:
        made = cell.provenance[task.seed]
        assert made["commit"] and made["device"] and f"--config.seed={task.seed}" in made["command"]
        assert made["code"] == [task.code, task.evaluations[0].code]
    written = json.loads(ledger.place_of(experiment).read_text())["budgets"]["hour"]
    assert written["claims"][0]["verdict"] in ("reproduced", "contradicted", "not decided")
    shown = capsys.readouterr().out
    assert "over 2 seeds" in shown and "nobody 2020, table 0" in shown and "unstable" in shown
    assert "stale" not in shown


def test_a_run_leaves_films_of_both_ways(finished):
    _, plan, root = finished
    for task in plan:
        forward = sorted(path.name for path in (task.workdir(root) / "forward").iterdir())
        assert 20 < len(forward) <= 24 and forward[0] == "0001_of_1000.png" and forward[-1] == "1000_of_1000.png"
        assert any((task.workdir(root) / "film").iterdir())


def test_an_interrupted_film_is_not_shown_and_is_drawn_by_the_same_command(finished, monkeypatch):
    _, (task, _), root = finished
    workdir = task.workdir(root)
    whole = [{path.name for path in (workdir / name).iterdir()} for name in (FILM, FORWARD)]
    for name in (FILM, FORWARD):
        shutil.rmtree(workdir / name)
    assert state_of(task, root).status == "done", "nobody waits for the film of a run that has none"
    task.evaluations[0].path(workdir).unlink()

    def killed(path, image):
        if len(list((workdir / UNDRAWN).rglob("*.png"))) == len(whole[1]) + 2:  # frames of both films
            raise KeyboardInterrupt
        save_png(path, image)

    save_png = pictures.save_png
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pictures, "save_png", killed)
        work(task, root, quiet)
    assert not (workdir / FILM).exists() and not (workdir / FORWARD).exists()
    assert state_of(task, root)[:2] == ("trained", "") and not is_over(task, root)
    work(task, root, quiet)
    assert state_of(task, root).status == "done" and not (workdir / UNDRAWN).exists()
    assert [{path.name for path in (workdir / name).iterdir()} for name in (FILM, FORWARD)] == whole


def test_what_exists_is_not_made_again(finished):
    _, plan, root = finished
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    for task in plan:
        work(task, root, quiet)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == times


def test_a_single_missing_measurement_is_repeated_to_the_same_number(finished):
    _, plan, root = finished
    workdir = plan[0].workdir(root)
    gone = plan[0].evaluations[1].path(workdir)
    before, trained = json.loads(gone.read_text()), (workdir / "result.json").stat().st_mtime_ns
    gone.unlink()
    others = {path: path.stat().st_mtime_ns for path in gone.parent.glob("*.json")}
    assert state_of(plan[0], root).status == "trained" and len(others) == 3
    with Lock(workdir), pytest.raises(Taken):
        work(plan[0], root, quiet)
    assert not gone.exists(), "another process measures it"
    work(plan[0], root, quiet)
    assert json.loads(gone.read_text())["metrics"] == before["metrics"]
    assert {path: path.stat().st_mtime_ns for path in others} == others, "what is there is not measured again"
    assert (workdir / "result.json").stat().st_mtime_ns == trained


def test_a_user_error_in_a_metric_is_not_a_result_of_the_run(finished, monkeypatch):
    _, plan, root = finished
    gone = plan[0].evaluations[1].path(plan[0].workdir(root))
    gone.unlink()

    def mistaken(e):
        raise UserError("data: example 7 cannot be read")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="example 7 cannot be read"):
        patch.setitem(METRICS, "energy", METRICS["energy"]._replace(function=mistaken))
        work(plan[0], root, quiet)
    said = "evaluate: energy_distance could not be measured: data: example 7 cannot be read"
    assert state_of(plan[0], root)[:2] == ("trained", said) and not gone.exists()
    work(plan[0], root, quiet)
    assert state_of(plan[0], root).status == "done"


def test_the_smoke_test_is_not_kept_and_missing_cells_are_values(finished, capsys):
    experiment, plan, root = finished
    for task in plan:
        task.evaluations[0].path(task.workdir(root)).unlink()
    for budget in ("minute", "hour"):
        finish(experiment, budget, tasks(experiment.budget(budget), root), root)
    written = json.loads(ledger.place_of(experiment).read_text())
    assert list(written["budgets"]) == ["hour"]
    assert sorted(cell["status"] for cell in written["budgets"]["hour"]["cells"]) == ["done"] * 3 + ["not run"]
    assert "not run" in capsys.readouterr().out


def test_a_ledger_that_cannot_be_written_is_found_before_anything_runs(moons, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(local, "run", None)
    (Path(moons).parent / "results").write_text("not a folder")
    words = ["ablate", str(moons), f"--workdir={tmp_path / 'runs'}"]
    assert launch.main([*words, "--budget=hour"]) == 2
    said = f"launch.py: ledger: cannot write to {Path(moons).parent}/results, or not lock files there (File exists), so"
    assert capsys.readouterr().err.startswith(said)
    assert launch.main([*words, "--budget=hour", "--backend=print"]) == 0, "that keeps nothing"


def test_a_table_is_printed_even_if_the_ledger_cannot_be_written_in_the_end(finished, monkeypatch, capsys):
    experiment, plan, root = finished

    def no_locks(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(
        UserError, match=r"^ledger: cannot .*lock files there \(No locks available\), so nothing can be"
    ):
        finish(experiment, "hour", plan, root, crashes=["abc: ended with status 9"])
    said = capsys.readouterr()
    assert "| eta | steps 2 | paper |" in said.out and said.err == "abc: ended with status 9\n"


def test_cells_that_were_not_run_leave_the_ledger_as_it_is(finished, tmp_path):
    experiment, plan, root = finished
    finish(experiment, "hour", plan, root)
    before = ledger.place_of(experiment).read_text()
    finish(experiment, "hour", tasks(experiment.budget("hour"), tmp_path / "empty"), tmp_path / "empty")
    assert ledger.place_of(experiment).read_text() == before


def test_the_report_says_where_runs_were_trained(finished, capsys):
    experiment, plan, root = finished
    config = plan[0].workdir(root) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"device": "8 x tpu"}))
    finish(experiment, "hour", plan, root)
    said = capsys.readouterr().out
    assert f" x cpu, {processor()} (partly trained on 8 x tpu); commit" in said and "summed over 2 runs" in said


def test_cells_that_older_code_trained_are_stale_and_set_aside_when_asked(finished, capsys):
    experiment, plan, root = finished
    for task in plan:
        (task.workdir(root) / "code.json").write_text(json.dumps({"code": "older"}))
    finish(experiment, "hour", plan, root)
    assert capsys.readouterr().out.count("stale)") == 4
    (plan[1].workdir(root) / "code.json").write_text(json.dumps({"code": plan[1].code}))
    redo(plan, root)
    assert [state_of(task, root).status for task in plan] == ["not run", "done"]
    assert (root / f"{plan[0].id}.old1" / "result.json").is_file(), "nothing is deleted"


def test_a_measurement_by_older_code_is_redone_without_training_again(finished, capsys):
    experiment, plan, root = finished
    for task in plan:
        path = task.evaluations[2].path(task.workdir(root))
        content = json.loads(path.read_text())
        content["provenance"]["code"] = "older"
        path.write_text(json.dumps(content))
    finish(experiment, "hour", plan, root)
    assert capsys.readouterr().out.count("stale)") == 1
    with Lock(plan[0].workdir(root)), pytest.raises(Taken):
        redo(plan, root)
    redo(plan, root)
    assert [state_of(task, root).status for task in plan] == ["trained", "trained"]


@pytest.mark.slow
def test_a_run_that_fails_is_a_value_of_the_table(moons, tmp_path, capsys):
    experiment, root = read(moons), tmp_path / "runs"
    plan = tasks(experiment.budget("day"), root)
    for task in plan:
        work(task, root, quiet)
    cells = finish(experiment, "day", plan, root)
    assert {cell.status for cell in cells.cells} == {"failed"} and "was not finite" in cells.cells[0].reason
    assert "| 0.0 | failed |" in capsys.readouterr().out
    assert {c["status"] for c in json.loads(ledger.place_of(experiment).read_text())["budgets"]["day"]["cells"]} == {
        "failed"
    }


def test_the_good_checkpoints_of_a_run_that_fails_are_measured(moons, tmp_path, monkeypatch):
    """Those after 7 and 14 steps are there; what failed it is said to have come between them."""
    text = Path(moons).read_text().replace('{"sampler.steps": steps}', '{"checkpoint.step": 7 * steps // 2}')
    Path(moons).write_text(text)
    (task,) = tasks(read(moons).budget("minute"), tmp_path)
    workdir = task.workdir(tmp_path)

    def fails(config, workdir, note):
        train(config, workdir, note)
        write_json(workdir / "result.json", {"status": "failed", "reason": "not finite", "last_good_step": 13})

    def mistaken(e):
        raise UserError("data: example 7 cannot be read")

    monkeypatch.setattr(module, "train", fails)
    with monkeypatch.context() as patch, pytest.raises(UserError, match="example 7 cannot be read"):
        patch.setitem(METRICS, "energy", METRICS["energy"]._replace(function=mistaken))
        work(task, tmp_path, quiet)
    said = "evaluate: energy_distance could not be measured: data: example 7 cannot be read"
    assert state_of(task, tmp_path)[:2] == ("failing", said)
    monkeypatch.setattr(module, "train", None)
    for _ in range(2):
        work(task, tmp_path, quiet)
        assert state_of(task, tmp_path)[:2] == ("failed", "not finite")
    there = {evaluation.checkpoint: evaluation.path(workdir).is_file() for evaluation in task.evaluations}
    assert there == {7: True, 14: False} and not (workdir / FILM).exists() and not (workdir / UNDRAWN).exists()
    experiment = read(moons)
    budget = experiment.budget("minute")
    cells = collect(experiment, budget, tasks(budget, tmp_path), tmp_path).cells
    assert [(cell.status, len(cell.values)) for cell in cells] == [("done", 1), ("failed", 0)] * 2


def test_a_run_held_by_another_process_is_left_to_it(moons, tmp_path):
    task = tasks(read(moons).budget("minute"), tmp_path)[0]
    with Lock(task.workdir(tmp_path)), pytest.raises(Taken, match="in use by a live process"):
        work(task, tmp_path, quiet)
    assert state_of(task, tmp_path)[:2] == ("not run", ""), "that is no reason for it to be missing"
    words = ["ablate", str(moons), "--budget=minute", f"--workdir={tmp_path}", f"--run={task.id}"]
    with Lock(task.workdir(tmp_path)):
        assert launch.main(words) == 75


def test_a_killed_run_continues_from_its_checkpoint_to_the_same_numbers(finished, tmp_path, capsys):
    _, (whole, _), root = finished
    task = tasks(finished[0].budget("minute"), tmp_path / "half")[0]
    workdir = task.workdir(tmp_path / "half")
    with task.config.unlocked():
        half = task.config.copy_and_resolve_references()
        half.train.steps = 7
    train(half, workdir)
    (workdir / "result.json").unlink()  # as of one that was killed
    write_json(workdir / "code.json", {"id": task.id, "code": task.code})
    begun = (workdir / "metrics.jsonl").read_text()
    lay(workdir / "config.json", steps=14)
    assert task.id == whole.id and state_of(task, tmp_path / "half").status == "begun"
    capsys.readouterr()
    work(task, tmp_path / "half", quiet)
    assert "continuing from step 7" in capsys.readouterr().out
    assert (workdir / "metrics.jsonl").read_text().startswith(begun), "the steps that were done are not done again"
    for one, other in zip(task.evaluations, whole.evaluations, strict=True):
        paths = one.path(workdir), other.path(whole.workdir(root))
        assert len({json.dumps(json.loads(path.read_text())["metrics"]) for path in paths}) == 1
    assert state_of(task, tmp_path / "half").code == task.code


def lay(path, steps):
    """A run's config.json, of a run so long."""
    content = json.loads(path.read_text())
    content["config"]["train"]["steps"] = steps
    write_json(path, content)


@pytest.mark.slow
def test_a_killed_ablation_continues_without_repeating_what_is_done(moons, tmp_path):
    """Two ablations of one directory, the first killed with its processes: every run is trained once."""
    words = ["ablate", str(moons), "--budget=hour", f"--workdir={tmp_path / 'runs'}", "--slots=1"]
    first = tiny.launch(*words)
    plan = tasks(read(moons).budget("hour"), tmp_path / "runs")
    deadline = time.monotonic() + 250
    while state_of(plan[0], tmp_path / "runs").status != "done" and time.monotonic() < deadline:
        time.sleep(0.2)
    first.send_signal(signal.SIGTERM)
    first.wait(100)
    done = (plan[0].workdir(tmp_path / "runs") / "result.json").stat().st_mtime_ns
    both = [tiny.launch(*words) for _ in range(2)]
    ends = [process.communicate(timeout=280) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert (plan[0].workdir(tmp_path / "runs") / "result.json").stat().st_mtime_ns == done
    assert [state_of(task, tmp_path / "runs").status for task in plan] == ["done", "done"]
    assert ends[0][0] == ends[1][0], "the same table from both"
    for task in plan:
        log = (task.workdir(tmp_path / "runs") / "log.txt").read_text()
        assert log.count("step 14/14") == 1, log


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_a_closed_terminal_or_a_kill_ends_the_runs_with_their_checkpoints(moons, tmp_path, number):
    Path(moons).write_text(Path(moons).read_text().replace('"train__steps": 14', '"train__steps": 100_000'))
    (task,) = tasks(read(moons).budget("minute"), tmp_path / "runs")
    workdir = task.workdir(tmp_path / "runs")
    ablation = tiny.launch("ablate", str(moons), "--budget=minute", f"--workdir={tmp_path / 'runs'}")
    deadline = time.monotonic() + 200
    while not list(workdir.glob("checkpoints/[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    ablation.send_signal(number)
    ablation.communicate(timeout=60)
    with Lock(workdir, wait=60):
        said = (workdir / "log.txt").read_text().splitlines()[-1]
        step = said.removeprefix("stopped at step ").split(";")[0]
        assert (workdir / "checkpoints" / step).is_dir(), said


def test_a_truncated_file_is_named_in_one_line(finished, capsys):
    experiment, plan, root = finished
    workdir = plan[1].workdir(root)
    words = ["ablate", str(experiment.path), "--budget=hour", f"--workdir={root}"]
    for path, remove in (
        (plan[1].evaluations[2].path(workdir), ""),
        (workdir / "result.json", ""),
        (workdir / "code.json", workdir),
        (workdir / "config.json", workdir),
    ):
        whole = path.read_text()
        path.write_text(whole[: len(whole) // 2])
        assert launch.main(words) == 2
        said = f"launch.py: {path} is not valid JSON (cut short?); copy it again, or remove {remove or path} so that"
        assert capsys.readouterr().err.splitlines()[-1].startswith(said)
        path.write_text(whole)
    assert launch.main(words) == 0


def test_user_errors_are_one_line(moons, tmp_path, capsys):
    runs = f"--workdir={tmp_path}"
    broken = tmp_path / "broken.py"
    text = Path(moons).read_text()
    for content, words, said in (
        (None, [str(tmp_path / "nowhere.py")], "there is no file"),
        (None, [str(moons), "--budget=week"], "--budget: 'week' is unknown; it must be one of minute, hour, day"),
        (None, [str(moons), "--budget=paper"], "'paper' has no grid"),
        (None, [str(moons), "--slots=-3"], "--slots: -3 must be a number of processes"),
        (None, [str(moons), "--slots=2", "--backend=print"], "--slots: 2 needs --backend=local, not print"),
        (None, [str(moons), "--budget=minute", "--run=abc"], "--run: 'abc' is not a run"),
        (None, [str(moons), "--run=abc", "--rerun-stale"], "--rerun-stale: applies to the whole table, not to --run"),
        (None, [str(moons), "--run=abc", "--backend=print"], "--backend: applies to the whole table, not to --run"),
        (None, [str(moons), "--budget=minute", "--config.seed=1"], "--config.seed"),
        (text.replace("configs/toy2d.py", "configs/nowhere.py"), [str(broken)], "grid: no config file 'configs/now"),
        (text.replace("train__steps", "train__stepz"), [str(broken)], "grid: `train.stepz`: no key 'stepz'"),
        (text.replace('increases("distance", along="eta")', "3"), [str(broken)], "3 must be a statement"),
        (text + "BUDGETS = {}", [str(broken)], "BUDGETS has no budget; it must have one of minute, hour"),
        (text.replace("hours=0.1", "hours=float('inf')"), [str(broken)], "hours=inf of 'two moons, 14 steps' must be"),
        ("x = 1 /", [str(broken)], "broken.py raised SyntaxError"),
        ("x = 1", [str(broken)], "must define PAPER, a Table"),
        ("from diffjax.ablation import *\nTable('', Axis.of('x', (1,)), ())", [str(broken)], "has no source"),
        (
            "from diffjax.ablation import *\nTable('s', Axis.of('x', (1, 2)), (Quantity('FID', 'T', (1,)),))",
            [str(broken)],
            "FID has 1 rows",
        ),
        ("from diffjax.ablation import *\nQuantity('FID', 'Z', (1,))", [str(broken)], "'Z', must be one of A, T, 1"),
    ):
        if content:
            broken.write_text(content)
        assert launch.main(["ablate", *words, runs]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1 and "Traceback" not in err, err


def test_a_run_that_another_table_began_retains_the_checkpoints_of_this_one(moons, tmp_path, monkeypatch):
    Path(moons).write_text(Path(moons).read_text().replace('{"sampler.steps": steps}', '{"checkpoint.step": 7}'))
    (task,) = tasks(read(moons).budget("minute"), tmp_path)
    with task.config.unlocked():
        config = task.config.copy_and_resolve_references()
        config.train.update(keep=1, checkpoint_every=0)
    record_config(task.workdir(tmp_path), config, 0)
    monkeypatch.setattr(module, "train", lambda config, *_: trained.append(config.train))
    trained = []
    work(task, tmp_path, quiet)
    assert [(train.keep, train.checkpoint_every) for train in trained] == [(2, 7)]


def test_a_run_that_raised_before_its_first_checkpoint_begins_anew_with_todays_code(moons, tmp_path, monkeypatch):
    (task,) = tasks(read(moons).budget("minute"), tmp_path)
    record_config(task.workdir(tmp_path), task.config, 0)
    monkeypatch.setattr(module, "train", lambda config, workdir, note: note())
    for checkpoints, recorded in ((False, task.code), (True, "mixed")):
        write_json(task.workdir(tmp_path) / "code.json", {"id": task.id, "code": "older"})
        monkeypatch.setattr(module, "complete_steps", lambda folder, there=checkpoints: [7] if there else [])
        work(task, tmp_path, quiet)
        assert state_of(task, tmp_path).code == recorded


def test_print_gives_a_line_for_each_run_that_is_missing(moons, tmp_path, capsys):
    words = ["ablate", str(moons), "--budget=hour", f"--workdir={tmp_path}", "--backend=print"]
    assert launch.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.startswith("python launch.py ablate ") and "--run=" in line for line in lines)


def test_an_interrupted_table_ends_with_status_2(moons, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(local.Stop, "asked", True)
    assert launch.main(["ablate", str(moons), "--budget=hour", f"--workdir={tmp_path}"]) == 2
    assert "ablate: 2 of 2 runs are not done" in capsys.readouterr().err
