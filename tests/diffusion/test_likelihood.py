"""The probability-flow ODE against densities that are known, and what dequantisation adds."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.data import Space
from diffjax.diffusion import EDM, VE, Flow, LearnedLogSNR, SubVP, VPCosine, VPLinear, bound, ddpm_linear, likelihood
from diffjax.diffusion.denoiser import Denoiser
from diffjax.diffusion.oracle import GaussianMixture
from diffjax.errors import UserError

LEARNED = LearnedLogSNR(log_snr_max=12.0, log_snr_min=-20.0, width=4)
LEFT = math.exp(-10)  # alpha / sigma at the end of all of these: the prior's misfit is about alpha x0 times x_1
PROCESSES = {
    "vp_linear": VPLinear(beta_max=50.0),
    "vp_cosine": VPCosine(log_snr_min=-20.0),
    "sub_vp": SubVP(beta_max=50.0),
    "edm": EDM(sigma_max=3e4),
    "ve": VE(sigma_max=3e4),
    "flow": Flow(),
    "learned": LEARNED.bind(LEARNED.init(jax.random.key(5))),
}


def mixture(dims: int = 3) -> GaussianMixture:
    means = 0.8 * jax.random.normal(jax.random.key(7), (3, dims))
    return GaussianMixture(means, jnp.asarray([0.3, 0.15, 0.4]), jnp.asarray([0.5, 0.3, 0.2]))


def keys(n):
    return jax.random.split(jax.random.key(0), n)


def found(process, data: GaussianMixture, n: int, **options):
    """The likelihood of n exact samples by the exact denoiser, and the exact log-density at t_min."""
    x0 = data.sample(jax.random.key(1), n)
    ask = jax.jit(lambda x0: likelihood.ode_likelihood(process, data.denoiser(process), x0, keys(n), **options))
    t_min = jnp.asarray(options.get("t_min", 1e-5))
    return ask(x0), data.log_prob_at(x0, t_min, process)


@pytest.mark.parametrize(
    "process",
    [pytest.param(p, id=name, marks=() if name == "vp_cosine" else pytest.mark.slow) for name, p in PROCESSES.items()],
)
def test_the_flow_has_the_exact_density_of_every_example(process, x64):
    """But for the signal that the prior neglects, of which a test below has the exact amount."""
    answer, exact = found(process, mixture(), 64, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(answer.log_prob, exact, rtol=0, atol=6 * LEFT)
    np.testing.assert_allclose(answer.log_prob, answer.prior + answer.volume, rtol=1e-12)


@pytest.mark.parametrize(
    "process", [VPLinear(), pytest.param(EDM(), marks=pytest.mark.slow), pytest.param(Flow(), marks=pytest.mark.slow)]
)
def test_the_mean_by_one_probe_is_the_entropy_of_a_mixture_in_sixteen_dimensions(process):
    """Within 4 standard errors, themselves no more than 0.01 bits a dimension; the processes as they are published."""
    data, n, bit = mixture(16), 400, 16 * math.log(2)
    answer, _ = found(process, data, n, probes=1, rtol=1e-4, atol=1e-4)
    exact = data.log_prob(data.sample(jax.random.key(1), n))
    difference, error = (value / bit for value in bound.mean_and_error(answer.log_prob - exact))
    assert abs(difference) < 4 * error
    assert error < 0.01


@pytest.mark.slow
def test_gaussian_probes_are_unbiased_too_but_vary_more():
    """Their own squares vary: Var(v J v) is 2 |J|^2, of which Rademacher's leave out the diagonal."""
    errors = []
    for probe in ("rademacher", "gaussian"):
        answer, exact = found(PROCESSES["vp_cosine"], mixture(), 300, probes=2, probe=probe, rtol=1e-4, atol=1e-4)
        difference, error = bound.mean_and_error(answer.log_prob - exact)
        assert abs(difference) < 4 * error
        errors.append(error)
    assert errors[0] < 0.3 * errors[1]


def test_the_estimate_is_of_the_density_at_t_min_and_single_precision_is_enough():
    data, process = mixture(), PROCESSES["edm"]
    smooth, at = found(process, data, 32, t_min=1.3e-5)  # sigma = 0.4
    np.testing.assert_allclose(smooth.log_prob, at, atol=3e-3)
    exact = data.log_prob(data.sample(jax.random.key(1), 32))
    assert np.max(np.abs(exact - at)) > 0.5


def test_what_the_prior_neglects_is_the_signal_left_at_the_end(x64):
    """One Gaussian, whose flow keeps its quantiles: log p is off by what N(0, sigma_1^2) is off from the truth."""
    data, process = GaussianMixture(jnp.full((1, 2), 0.6), jnp.asarray([0.5]), jnp.ones(1)), EDM(sigma_max=3.0)
    answer, exact = found(process, data, 16, rtol=1e-8, atol=1e-8)
    z = (data.sample(jax.random.key(1), 16) - 0.6) / jnp.hypot(0.5, 3e-5)
    at_end = math.sqrt(0.25 + 9)  # the deviation of x_1
    truth = jax.scipy.stats.norm.logpdf(z) - math.log(at_end)
    taken = jax.scipy.stats.norm.logpdf((0.6 + at_end * z) / 3) - math.log(3)
    np.testing.assert_allclose(answer.log_prob - exact, jnp.sum(taken - truth, axis=1), atol=1e-6)
    np.testing.assert_allclose(answer.prior, jnp.sum(taken, axis=1), atol=1e-6)


