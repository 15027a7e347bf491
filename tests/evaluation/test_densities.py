"""What a trained model says of likelihoods: units, standard errors, and independence of the batch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import evaluation
from diffjax.diffusion import fold_in, grid
from diffjax.diffusion.bound import chain_bound, with_variance
from diffjax.diffusion.denoiser import Denoiser, Prediction
from diffjax.diffusion.process import along
from diffjax.diffusion.variance import Small
from diffjax.errors import UserError
from diffjax.evaluation import densities
from diffjax.experiment import Experiment
from diffjax.keys import Role, key_of
from diffjax.training.loop import carry_shapes
from tests import tiny

K = {"method.network.width": "8", "method.network.depth": "1", "data.num_train": "512", "data.num_heldout": "96"}
K |= {"parallel.devices": "1", "eval.num": "64", "eval.batch_size": "64", "method.process.timesteps": "6"}
K |= {"sampler.steps": "6"}


def swiss_roll(**changes):
    return tiny.changed("configs/sohl_dickstein.py", K, changes)


def evidence(config) -> evaluation.Evidence:
    """An untrained model's."""
    experiment = Experiment.of(config)
    state = experiment.initial_state(carry_shapes(experiment)["state"])
    return evaluation.Evidence(experiment, state, config.eval.num, config.seed)


def scores(config, name) -> dict[str, evaluation.Score]:
    e = evidence(config)
    return {score.name: score for score in evaluation.find([name], e.experiment)[name](e)}


def test_an_examples_bound_and_likelihood_depend_on_neither_batch_nor_devices():
    """40 examples, 16 at a time on one device and 24 at a time on eight."""
    found = []
    for devices, size in ((1, 16), (8, 24)):
        e = evidence(tiny.points(eval__batch_size=size, parallel__devices=devices))
        data = {name: values[:40] for name, values in e.heldout.items()}
        terms = densities.bound(e.experiment, e.variables, data, seed=3, draws=4)
        log_p, nfe = densities.log_prob(e.experiment, e.variables, data, seed=3)
        found.append((terms.total, log_p))
        assert nfe.shape == (40,)
        assert terms.each.shape == (4, 40)
    for one, eight in zip(*found, strict=True):
        assert one.shape == (40,)
        np.testing.assert_allclose(one, eight, rtol=1e-4, atol=2e-3)  # x0 - x0_hat is a 1000th of x0 at the clean end


def test_a_run_that_is_watched_compiles_its_measure_once():
    e = evidence(tiny.points())
    for seed in (0, 1):
        densities.bound(e.experiment, e.variables, {name: x[:64] for name, x in e.heldout.items()}, seed=seed, draws=2)
    program = e.experiment.once(("bound", 2, 1, False), lambda: pytest.fail("the program was not kept"))
    assert program._cache_size() == 1


def test_the_bound_of_points_lies_beside_their_entropy_and_its_terms_add_up():
    found = scores(tiny.points(), "vlb")
    parts = sum(found[f"vlb_{name}"].value for name in ("prior", "steps", "decoder"))
    np.testing.assert_allclose(found["vlb"].value, parts, rtol=1e-6)
    assert found["vlb"].value > found["vlb"].at_best - 4 * found["vlb_standard_error"].value
    assert found["vlb"].protocol["unit"] == "bits a point in standardised units"


def test_an_untrained_gaussian_flow_has_the_likelihood_of_a_gaussian():
    """F = 0 makes x0_hat that of N(0, I): the density of the points under it, in standardised units."""
    config = tiny.points()
    found, e = scores(config, "likelihood_ode"), evidence(config)
    x = np.asarray(e.heldout["x"][::4]) / e.experiment.method.space.scale
    exact = np.mean(0.5 * np.sum(x**2, axis=1) + np.log(2 * np.pi)) / np.log(2)
    np.testing.assert_allclose(found["likelihood_ode"].value, exact, atol=1e-3)
    assert found["likelihood_ode_nfe"].value > 1


def test_a_chains_bound_is_of_the_chain_that_is_drawn_from():
    """eps_hat = 0, so x0_hat = x_t / alpha, which the sampler holds to [-1, 1]: at t = 1 it is far outside."""
    chain = {
        "method__process__name": "ddpm_cosine", "method__process__timesteps": "8", "method__target__name": "eps",
        "method__clock__name": "index", "sampler__name": "ancestral", "sampler__steps": "8",
        "eval__num": "8", "eval__batch_size": "8",
    }  # fmt: skip
    e, free = (evidence(tiny.digits(**chain, sampler__clip=clip)) for clip in ("True", "False"))
    held, unheld = (evaluation.find(["vlb"], of.experiment)["vlb"](of)[0] for of in (e, free))
    process, space, data = e.experiment.method.process, e.experiment.method.space, e.some_heldout()

    def predict(x_t, t, label=None):
        return Prediction(jnp.clip(x_t / along(process.alpha(t), x_t), -1, 1))

    denoise = with_variance(Denoiser(predict), process, Small())
    keys = jax.vmap(partial(jax.random.fold_in, key_of(e.seed, Role.MEASURE)))(jnp.arange(8))
    x0, times = jnp.asarray(space.to_model(data["x"])), grid.linear(process, 8)
    exact = chain_bound(process, denoise, x0, fold_in(keys, 0), e.experiment.method.decoder, times, 64)
    np.testing.assert_allclose(held.value, exact.total.mean() / np.log(2) / 64, rtol=1e-5)
    assert held.protocol["x0"] == "held to [-1, 1]" and "x0" not in unheld.protocol
    assert unheld.value > 10 * held.value


