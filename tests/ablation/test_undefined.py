"""A number that is not finite fails its own quantity: a seed keeps the others that it has, and its run did not fail."""

import json
from pathlib import Path

import pytest

from diffjax.ablation import Fails, Less, Near, Within, ledger
from diffjax.ablation.cells import Cells
from diffjax.ablation.collect import collect
from diffjax.ablation.experiment import read
from diffjax.ablation.layout import text_of
from diffjax.ablation.plan import tasks
from diffjax.ablation.work import work
from diffjax.host.json_files import write_json
from tests.ablation.tables import kept, left, run
from tests.tiny import quiet

FILE = """'Collapsed or not.'
import math
from diffjax.ablation import *
PAPER = Table("nobody", Axis("game", ("GAN", "r1")), (Quantity("modes", better="more"), Quantity("KL")))
CLAIMS = (Claim("R1 finds more modes", increases("modes", along="game")),)
def play(seed, game):
    collapsed = game == "GAN" and seed in COLLAPSED
    return {"found": 0.0 if collapsed else 6.0 + 0.1 * seed + (game == "r1"),
            "kl": math.inf if collapsed else 0.5 + 0.01 * seed}
COLLAPSED = (0, 2)
BUDGETS = {"hour": Budget("", computed(play, 4) * vary("game", {game: {"game": game} for game in ("GAN", "r1")}),
                          {"modes": "found", "KL": "kl"}, 1)}
"""
GAN, R1 = {"game": "GAN"}, {"game": "r1"}


@pytest.fixture
def games(tmp_path):
    """An experiment in whose GAN two seeds of four collapse."""
    path = tmp_path / "experiments" / "games.py"
    path.parent.mkdir()
    path.write_text(FILE)
    return path


def test_a_seed_with_one_undefined_number_keeps_the_others(games, tmp_path, capsys):
    gan, r1 = run(games, tmp_path / "runs", 4).cells
    assert gan.values["modes"] == pytest.approx({0: 0.0, 1: 6.1, 2: 0.0, 3: 6.3}), "a real 0 is in the mean"
    assert set(gan.values["KL"]) == {1, 3} and set(gan.undefined) == {"KL"} and set(gan.failing("KL")) == {0, 2}
    assert gan.failed == {} == gan.failing("modes") and gan.complete and gan.status == "part failed"
    why = "gave no KL: kl is inf: computed by the experiment's file"
    assert gan.reason == f"seeds 0, 2 {why}" and (r1.status, r1.reason, r1.undefined) == ("done", "", {})
    shown = capsys.readouterr().out
    assert "| GAN | 3.1 +- 3.6 |" in shown and "| GAN | 0.520 +- 0.014 (2 of 4 failed) |" in shown
    assert f"- game GAN: seeds 0, 2 {why}" in shown


def test_claims_count_an_undefined_number_as_failed_in_its_quantity_only(games, tmp_path):
    of = run(games, tmp_path / "runs", 4)
    assert "difference" in Less("modes", GAN, R1).decide(of).why
    kl = Less("KL", R1, GAN).decide(of)
    assert "0 of 4 runs failed against 2 of 4, p = 0.5 (sign test)" in kl.why and kl.holds is None
    assert "2 of 4 runs failed, share" in Within("KL", GAN, low=0.0).decide(of).why
    assert ": mean " in Within("modes", GAN, low=0.0).decide(of).why
    assert "gave no KL" in Near("KL", R1, GAN, share=0.5).decide(of).why
    assert "A - 0.5 B" in Near("modes", R1, GAN, share=0.5).decide(of).why
    assert "0 of 4 runs failed" in Fails(GAN).decide(of).why, "the runs are whole"


def test_the_ledger_keeps_undefined_numbers_and_merges_seeds(games, tmp_path):
    one, two = run(games, tmp_path / "one", 2), run(games, tmp_path / "two", 2, first=2)
    whole = run(games, tmp_path / "whole", 4)
    for a, b, both, found in zip(one.cells, two.cells, kept(games), whole.cells, strict=True):
        assert (both.values, both.undefined, both.protocols) == (found.values, found.undefined, found.protocols)
        assert both.values["modes"] == a.values["modes"] | b.values["modes"]
        assert (both.status, both.reason, both.failed) == (found.status, found.reason, {})
    content = json.loads(ledger.place_of(read(games)).read_text())["budgets"]["hour"]
    gan, r1 = ({name: of.get("undefined") for name, of in cell["quantities"].items()} for cell in content["cells"])
    assert set(gan["KL"]) == {"0", "2"} and gan["modes"] is None and r1 == {"modes": None, "KL": None}


