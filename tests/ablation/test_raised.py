"""A run ended by an exception or a mistake: the table says which, no claim counts it, and it is tried again."""

import contextlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import launch
from diffjax.ablation import ledger, local, work
from diffjax.ablation.ablate import finish
from diffjax.ablation.collect import collect
from diffjax.ablation.experiment import read
from diffjax.ablation.plan import tasks
from diffjax.ablation.raised import Raised, raised
from diffjax.ablation.work import FILM, UNDRAWN, state_of
from diffjax.errors import UserError
from diffjax.evaluation import Score
from diffjax.evaluation.report import record
from diffjax.host.json_files import write_json
from tests.tiny import quiet

HERE = Path(__file__).parent

INVERSES = """'Inverses.'
from diffjax.ablation import *
PAPER = Table("nobody", Axis.of("x", (0, 1)), (Quantity("inverse", "D", (None, 1)),))
CLAIMS = (Claim("inverses fall", increases("inverse", along="x")),)
def inverse(seed, x):
    return {"value": 1 / x}
BUDGETS = {"hour": Budget("", computed(inverse, 1) * vary("x", {0: {"x": 0}, 1: {"x": 1}}), {"inverse": "value"}, 1)}
"""
SAID = "raised ZeroDivisionError: division by zero"
TABULATED = INVERSES.replace("import *", "import *\nfrom pathlib import Path\nfrom diffjax.errors import UserError")
TABULATED = TABULATED.replace(
    """    return {"value": 1 / x}""",
    """    if not Path(__file__).with_name(f"{x}.txt").is_file():
        raise UserError(f"table: there is no file {x}.txt; make one")
    return {"value": 1.0 + x}""",
)
MISTAKE = "table: there is no file 0.txt; make one"


