"""What a notebook does without the command line: it trains, opens a run, draws from it and measures it."""

import json
from pathlib import Path

import numpy as np
import pytest

import diffjax
from diffjax.diffusion import Ancestral
from diffjax.errors import UserError
from diffjax.evaluation.report import table
from tests import tiny


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A tiny run of points, trained from the path of its config."""
    workdir = tmp_path_factory.mktemp("moons")
    result = diffjax.train(
        Path("configs/toy2d.py:moons"), str(workdir), tiny.POINTS | {"train.steps": 3, "eval.every": 0}
    )
    assert result["status"] == "finished" and result["step"] == 3
    return workdir


def test_a_run_is_opened_with_other_settings_of_sampling_but_never_of_training(workdir):
    run = diffjax.load(str(workdir), {"sampler.name": "ddim", "sampler.steps": 2})
    assert run.step == 3 and set(run.sample(5).nfe.tolist()) == {2}
    assert diffjax.load(workdir, step=3).experiment.config.sampler.name != "ddim"
    with pytest.raises(UserError, match="`config.optim.learning_rate`: a trained run accepts only sampler"):
        diffjax.load(workdir, {"optim.learning_rate": 1.0})
    with pytest.raises(UserError, match="`config.sampler.stepz`: no key 'stepz'; did you mean 'steps'"):
        diffjax.load(workdir, {"sampler.stepz": 2})
    with pytest.raises(UserError, match="`step`: .* has no checkpoint at step 2; it has 3"):
        diffjax.load(workdir, step=2)


def test_what_a_model_cannot_draw_names_the_argument(workdir):
    run = diffjax.load(workdir)
    for arguments, said in (
        ({"label": 1}, "`label`: 1 given, but this model was trained without labels"),
        ({"prompt": "a moon"}, "`prompt`: 'a moon' given, but this model was trained without captions"),
        ({"guidance": 2.0}, "`guidance`: needs a model trained with labels"),
        ({"spec": Ancestral(variance="learned")}, "`spec`.variance: must be small or large"),
    ):
        with pytest.raises(UserError, match=said):
            run.sample(4, **arguments)
    for num in (0, -3):
        with pytest.raises(UserError, match=f"`num`: {num} must be at least 1"):
            run.sample(num)


def test_a_run_measures_itself_and_records_the_scores(workdir, tmp_path):
    run = diffjax.load(workdir)
    scores = run.evaluate("energy", num=64, seed=1, out=tmp_path / "scores.json")
    values = {score.name: score.value for score in scores}
    assert np.isfinite(values["energy_distance"]) and "energy_distance" in table(scores)
    recorded = json.loads((tmp_path / "scores.json").read_text())
    assert {score["name"]: score["value"] for score in recorded["metrics"]} == values
    assert recorded["provenance"]["seed"] == 1
    earlier = set((workdir / "evals").glob("*.json"))
    assert [score.value for score in run.evaluate(["energy"], 64, 1)] == [score.value for score in scores]
    assert len(set((workdir / "evals").glob("*.json")) - earlier) == 1
    for arguments, said in (
        ({"num": 1}, "`num`: 1 samples cannot be measured"),
        ({"metrics": "enregy"}, "'enregy' is unknown"),
        ({"features": "pixels", "metrics": "energy"}, "`features`: 'pixels': all of energy name their own network"),
        ({"out": tmp_path / "scores.txt"}, "`out`: .* must end in .json"),
    ):
        with pytest.raises(UserError, match=said):
            run.evaluate(**arguments)