def test_labels_ask_for_the_density_of_their_class(x64):
    data, process = mixture(), VPCosine(log_snr_min=-20.0)
    label = jnp.asarray([0, 1, 2, 0, 1, 2])
    x0 = data.means[label] + data.stds[label, None] * jax.random.normal(jax.random.key(1), (6, 3))
    ask = jax.jit(lambda x0: likelihood.ode_likelihood(process, data.denoiser(process), x0, None, label, rtol=1e-7))
    answer = ask(x0)
    distance = jnp.sum((x0 - data.means[label]) ** 2, axis=1) / data.stds[label] ** 2
    exact = -0.5 * distance - 1.5 * jnp.log(2 * jnp.pi * data.stds[label] ** 2)
    np.testing.assert_allclose(answer.log_prob, exact, rtol=0, atol=6 * LEFT)


def test_an_examples_likelihood_does_not_depend_on_its_neighbours():
    data, process, x0 = mixture(9), VPLinear(), mixture(9).sample(jax.random.key(1), 8)

    @jax.jit
    def ask(x0, keys):
        return likelihood.ode_likelihood(process, data.denoiser(process), x0, keys, probes=2)

    whole, part = ask(x0, keys(8)), ask(x0[2:5], keys(8)[2:5])
    np.testing.assert_allclose(whole.log_prob[2:5], part.log_prob, rtol=1e-4)
    np.testing.assert_array_equal(whole.nfe[2:5], part.nfe)


def test_every_use_of_the_denoiser_is_counted():
    process, count = VPLinear(), []
    exact = mixture().denoiser(process)

    def counted(x_t, t, label=None):
        jax.debug.callback(lambda _: count.append(1), x_t)
        return exact(x_t, t, label)

    x0 = mixture().sample(jax.random.key(1), 1)
    ask = jax.jit(partial(likelihood.ode_likelihood, process, Denoiser(counted), rtol=1e-3, atol=1e-3))
    answer = jax.block_until_ready(ask(x0))
    jax.effects_barrier()
    assert len(count) == answer.nfe[0]


@pytest.mark.slow
def test_an_image_has_the_density_of_its_pixels():
    """A Gaussian in 4x4x1 as in 16 numbers, with exact directions and with probes."""
    process, data = VPCosine(log_snr_min=-20.0), GaussianMixture(jnp.zeros((1, 16)), jnp.asarray([0.5]), jnp.ones(1))
    flat = data.denoiser(process)

    def predict(x_t, t, label=None):
        said = flat(x_t.reshape(len(x_t), 16), t)
        return said._replace(x0=said.x0.reshape(x_t.shape))

    x0 = data.sample(jax.random.key(1), 4)
    for probes in (0, 3):  # the Jacobian is a multiple of the identity, of which v J v is the exact trace
        ask = jax.jit(partial(likelihood.ode_likelihood, process, Denoiser(predict), probes=probes))
        answer = ask(x0.reshape(4, 4, 4, 1), keys(4))
        np.testing.assert_allclose(answer.log_prob, data.log_prob(x0), atol=1e-2)


# ---------------------------------------------------------------------------------------------------- dequantisation


def test_dequantised_integers_fill_their_bins_evenly_and_go_back_to_themselves():
    stored = jnp.asarray(np.random.RandomState(0).randint(0, 256, (512, 4, 4, 1)), jnp.uint8)
    x = likelihood.dequantise(stored, keys(512))
    offset = np.asarray(x * 127.5 + 127.5) - np.asarray(stored, float)
    assert np.all(np.abs(offset) <= 0.5 + 1e-4)
    np.testing.assert_allclose(np.quantile(offset, [0.25, 0.5, 0.75]), [-0.25, 0, 0.25], atol=0.02)
    np.testing.assert_array_equal(Space("images", (4, 4, 1)).from_model(x), stored)


def test_a_dequantised_bound_is_above_the_entropy_and_equal_for_a_density_flat_in_each_bin():
    """Four levels with odds 1:2:3:4, modelled by a density with steps at the bins' edges: exactly their entropy."""
    odds = np.asarray([0.1, 0.2, 0.3, 0.4])
    stored = jnp.asarray(np.repeat(np.arange(4), (odds * 1000).astype(int)), jnp.uint8)[:, None]
    space = Space("images", (1,), shift=1.5, scale=1.5)
    x = likelihood.dequantise(stored, keys(1000), space.shift, space.scale)
    bins = jnp.clip(jnp.round(x * 1.5 + 1.5), 0, 3).astype(int)[:, 0]
    log_p = jnp.log(jnp.asarray(odds))[bins] - math.log(1 / 1.5)  # a bin is 2/3 wide in model units
    bits = -jnp.mean(log_p + space.log_det) / math.log(2)
    np.testing.assert_allclose(bits, -np.sum(odds * np.log2(odds)), rtol=1e-6)


# ---------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("message", "process", "options"),
    [
        ("4 steps has no flow", ddpm_linear(timesteps=4), {}),
        ("probe 'cauchy' must be rademacher or gaussian", EDM(), {"probe": "cauchy"}),
        ("-1 probes", EDM(), {"probes": -1}),
        ("2 probes; must be 0 .* or positive with a key for each example", EDM(), {"probes": 2}),
        ("rtol=0", EDM(), {"rtol": 0.0}),
        ("t_min: 1.0", EDM(), {"t_min": 1.0}),
        ("t_min: 0.0", EDM(), {"t_min": 0.0}),
    ],
)
def test_what_cannot_be_asked_of_the_flow_is_refused_in_a_line(message, process, options):
    with pytest.raises(UserError, match=message) as caught:
        likelihood.ode_likelihood(process, mixture(2).denoiser(process), jnp.zeros((1, 2)), **options)
    assert "\n" not in str(caught.value)
