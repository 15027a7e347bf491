"""The objects of a config that depend on each other: a sampler and its method, a guidance and its second model."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from diffjax import run as runs
from diffjax.diffusion import DDIM, Ancestral, Heun, editing, guidance
from diffjax.errors import UserError
from diffjax.experiment import Experiment
from diffjax.methods.game import Latent
from tests import tiny


@pytest.fixture(scope="module")
def points():
    return Experiment.of(tiny.points(eval__metrics="()"))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Ancestral(steps=3, variance="learned"), "`spec`.variance: must be small or large; this model has no learned"),
        (
            Heun(steps=3, guidance=partial(guidance.classifier_free, scale=3.0)),
            "`spec`.guidance.name: needs a model trained with labels",
        ),
        (Heun(steps=3, guidance=guidance.autoguidance), "`spec`.guidance.run: autoguidance needs the run directory of"),
        (editing.SDEdit.around(DDIM(), np.zeros(3)), "`spec`.photo: its shape"),
        (Latent(), "`spec`: Latent cannot draw from a diffusion; use ancestral, "),
    ],
)
def test_a_sampler_made_in_code_is_checked_as_that_of_a_config(spec, said, points):
    with pytest.raises(UserError) as error:
        points.fitting(spec)
    assert str(error.value).startswith(said) and "\n" not in str(error.value)


def test_a_sampler_made_in_code_may_bring_its_second_model(points):
    other = points.method.denoiser({"denoiser": {"params": {}}})
    fitting = points.fitting(DDIM(steps=3, guidance=partial(guidance.autoguidance, other=other)))
    assert fitting.guidance.keywords["other"] is other
    assert points.fitting(points.sampler) is points.sampler


def test_a_second_model_sees_as_much_of_the_image_as_the_one_it_guides(monkeypatch):
    plain = SimpleNamespace(experiment=Experiment.of(tiny.digits()), denoiser=None)
    monkeypatch.setattr(runs, "load", lambda path: plain)
    guided = {"sampler__guidance__name": "autoguidance", "sampler__guidance__run": "runs/worse"}
    Experiment.of(tiny.digits(**guided))
    said = "sampler.guidance.run: runs/worse has method.super_resolution=0, which must be the 4 of the run it guides"
    with pytest.raises(UserError, match=said):
        Experiment.of(tiny.digits(method__super_resolution=4, **guided))
