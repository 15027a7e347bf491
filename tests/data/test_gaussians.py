import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from diffjax.data.gaussians import DROPS, PEOPLE, Gaussians
from diffjax.diffusion import VPLinear
from diffjax.diffusion.oracle import GaussianMixture
from diffjax.errors import UserError

NUMBER = 20_000


@pytest.mark.parametrize("kind", PEOPLE)
def test_log_density_and_score_are_those_of_the_sum_of_gaussians(kind):
    source = Gaussians(kind, num_heldout=300)
    x, mixture = source.split("heldout").arrays()["x"].astype(float), source.mixture
    parts = zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    exact = sum(w * multivariate_normal.pdf(x, mean, covariance) for w, mean, covariance in parts)
    np.testing.assert_allclose(source.log_density(x), np.log(exact), rtol=1e-9)
    for i, step in enumerate(1e-4 * np.eye(x.shape[1])):
        slope = (source.log_density(x + step) - source.log_density(x - step)) / 2e-4
        np.testing.assert_allclose(mixture.score(x)[:, i], slope, atol=1e-6)


def test_a_drop_under_noise_is_what_the_oracle_says_it_is():
    mixture, process, t = Gaussians("splash").mixture, VPLinear(), jnp.float32(0.3)
    stds = np.sqrt(mixture.covariances[:, 0, 0])
    oracle = GaussianMixture(*(jnp.asarray(a, jnp.float32) for a in (mixture.means, stds, mixture.weights)))
    x = jnp.asarray(np.random.RandomState(0).uniform(-2, 2, (50, 2)), jnp.float32)
    noised = mixture.noised(float(process.alpha(t)), float(process.sigma(t)))
    np.testing.assert_allclose(noised.log_density(np.asarray(x)), oracle.log_prob_at(x, t, process), rtol=1e-4)


@pytest.mark.parametrize("kind", DROPS | PEOPLE)
def test_model_units_are_the_bowls_or_standardised_and_the_way_back_is_exact(kind):
    source = Gaussians(kind, num_train=NUMBER)
    stored = source.split("train").arrays()["x"]
    x = np.asarray(source.space.to_model(stored), np.float64)
    mixture = source.model_mixture
    spread = np.sqrt(np.diag(mixture.covariance))
    np.testing.assert_allclose(x.mean(0), mixture.mean, atol=4 * spread.max() / np.sqrt(NUMBER))
    np.testing.assert_allclose(x.std(0), spread, rtol=4 / np.sqrt(NUMBER))
    if kind in PEOPLE:
        np.testing.assert_allclose(mixture.mean, 0, atol=1e-12)
        np.testing.assert_allclose(spread, 1, rtol=1e-12)
    np.testing.assert_allclose(source.space.from_model(x), stored, atol=1e-4)
    log_p = mixture.log_density(x[:50]) + source.space.log_det
    np.testing.assert_allclose(log_p, source.log_density(stored[:50]), atol=1e-4)


def test_units_by_axis_keep_single_precision():
    space = Gaussians("people").space
    assert space.to_model(np.zeros((1, 2), np.float32)).dtype == np.float32
    assert jax.jit(space.from_model)(jnp.zeros((1, 2))).dtype == jnp.float32


def test_an_unknown_kind_is_named():
    with pytest.raises(UserError, match="data.name: 'gaussians:fish' is unknown; it is gaussians:splash"):
        Gaussians("fish")