@pytest.mark.slow
def test_images_are_told_in_bits_a_dimension():
    """F = 0 again: the density of N(0, 0.5^2), in bits/dim with log2(127.5) for the width of a stored unit."""
    few = {"eval__num": 8, "eval__batch_size": 8, "sampler__grid__name": "linear", "method__process__name": "vp_cosine"}
    config = tiny.digits(**few)
    bound, ode, e = scores(config, "vlb"), scores(config, "likelihood_ode"), evidence(config)
    x = np.asarray(e.experiment.method.space.to_model(e.heldout["x"][np.arange(8) * 359 // 8]))
    exact = np.mean(0.5 * x**2 / 0.25 + 0.5 * np.log(2 * np.pi * 0.25)) / np.log(2) + np.log2(127.5)
    np.testing.assert_allclose(ode["likelihood_ode"].value, exact, atol=5e-3)
    assert bound["vlb"].value > exact - 0.01 - 4 * bound["vlb_standard_error"].value
    assert bound["vlb"].protocol["unit"] == ode["likelihood_ode"].protocol["unit"] == "bits/dim"
    assert ode["likelihood_ode"].protocol["probes"] == 1


def test_k_stands_beside_l_null_and_the_entropy():
    found = scores(swiss_roll(), "K")
    np.testing.assert_allclose(found["L_null"].value, -np.log2(2 * np.pi * np.e), atol=0.3)  # of so few points
    np.testing.assert_allclose(found["K_gain"].value, found["K"].value - found["L_null"].value)
    assert found["K"].value < found["K"].at_best < found["log_likelihood"].value
    # The roll's own noise has a variance of 1.36e-5; beta = 1e-6 adds a little, across the curve only.
    difference = found["log_likelihood"].value - found["K"].at_best
    np.testing.assert_allclose(difference, 0.5 * np.log2(1 + 1 / 13.6), atol=0.03 + 4 * found["K_standard_error"].value)
    assert found["K"].protocol["noise"] == pytest.approx(0.00368, rel=0.01)


@pytest.mark.parametrize(
    ("config", "name", "need"),
    [
        (lambda: swiss_roll(), "likelihood_ode", "a diffusion process in continuous time"),
        (lambda: tiny.points(), "K", "a chain of steps"),
        (lambda: tiny.gan(), "vlb", "a diffusion model"),
    ],
)
def test_a_likelihood_asked_of_what_has_none_is_one_line(config, name, need):
    with pytest.raises(UserError, match=f"eval.metrics: {name!r} needs {need}") as caught:
        evaluation.find([name], Experiment.of(config()))
    assert "\n" not in str(caught.value)


def test_a_gan_has_no_density():
    experiment = Experiment.of(tiny.gan())
    with pytest.raises(UserError, match="'gan' has no likelihood"):
        densities.bound(experiment, {}, {"x": np.zeros((1, 8, 8, 1), np.uint8)})


def test_k_of_patches_is_told_in_bits_a_pixel_and_stays_below_the_first_steps_noise():
    """Of 4x4 patches; L_null is that of one standard normal a pixel."""
    small = {"data.size": "4", "data.num_train": "2000", "data.num_heldout": "64", "parallel.devices": "1"}
    small |= {"method.network.channels": "4", "method.network.multipliers": "(1,)", "method.network.attention": "()"}
    small |= {"method.process.timesteps": "6", "sampler.steps": "6", "eval.batch_size": "64"}
    config = tiny.changed("configs/sohl_dickstein.py:dead_leaves", small, {})
    found, first = scores(config, "K"), config.method.process.beta_first
    np.testing.assert_allclose(found["K"].at_best, -0.5 * np.log2(2 * np.pi * np.e * first), rtol=1e-5)
    np.testing.assert_allclose(found["L_null"].value, -0.5 * np.log2(2 * np.pi * np.e), atol=0.3)  # of so few patches
    assert found["K"].value < found["K"].at_best
    assert found["K"].protocol["unit"] == "bits/pixel in standardised units"
