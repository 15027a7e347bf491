"""What stands beside a likelihood: the entropy of the data, if it is that of what the model says; and its protocol."""

import tracemalloc
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion.bound import Bound
from diffjax.evaluation import densities, likelihood
from diffjax.evaluation.evidence import Evidence
from diffjax.experiment import Experiment
from tests import tiny


@pytest.fixture
def evidence(monkeypatch):
    """Evidence of a model of points that is never computed: its likelihoods are constants."""

    def terms(experiment, variables, data, *arguments, **options):
        zero = np.zeros(len(data["x"]))
        return Bound(zero, zero, zero, zero[:, None])

    monkeypatch.setattr(densities, "bound", terms)
    monkeypatch.setattr(densities, "log_prob", lambda e, v, data, *a: (np.zeros(len(data["x"])), np.ones(1)))
    monkeypatch.setattr(densities, "denoising_error", lambda e, v, data, seed: {0.5: np.zeros(len(data["x"]))})

    def of(model, **changes) -> Evidence:
        state = SimpleNamespace(averaged={"denoiser": {"params": {}}})
        return Evidence(Experiment.of(model(**changes)), state, 100, 0)

    return of


def measured(function, e) -> dict:
    return {score.name: score for score in function(e)}


def test_the_entropy_of_points_is_not_that_of_points_whose_label_is_given(evidence):
    """-log p(x | label) of a perfect model is below the entropy of x, by what the label says of x."""
    for conditional in ("false", "true"):
        labels = {"data__labelled": "true", "method__conditional": conditional}
        chain, continuous = evidence(tiny.chain, **labels), evidence(tiny.points, **labels)
        scores = measured(likelihood.vlb, chain) | measured(likelihood.likelihood_ode, continuous)
        k = measured(likelihood.k_2015, chain)
        assert tuple(k) == likelihood.of_k(chain.experiment)
        if conditional == "false":
            source, x = chain.experiment.source, chain.some_heldout()["x"]
            entropy = -(source.log_density(x).mean() - source.space.log_det) / np.log(2)
            assert scores["vlb"].at_best == scores["likelihood_ode"].at_best == pytest.approx(entropy)
            assert k["K"].meaning.startswith("-H(x_1): ")
        else:
            assert scores["vlb"].at_best is scores["likelihood_ode"].at_best is None
            assert k["K"].meaning.startswith("-H(x_1 | x_0), ") and "log_likelihood" not in k


def test_an_image_no_likelier_than_any_other_takes_eight_bits_a_dimension(evidence, monkeypatch):
    """By a density that is flat from -128/127.5 to 128/127.5 in model units."""
    e = evidence(tiny.digits)
    space = e.experiment.method.space
    log_p = -np.prod(space.shape) * np.log(256 / 127.5) + space.log_det
    monkeypatch.setattr(densities, "log_prob", lambda e, v, data, *a: (np.full(len(data["x"]), log_p), np.ones(1)))
    score = measured(likelihood.likelihood_ode, e)["likelihood_ode"]
    assert score.value == pytest.approx(8) and score.protocol["unit"] == "bits/dim"


def test_protocols_say_whether_labels_are_given(evidence):
    for conditional, said in (("false", None), ("true", "given")):
        e = evidence(tiny.points, data__labelled="true", method__conditional=conditional)
        for function in (likelihood.vlb, likelihood.likelihood_ode, likelihood.denoising_error):
            assert {score.protocol.get("labels") for score in function(e)} == {said}


@pytest.mark.parametrize("kind", ["people", "winged", "splash"])
def test_the_edge_of_k_is_exact_for_gaussians(kind, evidence):
    """It is E log2 p(x_1), of the mixture that x_1 = alpha x_0 + sigma eps is in model units."""
    e = evidence(tiny.chain, data__name=f"gaussians:{kind}", data__num_heldout="500")
    k = measured(likelihood.k_2015, e)
    source, process = e.experiment.source, e.experiment.method.process
    alpha, sigma = (float(f(jnp.asarray(1 / process.steps))) for f in (process.alpha, process.sigma))
    x0 = (e.heldout["x"] - np.asarray(source.space.shift)) / np.asarray(source.space.scale)
    x1 = alpha * x0 + sigma * np.random.RandomState(0).standard_normal(x0.shape)
    exact = source.model_mixture.noised(alpha, sigma).log_density(x1).mean() / np.log(2)
    assert k["K"].at_best == pytest.approx(exact, rel=1e-4)
    truth = source.model_mixture.log_density(x0).mean() / np.log(2)
    assert k["log_likelihood"].value == pytest.approx(truth, rel=1e-4) and "noise" not in k["K"].protocol


def test_parzen_windows_take_no_more_of_the_training_images_than_there_are_samples():
    train = np.random.default_rng(0).integers(0, 256, (100_000, 8, 8, 1), dtype=np.uint8)
    few = SimpleNamespace(
        drawn=SimpleNamespace(x=train[:20]), heldout={"x": train[20:60]}, train={"x": train}, drawn_protocol={},
        progress=lambda what: lambda done, total: None,
    )  # fmt: skip
    tracemalloc.start()
    score, *_ = likelihood.parzen(few)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < train.nbytes, "all of them in float64 take eight times as much"
    assert np.isfinite(score.at_best)