@pytest.fixture
def here(monkeypatch):
    """What the local backend starts runs in this process, and has ended when it has been started."""

    def start(slot, command, log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as output, contextlib.redirect_stderr(output):
            status = launch.main(command[2:])
        return SimpleNamespace(poll=lambda: status, returncode=status)

    monkeypatch.setattr(local.Slot, "start", start)


@pytest.fixture
def inverses(tmp_path):
    """An experiment whose function cannot compute the first of two places."""
    path = tmp_path / "experiments" / "inverses.py"
    path.parent.mkdir()
    path.write_text(INVERSES)
    return path


@pytest.mark.usefixtures("here")
def test_an_exception_at_a_place_is_failed_with_its_reason_until_fixed(inverses, tmp_path, capsys):
    words = ["ablate", str(inverses), "--budget=hour", f"--workdir={tmp_path / 'runs'}"]
    (task,) = tasks(read(inverses).budget("hour"), tmp_path / "runs")
    log = task.workdir(tmp_path / "runs") / "log.txt"
    for _ in range(2):
        assert launch.main(words) == 2, "the same command does not hide it"
        shown = capsys.readouterr()
        assert f"{task.id}: {SAID} (see {log})" in shown.err
        assert "ablate: 1 of 1 runs are not done" in shown.err
        assert "| 0 | failed |" in shown.out and f"seed 0 not measured: {SAID}" in shown.out
        assert "not run" not in shown.out and "| inverses fall | **not decided** |" in shown.out
    assert log.read_text().count("Traceback") == 2, "it was tried again"
    first, second = json.loads(ledger.place_of(read(inverses)).read_text())["budgets"]["hour"]["cells"]
    assert first["status"] == "failed" and first["blocked"] == {"0": SAID}
    assert second["quantities"]["inverse"]["values"] == {"0": 1.0}, "the other place has its values"
    inverses.write_text(INVERSES.replace("1 / x", "1 / max(x, 0.5)"))
    assert launch.main([*words, "--rerun-stale"]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("set aside as") == 1 and "stale" not in shown.out and SAID not in shown.out
    cells = ledger.cells_of(read(inverses), "hour").cells
    assert [dict(cell.values["inverse"]) for cell in cells] == [{0: 2.0}, {0: 1.0}]


@pytest.fixture
def tabulated(inverses):
    """An experiment that computes a place where there is a file for it, and says where there is none."""
    inverses.write_text(TABULATED)
    return inverses


@pytest.mark.usefixtures("here")
def test_a_user_error_at_a_place_is_failed_with_its_line_until_fixed(tabulated, tmp_path, capsys):
    words = ["ablate", str(tabulated), "--budget=hour", f"--workdir={tmp_path / 'runs'}"]
    (task,) = tasks(read(tabulated).budget("hour"), tmp_path / "runs")
    workdir = task.workdir(tmp_path / "runs")
    tabulated.with_name("1.txt").touch()
    for _ in range(2):
        assert launch.main(words) == 2
        shown = capsys.readouterr()
        assert f"{task.id}: {MISTAKE} (see {workdir / 'log.txt'})" in shown.err
        assert "| 0 | failed |" in shown.out and f"seed 0 not measured: {MISTAKE}" in shown.out
        assert "| 1 | 2 | 1 |" in shown.out and "| inverses fall | **not decided** |" in shown.out
    log = (workdir / "log.txt").read_text()
    assert log.count(f"launch.py: {MISTAKE}") == 2 and "Traceback" not in log
    first, second = json.loads(ledger.place_of(read(tabulated)).read_text())["budgets"]["hour"]["cells"]
    assert (first["status"], first["blocked"], second["status"]) == ("failed", {"0": MISTAKE}, "done")
    tabulated.with_name("0.txt").touch()
    assert launch.main(words) == 0
    assert MISTAKE not in "".join(capsys.readouterr()) and MISTAKE not in ledger.place_of(read(tabulated)).read_text()
    assert raised(workdir, *(evaluation.id for evaluation in task.evaluations)) == "", "nothing is left of it"


@pytest.mark.usefixtures("here")
def test_a_user_error_everywhere_is_one_line_and_not_kept(tabulated, tmp_path, capsys):
    words = ["ablate", str(tabulated), "--budget=hour", f"--workdir={tmp_path / 'runs'}"]
    assert launch.main(words) == 2
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1] == f"launch.py: {MISTAKE}" and shown.out == "" and shown.err.count(MISTAKE) == 1
    assert not ledger.place_of(read(tabulated)).exists()
    for x in (0, 1):
        tabulated.with_name(f"{x}.txt").touch()
    assert launch.main(words) == 0
    assert "| 0 | 1 |" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_a_missing_data_set_of_the_judge_is_one_line_and_not_kept(inverses, tmp_path, monkeypatch, capsys):
    judge = 'computed(inverse, 1) * setting(judge=Run.of("configs/classifier.py:mnist", train__steps=2))'
    inverses.write_text(INVERSES.replace("seed, x", "seed, x, judge").replace("computed(inverse, 1)", judge))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert launch.main(["ablate", str(inverses), "--budget=hour", f"--workdir={tmp_path / 'runs'}"]) == 2
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1].startswith("launch.py: data.name: 'tfds:mnist' is not prepared")
    assert shown.out == "" and not ledger.place_of(read(inverses)).exists()


NO_ROOM = UserError("--workdir: no room to save a checkpoint")
NO_ROOM.__cause__ = OSError(28, "No space left on device")


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left on device"), NO_ROOM])
def test_the_machines_faults_are_not_recorded(inverses, tmp_path, error):
    (task,), root = tasks(read(inverses).budget("hour"), tmp_path), tmp_path

    def compute(**_):
        raise error

    task.compute = compute
    with pytest.raises(type(error)):
        work.work(task, root, quiet)
    assert state_of(task, root)[:2] == ("not run", "")


def trains(config, workdir, note):
    """As a training that ends, as far as a table sees it."""
    note()
    write_json(workdir / "result.json", {"status": "finished"})


def measures(evaluation, workdir, say):
    """Likewise a measurement."""
    score = Score("energy_distance", 1.0, None, "", {})
    record([score], {"code": evaluation.code}, evaluation.path(workdir))


