"""The ledger: nothing that it has is lost to runs that have less, to another process, or to a place that is amiss."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

import launch
from diffjax.ablation import ledger, thumbnails
from diffjax.ablation.ablate import ablate, finish
from diffjax.ablation.cells import Cell
from diffjax.ablation.collect import collect
from diffjax.ablation.experiment import read
from diffjax.ablation.ledger import keep, place_of
from diffjax.ablation.plan import tasks
from diffjax.ablation.work import work
from diffjax.errors import Taken, UserError
from diffjax.host.json_files import write_json
from diffjax.workdir.directory import Lock
from tests.ablation.tables import COMPUTED, kept, left, run
from tests.tiny import quiet

UNCOMMITTED = "the code has uncommitted changes, which the ledger will record for these runs; better commit first\n"
TIMED = (  # which measures how long it took, too
    COMPUTED.replace('"D", (1, 4)),)', '"D", (1, 4)), Quantity("time", "D", (1, 4)))')
    .replace("0.1 * x * seed}", '0.1 * x * seed, "seconds": 2.0 + seed, "cpu_seconds": 9.0 - x - seed}')
    .replace('{"square": "value"}', '{"square": "value", "time": "seconds"}')
)
REPRODUCED = "| squares grow | **reproduced** |"


@pytest.fixture
def squares(tmp_path):
    """An experiment of three seeds that needs no training, in a folder of its own."""
    path = tmp_path / "experiments" / "squares.py"
    path.parent.mkdir()
    path.write_text(COMPUTED)
    return path


def test_a_complete_cell_is_not_lost_to_runs_that_have_less(squares, tmp_path, capsys):
    run(squares, tmp_path / "here")
    before = place_of(read(squares)).read_text()
    capsys.readouterr()
    found = run(squares, tmp_path / "elsewhere", seeds=1)
    assert [cell.status for cell in found.cells] == ["running", "running"]
    assert place_of(read(squares)).read_text() == before
    assert REPRODUCED in capsys.readouterr().out, "what is printed is what the ledger has"


def test_a_table_without_runs_is_printed_but_not_kept(squares, tmp_path, capsys):
    run(squares, tmp_path / "nothing", seeds=0)
    assert "not run" in capsys.readouterr().out and not place_of(read(squares)).exists()
    run(squares, tmp_path / "here")
    capsys.readouterr()
    run(squares, tmp_path / "nothing", seeds=0)
    assert REPRODUCED in capsys.readouterr().out, "what is printed is what the ledger has"


def test_more_seeds_replace_fewer(squares, tmp_path, capsys):
    for seeds, status in ((1, "running"), (2, "running"), (3, "done")):
        run(squares, tmp_path / f"{seeds}", seeds)
        assert {(cell.status, len(cell.values["square"])) for cell in kept(squares)} == {(status, seeds)}
        assert capsys.readouterr().out.count(f"({seeds} of 3 seeds so far)") == (2 if seeds < 3 else 0)


def test_seeds_run_in_two_places_are_merged_with_their_provenance(squares, tmp_path):
    one, two = run(squares, tmp_path / "one", 2), run(squares, tmp_path / "two", 2, first=1)
    for a, b, both in zip(one.cells, two.cells, kept(squares), strict=True):
        assert (a.status, both.status, both.reason) == ("running", "done", "")
        assert both.values["square"] == a.values["square"] | b.values["square"]
        assert list(both.values["square"]) == [0, 1, 2]
        assert both.provenance == a.provenance | b.provenance


@pytest.mark.parametrize("seed", [0, 2])
def test_a_failed_seed_is_merged_with_others_until_it_is_redone(squares, tmp_path, seed):
    root = tmp_path / "failed"
    task = tasks(read(squares).budget("hour"), root)[seed]
    write_json(task.workdir(root) / "code.json", {"code": task.code})
    write_json(task.workdir(root) / "result.json", {"status": "failed", "reason": "r"})
    run(squares, root, 0)
    run(squares, tmp_path / "two", 2, first=0 if seed else 1)
    assert {(cell.status, cell.reason) for cell in kept(squares)} == {("part failed", f"seed {seed} failed: r")}
    run(squares, tmp_path / "again", 1, first=seed)
    assert {(cell.status, cell.reason) for cell in kept(squares)} == {("done", "")}


def test_seeds_measured_differently_are_not_merged(squares, tmp_path):
    run(squares, tmp_path / "one", 2)
    before, root = kept(squares), tmp_path / "two"
    run(squares, root, 0)
    plan = tasks(read(squares).budget("hour"), root)
    work(plan[2], root, quiet)
    path = plan[2].evaluations[0].path(plan[2].workdir(root))
    content = json.loads(path.read_text())
    content["metrics"][0]["protocol"] = {"device": "another"}
    write_json(path, content)
    run(squares, root, 0)
    assert [cell.finished for cell in kept(squares)] == [{0, 1}, {0, 1, 2}]
    assert kept(squares)[0] == before[0]


def test_seeds_of_two_machines_are_merged_but_not_what_depends_on_the_machine(squares, tmp_path):
    """One seed more from elsewhere is not lost because its speed cannot be compared."""

    def run_on(machine, root, seeds, first=0):
        run(squares, root, 0)
        plan = tasks(read(squares).budget("hour"), root)
        for task in plan[first : first + seeds]:
            work(task, root, quiet)
            for evaluation in task.evaluations:
                path = evaluation.path(task.workdir(root))
                content = json.loads(path.read_text())
                content["metrics"][1]["protocol"] = {"device": machine}
                write_json(path, content)
        run(squares, root, 0)

    squares.write_text(TIMED)
    run_on("a", tmp_path / "one", 2)
    assert [sorted(cell.values) for cell in kept(squares)] == [["square", "time"]] * 2
    run_on("b", tmp_path / "two", 1, first=2)
    for cell in kept(squares):
        assert (list(cell.values["square"]), cell.status, list(cell.refused)) == ([0, 1, 2], "done", ["time"])
        assert "protocols differ: device (a against b); 2 (seed 0), 3 (seed 1), 4 (seed 2)" in cell.refused["time"]
    plan = tasks(read(squares).budget("hour"), tmp_path)
    assert ledger.missing(read(squares), "hour", plan, tmp_path) == []
    run_on("b", tmp_path / "three", 3)
    assert [(list(cell.values["time"]), cell.refused) for cell in kept(squares)] == [([0, 1, 2], {})] * 2


def test_missing_runs_only_what_the_ledger_lacks_without_run_directories(squares, tmp_path, capsys):
    def planned(root, missing):
        capsys.readouterr()
        words = ["ablate", str(squares), "--budget=hour", "--backend=print", f"--workdir={root}"]
        assert launch.main([*words, *(["--missing"] if missing else [])]) == 0
        lines = capsys.readouterr().out.splitlines()
        plan = tasks(read(squares).budget("hour"), root)
        return [task.seed for task in plan if any(task.id in line for line in lines)]

    run(squares, tmp_path / "one", 2)
    assert planned(tmp_path / "two", missing=True) == [2]
    assert planned(tmp_path / "two", missing=False) == [0, 1, 2], "so one checks a ledger"
    run(squares, tmp_path / "two", 1, first=2)
    capsys.readouterr()
    ablate(str(squares), "hour", "local", tmp_path / "three", missing=True)
    shown = capsys.readouterr()
    assert REPRODUCED in shown.out and "the ledger has 3 of 3 runs" in shown.err and not (tmp_path / "three").exists()
    squares.write_text(COMPUTED.replace("x * x", "x ** 3"))
    assert planned(tmp_path / "four", missing=True) == [0, 1, 2], "what older code made is missing"


def test_a_stale_cell_is_replaced_as_a_whole_once_all_seeds_are_redone(squares, tmp_path, capsys):
    run(squares, tmp_path / "old")
    squares.write_text(COMPUTED.replace("x * x", "x ** 3"))
    for seeds in (1, 2):
        run(squares, tmp_path / "new", seeds)
        assert [cell.values["square"][0] for cell in kept(squares)] == [1.0, 4.0]
        assert capsys.readouterr().out.count(f"stale, now {seeds} of 3 seeds redone") == 2
    run(squares, tmp_path / "new", 3)
    assert [(cell.values["square"][0], cell.now) for cell in kept(squares)] == [(1.0, ""), (8.0, "")]
    assert "stale" not in capsys.readouterr().out
    run(squares, tmp_path / "old")
    assert [cell.values["square"][0] for cell in kept(squares)] == [1.0, 8.0], "the runs of older code are still there"


def test_a_cell_measured_differently_is_stale_even_for_the_same_run_and_code(squares, tmp_path):
    run(squares, tmp_path / "runs")
    text = COMPUTED.replace("{1: {", '{1: {"more": 0, ').replace("(seed, x)", "(seed, x, more=0)")
    squares.write_text(text)
    plan = tasks(read(squares).budget("hour"), tmp_path / "runs")
    for cell in kept(squares):  # as if the code were today's
        code = [[task.code, task.evaluations[0].code] for task in plan]
        provenance = {seed: made | {"code": code[seed]} for seed, made in cell.provenance.items()}
        today = Cell(cell.where, cell.runs, cell.values, provenance=provenance)
        assert ledger.stale(today, plan) is (cell.where["x"] == "1")


def test_cells_that_todays_grid_leaves_out_stay_and_are_stale(squares, tmp_path, capsys):
    run(squares, tmp_path / "runs")
    before = kept(squares)
    squares.write_text(COMPUTED.replace(', 2: {"x": 2}}', "}"))
    capsys.readouterr()
    run(squares, tmp_path / "runs")
    assert kept(squares) == before
    assert capsys.readouterr().out.count("(stale)") == 1


def test_refreshing_follows_the_experiments_file_and_changes_no_cell(squares, tmp_path):
    run(squares, tmp_path / "runs")
    place = place_of(read(squares))

    def refreshed():
        experiment = read(squares)
        ledger.refresh(experiment, {"hour": tasks(experiment.budget("hour"), tmp_path)})
        return place.read_text()

    before = place.read_text()
    assert refreshed() == before
    squares.write_text(COMPUTED.replace('"D", (1, 4)', '"D", (1, 5)').replace("squares grow", "all squares grow"))
    after = json.loads(refreshed())["budgets"]["hour"]
    assert [claim["says"] for claim in after["claims"]] == ["all squares grow"]
    assert [cell["published"]["square"]["value"] for cell in after["cells"]] == [1, 5]
    place.write_text(before)
    squares.write_text(COMPUTED)
    assert refreshed() == before


def test_different_protocols_refuse_only_their_own_quantity(squares, tmp_path, capsys):
    squares.write_text(TIMED)
    root = tmp_path / "runs"
    for task in tasks(read(squares).budget("hour"), root):
        work(task, root, quiet)
        if task.seed:
            timed_otherwise(task, root, {"device": "another"})
    run(squares, root)
    said = "protocols differ: device (absent against another); 2 (seed 0), 3 (seed 1), 4 (seed 2)"
    one, other = kept(squares)
    assert (one.status, one.refused, set(one.values)) == ("done", {"time": said}, {"square"})
    assert not other.refused and set(other.values) == {"square", "time"}
    shown = capsys.readouterr().out
    assert "| 1 | refused | 1 |" in shown and f"- x 1: time is refused: {said}" in shown
    assert REPRODUCED in shown


def timed_otherwise(task, root, protocol=None):
    """At its first place the time has another protocol; without one, it was not measured."""
    path = task.evaluations[0].path(task.workdir(root))
    content = json.loads(path.read_text())
    time = next(score for score in content["metrics"] if score["name"] == "seconds")
    time["protocol"] = protocol
    content["metrics"] = [score for score in content["metrics"] if protocol or score != time]
    write_json(path, content)


def test_a_quantity_is_not_lost_to_a_cell_of_as_many_seeds_that_refuses_it(squares, tmp_path):
    """A run directory is lost, and its seed done again on other hardware."""
    squares.write_text(TIMED)
    run(squares, tmp_path / "runs")
    before = kept(squares)
    timed_otherwise(tasks(read(squares).budget("hour"), tmp_path)[2], tmp_path / "runs", {"device": "another"})
    found = run(squares, tmp_path / "runs").cells[0]
    assert set(found.refused) == {"time"} and found.complete and kept(squares) == before
    for task in tasks(read(squares).budget("hour"), tmp_path):
        timed_otherwise(task, tmp_path / "runs", {"device": "another"})
    run(squares, tmp_path / "runs")
    assert kept(squares)[0].protocols["time"] == {"device": "another"}, "of as many, all alike, the later ones"


def test_a_quantity_is_not_lost_to_a_later_run_of_the_seed_that_lacks_it(squares, tmp_path):
    squares.write_text(TIMED)
    run(squares, tmp_path / "runs")
    before = kept(squares)
    for task in tasks(read(squares).budget("hour"), tmp_path):
        timed_otherwise(task, tmp_path / "runs")
    found = run(squares, tmp_path / "runs").cells[0]
    assert set(found.values) == {"square"} and kept(squares) == before


@pytest.mark.parametrize("last", ["one", "two"], ids=["in one directory", "in two directories"])
def test_a_quantity_that_some_seeds_lack_is_refused_counts_as_missing_and_is_not_lost(squares, tmp_path, capsys, last):
    squares.write_text(TIMED)
    root = tmp_path / last
    plan = tasks(read(squares).budget("hour"), root)
    work(plan[2], root, quiet)
    timed_otherwise(plan[2], root)
    run(squares, tmp_path / "one", 2)
    capsys.readouterr()
    run(squares, root, 0)
    said = "no seconds for seed 2, which other seeds have"
    one, other = kept(squares)
    assert (one.refused, set(one.values), one.status) == ({"time": said}, {"square"}, "done")
    assert set(other.values["time"]) == {0, 1, 2}
    assert f"x 1: time is refused: {said}" in capsys.readouterr().out
    plan = tasks(read(squares).budget("hour"), tmp_path / "three")
    assert ledger.missing(read(squares), "hour", plan, tmp_path / "three") == [plan[2]]
    run(squares, tmp_path / "three", 1, first=2)
    assert [set(cell.values["time"]) for cell in kept(squares)] == [{0, 1, 2}] * 2
    assert ledger.missing(read(squares), "hour", plan, tmp_path / "three") == []


def test_cells_by_another_score_are_neither_shown_nor_merged_nor_lost(squares, tmp_path, capsys):
    """Both scores are measured, so that no id changes with the one that stands for a quantity."""
    growing = TIMED.replace("CLAIMS = (", 'CLAIMS = (Claim("time grows", increases("time", along="x")), ')
    swapped = growing.replace('"time": "seconds"', '"time": "cpu_seconds"')
    squares.write_text(growing)
    run(squares, tmp_path / "runs")
    before, content = kept(squares), place_of(read(squares)).read_text()
    squares.write_text(swapped)
    plan = tasks(read(squares).budget("hour"), tmp_path / "new")
    said = "no cpu_seconds yet: the ledger has seconds"
    for cell in kept(squares):
        assert cell.refused == {"time": said} and set(cell.values) == {"square"} and not ledger.stale(cell, plan)
    assert ledger.missing(read(squares), "hour", plan, tmp_path / "new") == plan
    for seeds in (1, 2):
        capsys.readouterr()
        run(squares, tmp_path / "new", seeds)
        shown = capsys.readouterr().out
        assert shown.count(f"refused (now {seeds} of 3 seeds redone)") == 2 and REPRODUCED in shown
        assert f"| time grows | **not decided** | time (x 1) < time (x 2): refused: {said} |" in shown
        written = json.loads(place_of(read(squares)).read_text())["budgets"]["hour"]
        assert written["measures"]["time"] == "cpu_seconds"
        assert {cell["measures"]["time"] for cell in written["cells"]} == {"seconds"}
        assert [claim["verdict"] for claim in written["claims"]] == ["not decided", "reproduced"]
    squares.write_text(growing)
    assert [(cell.values, cell.refused) for cell in kept(squares)] == [(cell.values, {}) for cell in before]
    assert ledger.missing(read(squares), "hour", plan, tmp_path / "new") == []
    squares.write_text(swapped)
    run(squares, tmp_path / "new", 3)
    assert [cell.values["time"][0] for cell in kept(squares)] == [8.0, 7.0]
    squares.write_text(growing)
    run(squares, tmp_path / "runs")
    assert place_of(read(squares)).read_text() == content


def test_a_quantity_newly_added_to_a_budget_is_missing(squares, tmp_path, capsys):
    squares.write_text(TIMED.replace(', "time": "seconds"', ""))
    run(squares, tmp_path / "one", 2)
    squares.write_text(TIMED)
    said = "no seconds yet: the cell was kept before the budget had a score for time"
    assert [cell.refused for cell in kept(squares)] == [{"time": said}] * 2
    plan = tasks(read(squares).budget("hour"), tmp_path / "two")
    assert ledger.missing(read(squares), "hour", plan, tmp_path / "two") == plan
    run(squares, tmp_path / "two", 1, first=2)
    assert [set(cell.values["square"]) for cell in kept(squares)] == [{0, 1}] * 2
    run(squares, tmp_path / "one", 2)
    assert [cell.now for cell in kept(squares)] == ["2 of 3 seeds redone"] * 2
    run(squares, tmp_path / "one", 3)
    assert [set(cell.values["time"]) for cell in kept(squares)] == [{0, 1, 2}] * 2
    squares.write_text(TIMED.replace(', "time": "seconds"', ""))
    assert [set(cell.values) for cell in kept(squares)] == [{"square"}] * 2, "which the budget has no more"
    assert ledger.missing(read(squares), "hour", plan, tmp_path / "two") == []


def test_seeds_of_two_code_versions_never_share_a_cell(squares, tmp_path, capsys):
    root = tmp_path / "runs"
    run(squares, root, 2)
    squares.write_text(COMPUTED.replace("x * x", "100 + x * x"))
    found = run(squares, root, 1, first=2)
    assert [set(cell.values["square"]) for cell in found.cells] == [{2}, {2}], "those that today's code made"
    said = "seeds 0, 1 not measured: made by other code than the other seeds; --rerun-stale makes all by the same"
    assert {cell.reason for cell in found.cells} == {said} and not any(cell.complete for cell in found.cells)
    assert [set(cell.values["square"]) for cell in kept(squares)] == [{0, 1}, {0, 1}], "until all are done again"
    assert "stale, now 1 of 3 seeds redone" in capsys.readouterr().out
    squares.write_text(COMPUTED.replace("x * x", "1000 + x * x"))
    found = run(squares, root, 0)
    assert [set(cell.values["square"]) for cell in found.cells] == [{0, 1}, {0, 1}], "of two older codes the more"


def test_a_score_that_one_seed_lacks_is_refused_not_averaged(squares, tmp_path, capsys):
    squares.write_text(COMPUTED.replace('return {"value"', 'return {} if seed == 2 else {"value"'))
    run(squares, tmp_path / "runs")
    assert {cell.refused["square"] for cell in kept(squares)} == {"no value for seed 2, which other seeds have"}
    shown = capsys.readouterr().out
    assert "| 1 | refused | 1 |" in shown and "| squares grow | **not decided** | " in shown


def test_the_file_has_published_and_measured_values(squares, tmp_path):
    run(squares, tmp_path / "runs")
    content = json.loads(place_of(read(squares)).read_text())
    assert content["source"] == "nobody"
    for cell, value in zip(content["budgets"]["hour"]["cells"], (1, 4), strict=True):
        x = int(cell["where"]["x"])
        assert cell["published"]["square"] == {
            "value": value, "mark": "D", "source": "derived in the experiment's file"
        }  # fmt: skip
        values = [x * x + 0.1 * x * seed for seed in range(3)]
        of = cell["quantities"]["square"]
        assert list(of["values"].values()) == values and of["n"] == 3 and cell["status"] == "done"
        assert (of["mean"], of["sd"]) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
        assert cell["provenance"].keys() >= {"commit", "device", "code"}
        assert [made["command"] for made in cell["provenance"]["seeds"].values()] == [
            f"square of the experiment's file, seed {seed}" for seed in range(3)
        ]


NO_NUMBER = json.dumps({"budgets": {"hour": {"measures": {}, "cells": [{
    "where": {"x": "1"}, "runs": {"0": "a"}, "provenance": {"seeds": {"0": {}}},
    "quantities": {"square": {"values": {"0": "four"}, "protocol": {}}},
}]}}})  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "is not a ledger: it has no budgets"),
        ("{}", "is not a ledger: it has no budgets"),
        ("{", "is not valid JSON"),
        ('{"budgets": {"hour": {"cells": [{}]}}}', "is damaged at hour (KeyError('runs'))"),
        (NO_NUMBER, "is damaged at hour (ValueError(\"could not convert string to float: 'four'\"))"),
        ('{"budgets": {"hour": []}, "x": 1}', ""),
    ],
)
def test_a_damaged_ledger_is_a_one_line_error_before_anything_runs(squares, tmp_path, capsys, content, said):
    place = place_of(read(squares))
    place.parent.mkdir()
    place.write_text(content)
    status = launch.main(["ablate", str(squares), "--budget=hour", "--backend=print", f"--workdir={tmp_path / 'runs'}"])
    err = capsys.readouterr().err
    said_only = err.replace(UNCOMMITTED, "")
    assert (status, said_only.count("\n")) == ((2, 1) if said else (0, 0)) and said in err, err
    if said:
        assert launch.main(["report", str(squares), f"--workdir={tmp_path / 'runs'}"]) == 2
        assert said in capsys.readouterr().err


def test_cells_of_removed_places_are_an_error_and_not_lost(squares, tmp_path, capsys):
    run(squares, tmp_path / "runs")
    before = place_of(read(squares)).read_text()
    capsys.readouterr()
    squares.write_text(COMPUTED.replace("(1, 2)), (Q", "(1, 3)), (Q").replace("2: {", "3: {"))
    for words in (["ablate", str(squares), "--budget=hour"], ["report", str(squares)]):
        assert launch.main([*words, f"--workdir={tmp_path / 'more'}"]) == 2
        err = capsys.readouterr().err
        assert "has cells that the table does not have: x '2' is not one of 1, 3; rename them alike" in err
        assert err.count("\n") == 1
    assert place_of(read(squares)).read_text() == before and not (tmp_path / "more").exists()


def test_each_seed_has_its_provenance_and_shared_entries_are_written_once(squares, tmp_path):
    found = run(squares, tmp_path / "runs")
    for seed in range(3):
        made = found.cells[0].provenance[seed]
        assert made["command"] == f"square of the experiment's file, seed {seed}" and made["commit"] and made["device"]
    assert [cell.provenance for cell in kept(squares)] == [cell.provenance for cell in found.cells]
    written = json.loads(place_of(read(squares)).read_text())["budgets"]["hour"]["cells"][0]["provenance"]
    assert "commit" in written and set(written["seeds"]["1"]) == {"command"}


def test_a_failed_run_records_where_and_by_which_code(moons, tmp_path):
    """And so it can be called stale."""
    experiment, root = read(moons), tmp_path / "runs"
    plan = tasks(experiment.budget("hour"), root)
    for task in plan:
        at = task.workdir(root)
        write_json(at / "config.json", {"device": "1 x cpu", "cores": 2, "commit": f"commit{task.seed}"})
        write_json(at / "code.json", {"code": task.code})
        write_json(at / "result.json", {"status": "failed", "reason": "step 3 was not finite"})
    cell = collect(experiment, experiment.budget("hour"), plan, root).cells[0]
    assert cell.failed == {0: "step 3 was not finite", 1: "step 3 was not finite"} and cell.complete
    for task in plan:
        made = cell.provenance[task.seed]
        assert (made["commit"], made["device"]) == (f"commit{task.seed}", "1 x cpu")
        assert made["command"].startswith("python launch.py train") and made["code"] == [task.code]
    assert not ledger.stale(cell, plan)
    plan[0].code = "newer"
    assert ledger.stale(cell, plan)


@pytest.mark.parametrize("failed", [(0,), (1,), (0, 1)])
def test_a_failed_run_of_older_code_is_grouped_with_seeds_of_the_same_training(moons, tmp_path, failed):
    """It has the code of its training alone, whichever seeds there are more of."""
    path = Path(moons)
    path.write_text(path.read_text().replace('"hour": budget(2)', '"hour": budget(3)'))
    experiment, root = read(path), tmp_path / "runs"
    plan = tasks(experiment.budget("hour"), root)
    for task in plan:
        left(task, root, failed=task.seed in failed, trained="old", measured="old too")
    for cell in collect(experiment, experiment.budget("hour"), plan, root).cells:
        assert set(cell.failed) == set(failed) and not cell.blocked and cell.complete
        assert set(cell.values["distance"]) == {0, 1, 2} - set(failed)
    left(plan[2], root, trained="older still", measured="old too")
    for cell in collect(experiment, experiment.budget("hour"), plan, root).cells:
        assert set(cell.blocked) == {2}, "of two codes the more"


def test_two_processes_write_one_after_the_other(squares, tmp_path, monkeypatch):
    run(squares, tmp_path / "runs")
    experiment, root = read(squares), tmp_path / "runs"
    plan = tasks(experiment.budget("hour"), root)
    cells = collect(experiment, experiment.budget("hour"), plan, root)
    writing = threading.Thread(target=keep, args=(experiment, "hour", cells, plan))
    with Lock(place_of(experiment).parent):
        writing.start()
        writing.join(0.3)
        assert writing.is_alive(), "it waits for the other"
        place_of(experiment).unlink()
        monkeypatch.setattr(ledger, "PATIENCE", 0.0)
        with pytest.raises(UserError, match="ledger: .* is in use by a live process .* nothing was kept"):
            keep(experiment, "hour", cells, plan)
    writing.join(30)
    assert [cell.status for cell in kept(squares)] == ["done", "done"]


def test_pictures_are_kept_under_the_ledgers_lock_for_the_cells_of_all_budgets(squares, tmp_path, monkeypatch):
    """One that had read the ledger before would remove the pictures of cells that came since."""
    squares.write_text(f"{COMPUTED}BUDGETS['day'] = Budget('', computed(square, 1) * vary('x', {{1: {{'x': 1}}}}), "
                       "{'square': 'value'}, 1)\n")  # fmt: skip
    run(squares, tmp_path / "runs")
    known = []

    def keep_pictures(experiment, plan, root, kept):
        with pytest.raises(Taken), Lock(place_of(experiment).parent):
            pass
        known.extend(run for cell in kept for run in cell.runs.values())

    monkeypatch.setattr(thumbnails, "keep", keep_pictures)
    experiment, root = read(squares), tmp_path / "runs"
    plans = [tasks(experiment.budget(budget), root) for budget in ("hour", "day")]
    finish(experiment, "day", plans[1], root)
    assert set(known) == {task.id for plan in plans for task in plan}