def test_a_quantity_undefined_for_all_seeds_is_failed_and_still_compared(games, tmp_path, capsys):
    games.write_text(FILE.replace("(0, 2)\n", "range(4)\n"))
    run(games, tmp_path / "runs", 4)
    shown = capsys.readouterr().out
    assert "| GAN | 0 +- 0 |" in shown and "| GAN | failed |" in shown
    gan, r1 = kept(games)
    assert "KL" not in gan.values and set(gan.undefined["KL"]) == {0, 1, 2, 3} and gan.status == "part failed"
    found = Less("KL", R1, GAN).decide(Cells(read(games).paper, [gan, r1]))
    assert (
        "0 of 4 runs failed against 4 of 4, p = 0.12 (sign test); needs more seeds: these allow no p below 0.12"
        in found.why
    )
    running = run(games, tmp_path / "fewer", 2).cells[0]
    plan = tasks(read(games).budget("hour"), tmp_path)
    assert running.status == text_of(running, "KL", plan) == "running"


def test_a_seed_without_any_finite_number_has_failed(games, tmp_path):
    games.write_text(FILE.replace("0.0 if collapsed", "math.nan if collapsed"))
    gan = run(games, tmp_path / "runs", 4).cells[0]
    said = "failed: found is nan: computed by the experiment's file"
    assert gan.reason == f"seeds 0, 2 {said}" and set(gan.failed) == {0, 2} and gan.undefined == {}
    assert "2 of 4 runs failed" in Fails(GAN).decide(Cells(read(games).paper, kept(games))).why


def test_an_older_ledger_in_which_such_a_seed_had_failed_can_be_read(games, tmp_path):
    run(games, tmp_path / "runs", 4)
    place = ledger.place_of(read(games))
    content = json.loads(place.read_text())
    cell = content["budgets"]["hour"]["cells"][0]
    cell["failed"] = cell["quantities"]["KL"].pop("undefined")
    for of in cell["quantities"].values():
        of["values"] = {seed: of["values"][seed] for seed in "13"}
    place.write_text(json.dumps(content))
    gan = kept(games)[0]
    assert set(gan.failed) == {0, 2} and gan.undefined == {} and gan.complete and gan.status == "part failed"


def test_protocols_of_undefined_numbers_count_too(games, tmp_path):
    root = tmp_path / "runs"
    plan = tasks(read(games).budget("hour"), root)
    for task in plan:
        work(task, root, quiet)
    path = plan[0].evaluations[0].path(plan[0].workdir(root))
    content = json.loads(path.read_text())
    next(score for score in content["metrics"] if score["name"] == "kl")["protocol"] = {"samples": 5}
    write_json(path, content)
    gan = run(games, root, 0).cells[0]
    assert set(gan.values) == {"modes"} and "protocols differ: samples" in gan.refused["KL"]


def test_a_checkpoint_measured_before_a_failure_keeps_its_value(moons, tmp_path):
    path = Path(moons)
    text = path.read_text().replace('{"sampler.steps": steps}', '{"checkpoint.step": 7} if steps == 2 else {}')
    path.write_text(text)
    experiment, root = read(path), tmp_path / "runs"
    plan = tasks(experiment.budget("hour"), root)
    for task in plan:
        left(task, root)
        write_json(task.workdir(root) / "result.json", {"status": "failed", "reason": "step 9 was not finite"})
        for evaluation in task.evaluations:
            assert (evaluation.checkpoint is None) == (evaluation.where["steps"] == "4")
    for cell in collect(experiment, experiment.budget("hour"), plan, root).cells:
        early = cell.where["steps"] == "2"
        assert (cell.status, set(cell.failed)) == (("done", set()) if early else ("failed", {0, 1}))
        assert cell.complete and not ledger.stale(cell, plan)
    for task in plan:
        for evaluation in task.evaluations:
            evaluation.path(task.workdir(root)).unlink()
    cells = collect(experiment, experiment.budget("hour"), plan, root).cells
    assert [cell.status for cell in cells] == ["failed"] * 4, "of which nothing was measured"