@pytest.mark.parametrize("name, lost", [("train", 4), ("_draw_frames", 0), ("_measure", 1)])
def test_an_exception_is_reported_for_what_is_missing_and_tried_again(name, lost, tmp_path, monkeypatch, capsys):
    experiment = read(HERE / "moons.py")
    plan = tasks(experiment.budget("minute"), tmp_path)
    works = {"train": trains, "_draw_frames": lambda workdir: None, "_measure": measures}

    def raises_once(*_):
        monkeypatch.setattr(work, name, works[name])
        raise TypeError("no\nsuch thing")

    for function, real in (works | {name: raises_once}).items():
        monkeypatch.setattr(work, function, real)
    with pytest.raises(Raised, match=f"`run`: {plan[0].id} raised TypeError: no such thing"):
        work.work(plan[0], tmp_path, quiet)
    assert "Traceback" in capsys.readouterr().err
    cells = finish(experiment, "minute", plan, tmp_path).cells
    assert [cell.status for cell in cells] == ["failed"] * lost + ["done"] * (4 - lost)
    if lost:
        assert cells[0].reason == "seed 0 not measured: raised TypeError: no such thing" and not cells[0].failed
    else:  # what is measured later does not have the film's reason
        plan[0].evaluations[0].path(plan[0].workdir(tmp_path)).unlink()
        assert state_of(plan[0], tmp_path)[:2] == ("trained", "")
    work.work(plan[0], tmp_path, quiet)
    assert state_of(plan[0], tmp_path)[:2] == ("done", "")
    assert {cell.status for cell in finish(experiment, "minute", plan, tmp_path).cells} == {"done"}


@pytest.mark.usefixtures("here")
def test_a_film_that_raises_is_reported_beside_a_complete_table_and_drawn_again(tmp_path, monkeypatch, capsys):
    (tmp_path / "experiments").mkdir()
    path = shutil.copy(HERE / "moons.py", tmp_path / "experiments" / "moons.py")
    (task,) = tasks(read(path).budget("minute"), tmp_path / "runs")
    workdir, drawn = task.workdir(tmp_path / "runs"), []

    def film(workdir):
        (workdir / UNDRAWN / FILM).mkdir()
        (workdir / UNDRAWN / FILM / f"{len(drawn)}.png").touch()
        drawn.append(workdir)
        if len(drawn) == 1:
            raise TypeError("no such thing")

    for function, does in (("train", trains), ("_draw_frames", film), ("_measure", measures)):
        monkeypatch.setattr(work, function, does)
    words = ["ablate", str(path), "--budget=minute", f"--workdir={tmp_path / 'runs'}"]
    assert launch.main(words) == 2
    shown = capsys.readouterr()
    assert f"{task.id}: raised TypeError: no such thing (see {workdir / 'log.txt'})" in shown.err
    assert "ablate: 1 of 1 runs are not done" in shown.err and "failed" not in shown.out
    assert not (workdir / FILM).exists()
    for _ in range(2):
        assert launch.main(words) == 0 and len(drawn) == 2, "once is enough"
        assert [path.name for path in (workdir / FILM).iterdir()] == ["1.png"]


def test_a_user_error_in_one_run_fails_its_seed_only(tmp_path, monkeypatch):
    experiment = read(HERE / "moons.py")
    plan = tasks(experiment.budget("hour"), tmp_path)

    def mistaken(config, workdir, note):
        raise UserError("train.init_from: there is no such run")

    for function, does in (("train", mistaken), ("_draw_frames", quiet), ("_measure", measures)):
        monkeypatch.setattr(work, function, does)
    with pytest.raises(UserError, match="train.init_from: there is no such run"):
        work.work(plan[0], tmp_path, quiet)
    monkeypatch.setattr(work, "train", trains)
    work.work(plan[1], tmp_path, quiet)
    cells = collect(experiment, experiment.budget("hour"), plan, tmp_path).cells
    assert {(cell.status, cell.reason) for cell in cells} == {
        ("part failed", "seed 0 not measured: train.init_from: there is no such run")
    }
    work.work(plan[0], tmp_path, quiet)
    assert {cell.status for cell in collect(experiment, experiment.budget("hour"), plan, tmp_path).cells} == {"done"}
