"""The variational bounds: their terms by hand, their limits, and what they are bounds of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import (
    EDM,
    Flow,
    LearnedTable,
    Process,
    SubVP,
    VPCosine,
    VPLinear,
    bound,
    ddpm_linear,
    grid,
    table,
    variance,
)
from diffjax.diffusion.denoiser import Denoiser, Prediction
from diffjax.diffusion.learned import LearnedLogSNR
from diffjax.diffusion.oracle import GaussianMixture
from diffjax.errors import UserError

pytestmark = pytest.mark.usefixtures("x64")
DENSITY = bound.Density()


def gaussian(std: float, dims: int = 2) -> GaussianMixture:
    return GaussianMixture(jnp.zeros((1, dims)), jnp.asarray([std]), jnp.ones(1))


def mixture() -> GaussianMixture:
    means = jnp.asarray([[0.8, 0.0, 0.4], [-0.8, 0.4, 0.0], [0.0, -0.8, -0.2]])
    return GaussianMixture(means, jnp.asarray([0.3, 0.15, 0.4]), jnp.asarray([0.5, 0.3, 0.2]))


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def chain(process: Process, data: GaussianMixture, n: int, variances, times=None, draws=0):
    """The bound of n exact samples by the exact denoiser, and their exact log-densities."""
    x0 = data.sample(jax.random.key(1), n)
    denoise = bound.with_variance(data.denoiser(process), process, variances)
    times = grid.linear(process, process.steps) if times is None else times
    terms = jax.jit(lambda x0: bound.chain_bound(process, denoise, x0, keys(n), DENSITY, times, draws))(x0)
    return terms, data.log_prob(x0)


# ------------------------------------------------------------------------------------------------------- the decoder


@pytest.mark.parametrize("levels", [2, 256])
def test_the_masses_of_the_discretised_decoder_add_up_to_one_whatever_its_mean_and_scale(levels):
    values, means = jnp.linspace(-1, 1, levels), jnp.asarray([-1.4, -0.999, 0.0, 0.3, 7.0])
    log_vars = 2 * jnp.log(jnp.asarray([1e-4, 3e-3, 0.05, 1.0, 300.0]))
    arguments = (a.reshape(-1, 1) for a in jnp.meshgrid(values, means, log_vars, indexing="ij"))
    masses = jnp.exp(bound.Discretised(levels).log_prob(*arguments)).reshape(levels, -1)
    np.testing.assert_allclose(jnp.sum(masses, axis=0), 1, rtol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_discretised_decoder_and_its_gradients_are_finite_however_far_off_its_mean(dtype):
    values = jnp.linspace(-1, 1, 256, dtype=dtype)
    means = jnp.asarray([-1e3, -1.0, -0.2, 0.0, 1 / 255, 0.9, 1.0, 30.0], dtype)
    log_vars = jnp.asarray([-25.0, -14.0, -9.0, -5.0, 0.0, 8.0], dtype)
    x0, mean, log_var = (a.reshape(-1, 1) for a in jnp.meshgrid(values, means, log_vars))
    log_prob = bound.Discretised().log_prob(x0, mean, log_var)
    slopes = jax.jit(jax.grad(lambda m, v: jnp.sum(bound.Discretised().log_prob(x0, m, v)), (0, 1)))(mean, log_var)
    assert all(np.isfinite(a).all() for a in (log_prob, *slopes))
    assert np.all(log_prob <= 0)


def test_a_narrow_bin_has_the_mass_that_the_density_says_it_has():
    """Where both ways of computing it hold they agree, and in float32 the narrow one keeps its digits."""
    x0, mean = jnp.asarray([[0.2]]), jnp.asarray([[1.0]])
    for scale in (0.05, 1.0, 1e3):
        width, z = 2 / 255, (x0 - mean) / scale
        expected = jnp.log(width / scale) + jax.scipy.stats.norm.logpdf(z)
        args = (a.astype(jnp.float32) for a in (x0, mean, jnp.asarray([[2 * np.log(scale)]])))
        found = bound.Discretised().log_prob(*args)
        np.testing.assert_allclose(found, expected[:, 0], rtol=1e-2 if scale < 0.1 else 1e-5)


def test_the_discretised_decoder_has_the_slope_of_its_own_differences():
    x0, log_var = jnp.asarray([[-1.0], [-0.2], [0.0], [1.0]]), jnp.asarray([[-4.0], [-9.0], [3.0], [0.0]])

    def at(mean):
        return bound.Discretised(levels=11).log_prob(x0, mean, log_var)

    mean, h = jnp.asarray([[-0.9], [-0.1], [0.4], [0.7]]), 1e-6
    slope = jax.grad(lambda mean: jnp.sum(at(mean)))(mean)[:, 0]
    np.testing.assert_allclose(slope, (at(mean + h) - at(mean - h)) / (2 * h), rtol=1e-5)


# --------------------------------------------------------------------------------------------------------- the terms


def test_a_divergence_is_the_integral_it_stands_for():
    x = np.linspace(-12, 12, 200_001)

    def density(mean, log_var):
        return np.exp(-0.5 * (x - mean) ** 2 / np.exp(log_var)) / np.sqrt(2 * np.pi * np.exp(log_var))

    q, p = density(0.3, -0.5), density(-0.4, 0.2)
    args = (jnp.full((1, 1), value) for value in (0.3, -0.5, -0.4, 0.2))
    np.testing.assert_allclose(bound.gaussian_kl(*args)[0], np.sum(q * np.log(q / p)) * (x[1] - x[0]), rtol=1e-9)


def test_a_divergence_of_near_equals_keeps_its_digits_in_float32():
    ones = jnp.ones((1, 1), jnp.float32)
    found = bound.gaussian_kl(0 * ones, -8 * ones, 0 * ones, jnp.asarray([[-8.002]], jnp.float32))
    ratio = float(-8 * ones[0, 0]) - float(np.float32(-8.002))
    np.testing.assert_allclose(found[0], 0.5 * (np.expm1(ratio) - ratio), rtol=2e-2)


def test_the_prior_term_is_the_divergence_of_the_last_marginal_from_the_prior():
    x0 = jnp.asarray([[0.5, -1.0], [2.0, 0.1]])
    for process in (VPLinear(), EDM(), SubVP(), ddpm_linear()):
        one = jnp.ones(())
        log_var = jnp.full((2, 2), 2 * jnp.log(process.sigma(one)))
        expected = bound.gaussian_kl(process.alpha(one) * x0, log_var, jnp.zeros_like(x0), log_var)
        np.testing.assert_allclose(bound.prior_term(process, x0), expected, rtol=1e-9)


def test_a_chain_of_one_step_is_bounded_by_hand():
    """T = 1: -log p(x0 | x_1) + alpha^2 |x0|^2 / (2 sigma^2), with p(x0 | x_1) by its definition."""
    process, x0 = table(betas=(0.4,)), jnp.asarray([[0.5, -1.0]])
    guess, log_var = jnp.asarray([[0.2, 0.3]]), jnp.asarray([[-1.0, 0.5]])
    said = Denoiser(lambda x_t, t, label: Prediction(guess, lambda s: log_var))
    terms = bound.chain_bound(process, said, x0, keys(1), DENSITY, grid.linear(process, 1))
    # The posterior at s = 0 is the estimate of x0 itself.
    surprise = 0.5 * np.sum((x0 - guess) ** 2 / np.exp(log_var) + log_var + np.log(2 * np.pi))
    np.testing.assert_allclose(terms.decoder[0], surprise, rtol=1e-12)
    np.testing.assert_allclose(terms.prior[0], 0.6 * 1.25 / (2 * 0.4), rtol=1e-12)
    assert terms.each.shape == (0, 1) and terms.steps[0] == 0
    np.testing.assert_allclose(terms.total[0], surprise + 0.9375, rtol=1e-12)


def test_the_terms_add_up_and_each_step_is_its_own_divergence():
    """Two steps of Gaussian data, against expectations over eps taken with 50,000 draws of the terms written out."""
    process, n = table(betas=(0.2, 0.5)), 50_000
    data = gaussian(0.5, 1)
    x0 = jnp.full((n, 1), 0.7)
    denoise = bound.with_variance(data.denoiser(process), process, variance.Large())
    ask = jax.jit(lambda x0: bound.chain_bound(process, denoise, x0, keys(n), DENSITY, grid.linear(process, 2)))
    terms = ask(x0)
    np.testing.assert_allclose(terms.total, terms.prior + terms.steps + terms.decoder, rtol=1e-12)
    np.testing.assert_allclose(terms.steps, jnp.sum(terms.each, axis=0), rtol=1e-12)
    # L_1 with alpha_1^2 = 0.8, alpha_2^2 = 0.4: mean of x0_hat - x0 and its spread, times the weight of x0 in mu~.
    a, weight = np.sqrt(0.4), np.sqrt(0.8) * 0.5 / 0.6
    gain = a * 0.25 / (0.4 * 0.25 + 0.6)
    error = (0.7 - gain * a * 0.7) ** 2 + gain**2 * 0.6
    ratio = np.log(0.5 * 0.2 / 0.6 / 0.5)  # beta~ over beta
    expected = 0.5 * (weight**2 * error / 0.5 + np.exp(ratio) - 1 - ratio)
    mean, standard_error = bound.mean_and_error(terms.each[0])
    assert abs(mean - expected) < 4 * standard_error < 0.02


@pytest.mark.slow
def test_some_of_the_steps_stand_for_all_of_them():
    every, _ = chain(ddpm_linear(timesteps=60), mixture(), 1500, variance.Large())
    some, _ = chain(ddpm_linear(timesteps=60), mixture(), 1500, variance.Large(), draws=7)
    assert some.each.shape == (7, 1500)
    mean, error = bound.mean_and_error(some.steps - every.steps)
    assert abs(mean) < 4 * error < 1


def test_an_examples_bound_does_not_depend_on_its_neighbours():
    process, data = VPLinear(), mixture()
    x0, key = data.sample(jax.random.key(1), 6), keys(6)

    @jax.jit
    def terms(x0, key):
        return bound.continuous_bound(process, data.denoiser(process), x0, key, DENSITY, draws=5)

    np.testing.assert_allclose(terms(x0, key).total[2:4], terms(x0[2:4], key[2:4]).total, rtol=1e-12)


# -------------------------------------------------------------------------------------------------------- the bounds


def exact_gap(process: Process, std: float, log_var) -> tuple[float, float]:
    """By how much the bound misses -log p of N(0, std^2) on average, in bits: by its steps and prior, by its decoder.

    They are divergences of q(x_s | x_t) itself, which is normal: its mean is the exact denoiser's, its variance that of
    the posterior and x0's own.
    """
    t = jnp.arange(1, process.steps + 1) / process.steps
    s = t - 1 / process.steps
    alpha, sigma = process.alpha(t), process.sigma(t)
    of_x0 = std**2 * sigma**2 / (alpha**2 * std**2 + sigma**2)  # Var(x0 | x_t)
    _, step = process.transition(s, t)
    true = step * process.sigma(s) ** 2 / sigma**2 + process.posterior_weights(s, t)[1] ** 2 * of_x0
    excess = true / jnp.exp(log_var(process, s, t))
    last = (alpha[-1] ** 2 * std**2 + sigma[-1] ** 2) / sigma[-1] ** 2
    bits = (jnp.append(excess, last) - 1 - jnp.log(jnp.append(excess, last))) / 2 / jnp.log(2)
    return float(jnp.sum(bits[1:])), float(bits[0])


@pytest.mark.parametrize(
    ("choice", "log_var", "bits"),
    [
        pytest.param(variance.Small(), variance.log_small, 0.66, marks=pytest.mark.slow),
        pytest.param(variance.Large(), variance.log_large, 0.0016, marks=pytest.mark.slow),
    ],
    ids=["small", "large"],
)
def test_the_gap_of_a_long_chain_is_what_its_reverse_variance_costs(choice, log_var, bits):
    """N(0, 0.5^2) and 1000 linear steps: two thirds of a bit a dimension with beta~, next to nothing with beta.

    A sixth of a bit more is lost in L_0, whose variance the released code of 2020 takes from the step before.
    """
    steps, decoder = exact_gap(ddpm_linear(), 0.5, log_var)
    np.testing.assert_allclose([steps, decoder], [bits, 0.164], rtol=0.03)
    short = ddpm_linear(timesteps=100, beta_start=1e-3, beta_end=0.2)
    terms, log_p = chain(short, gaussian(0.5, 2), 3000, choice)
    gap, error = bound.mean_and_error((terms.total + log_p) / 2 / np.log(2))
    assert abs(gap - sum(exact_gap(short, 0.5, log_var))) < 4 * error < 0.25


LOW, HIGH = -15.0, 10.0  # log-SNRs between which the bounds in continuous time are compared


def even(process: Process, steps: int):
    """The times of steps that are even in log-SNR."""
    return process.time_of(jnp.linspace(LOW, HIGH, steps + 1))


@pytest.mark.parametrize(
    "choice", [pytest.param(variance.Small(), marks=pytest.mark.slow), variance.Large()], ids=["small", "large"]
)
def test_the_bound_of_a_chain_lies_above_and_comes_down_to_the_continuous_one(choice):
    """At first order: four times as many steps, a quarter of the difference."""
    data, process, n, differences = mixture(), VPCosine(LOW), 2000, []
    limit = continuous(process, data, n)
    for steps in (8, 32, 128):
        terms, log_p = chain(process, data, n, choice, even(process, steps))
        gap, error = bound.mean_and_error(terms.total + log_p)
        assert gap > -4 * error
        differences.append(bound.mean_and_error(terms.total - limit.total))
    np.testing.assert_allclose(limit.prior, terms.prior, rtol=1e-9)
    (coarse, _), (middle, some), (fine, error) = differences
    assert coarse > 3 * (middle - 4 * some) and middle + 4 * some > 3 * (fine - 4 * error)
    assert fine > -4 * error


def continuous(process: Process, data: GaussianMixture, n: int, draws: int = 64) -> bound.Bound:
    x0, t_min = data.sample(jax.random.key(1), n), float(process.time_of(jnp.asarray(HIGH)))
    denoise = data.denoiser(process)
    return jax.jit(lambda x0: bound.continuous_bound(process, denoise, x0, keys(n), DENSITY, draws, t_min))(x0)


def test_the_bound_in_continuous_time_is_the_entropy_but_for_its_two_ends():
    """An exact denoiser loses nothing between t_min and 1: the prior's and the decoder's misfit is all there is."""
    data = gaussian(0.5, 2)
    terms = continuous(VPLinear(), data, 4000)
    log_p = data.log_prob(data.sample(jax.random.key(1), 4000))
    np.testing.assert_allclose(terms.total, terms.prior + terms.steps + terms.decoder, rtol=1e-12)
    np.testing.assert_allclose(terms.steps, jnp.sum(terms.each, axis=0), rtol=1e-12)
    gap, error = bound.mean_and_error(terms.total + log_p)
    low, high = 0.25 * jnp.exp(VPLinear().log_snr(jnp.ones(()))), 0.25 * jnp.exp(HIGH)  # times the data's variance
    ends = (low - jnp.log1p(low)) + (jnp.log1p(1 / high) - 1 / (1 + high))  # KLs of both dimensions
    assert abs(gap - ends) < 4 * error < 0.2


def rate_in_t(process: Process, data: GaussianMixture, x0, eps, t):
    """-SNR'(t) |x0 - x0_hat|^2 / 2, the integrand as Kingma et al. 2021 write it (eq. 11)."""
    slope = -process.rate(lambda t: jnp.exp(process.log_snr(t)), t)
    error = x0 - data.denoiser(process)(process.corrupt(x0, eps, t), t).x0
    return 0.5 * slope * jnp.sum(error**2, axis=-1)


SCHEDULES = {
    "vp_linear": VPLinear(),
    "vp_cosine": VPCosine(),
    "sub_vp": SubVP(),
    "edm": EDM(),
    "flow": Flow(),
    "learned": LearnedLogSNR(width=8).bind(LearnedLogSNR(width=8).init(jax.random.key(3))),
}


@pytest.mark.parametrize("process", SCHEDULES.values(), ids=SCHEDULES)
def test_the_diffusion_term_depends_on_the_schedule_only_through_its_ends(process):
    """Integrated over t by each schedule's own clock, for one x0 and one eps: the same number for all of them.

    x_t / alpha is a function of log-SNR, x0 and eps alone; so is the exact denoiser, whatever the process's scale.
    """
    data, x0, eps = mixture(), jnp.asarray([0.7, -0.2, 0.3]), jnp.asarray([-0.4, 1.1, 0.6])
    low, high = -4.5, 6.0  # within what all of them reach
    nodes, weights = (jnp.asarray(a) for a in np.polynomial.legendre.leggauss(300))

    def integral(start, stop, integrand):
        points = (start + stop) / 2 + (stop - start) / 2 * nodes
        return jnp.sum(weights * integrand(points)) * (stop - start) / 2

    def spread(a):
        return jnp.broadcast_to(a, (300, 3))

    start, stop = process.time_of(jnp.asarray(high)), process.time_of(jnp.asarray(low))
    by_clock = integral(start, stop, lambda t: rate_in_t(process, data, spread(x0), spread(eps), t))
    reference = VPCosine()
    by_log_snr = integral(
        low, high, lambda u: bound.diffusion_rate(reference, data.denoiser(reference), spread(x0), spread(eps), u)
    )
    np.testing.assert_allclose(by_clock, by_log_snr, rtol=2e-5)


def test_a_processes_own_noise_at_the_start_is_where_its_bound_starts():
    """A learned log-SNR has noise at t = 0, and may be asked for its bound from there."""
    process, data = SCHEDULES["learned"], gaussian(0.5, 2)
    x0 = data.sample(jax.random.key(1), 2000)
    ask = jax.jit(lambda x0: bound.continuous_bound(process, data.denoiser(process), x0, keys(2000), DENSITY, 64, 0.0))
    terms = ask(x0)
    gap, error = bound.mean_and_error(terms.total + data.log_prob(x0))
    assert np.isfinite(terms.total).all() and abs(gap) < 4 * error < 0.25


def test_discrete_data_have_a_probability_that_the_bound_does_not_exceed():
    """Pixels that are -1 or 1 with even odds: 1 bit/dim, by the exact denoiser tanh(alpha x_t / sigma^2)."""
    process, n = VPLinear(), 2000
    x0 = jnp.sign(jax.random.normal(jax.random.key(2), (n, 4)))

    def predict(x_t, t, label=None):
        alpha, sigma = (f(t)[:, None] for f in (process.alpha, process.sigma))
        return Prediction(jnp.tanh(alpha * x_t / sigma**2))

    ask = jax.jit(lambda x0: bound.continuous_bound(process, Denoiser(predict), x0, keys(n), bound.Discretised(2), 64))
    terms = ask(x0)
    bits, error = (value / 4 / np.log(2) for value in bound.mean_and_error(terms.total))
    assert abs(bits - 1) < 4 * error < 0.06


def test_the_k_of_2015_is_its_formula_and_stays_below_the_entropy_of_the_blurred_data():
    description = LearnedTable(timesteps=30, beta_first=1e-2)
    process = description.bind(description.init(jax.random.key(0)))
    data = gaussian(1.0, 2)  # of unit variance, as K assumes
    terms, _ = chain(process, data, 4000, variance.Large())
    k, error = bound.mean_and_error(-(terms.steps + bound.edge_entropy(process, 2)))
    normal_entropy = np.log(2 * np.pi * np.e)
    sigma_1, sigma_T = process.sigma(jnp.asarray(1 / 30)), process.sigma(jnp.ones(()))
    edge = 0.5 * 2 * np.log(2 * np.pi * np.e * sigma_1**2) + normal_entropy - (normal_entropy + 2 * jnp.log(sigma_T))
    np.testing.assert_allclose(bound.edge_entropy(process, 2), edge, rtol=1e-12)
    # N(0, I) stays what it is: H(x_1) = H(x_0), and beta is its exact reverse variance.
    assert abs(k + normal_entropy) < 4 * error < 0.5


# --------------------------------------------------------------------------------------------------------- mistakes


def test_what_has_no_bound_says_so_in_a_line():
    table_, data, x0 = ddpm_linear(timesteps=4), gaussian(0.5), jnp.zeros((1, 2))
    oracle, times = data.denoiser(table_), grid.linear(table_, 4)
    cases = {
        "with_variance": lambda: bound.chain_bound(table_, oracle, x0, keys(1), DENSITY, times),
        "fall strictly": lambda: bound.chain_bound(table_, oracle, x0, keys(1), DENSITY, times[::-1]),
        "draws=-1 must be at least 0": lambda: bound.chain_bound(table_, oracle, x0, keys(1), DENSITY, times, -1),
        "4 steps": lambda: bound.continuous_bound(table_, oracle, x0, keys(1), DENSITY),
        "draws=0 must be at least 1": lambda: bound.continuous_bound(EDM(), oracle, x0, keys(1), DENSITY, 0),
        "t_min: 1.5": lambda: bound.continuous_bound(EDM(), oracle, x0, keys(1), DENSITY, t_min=1.5),
        "second half": lambda: bound.with_variance(oracle, table_, variance.Learned()),
        "K: is defined": lambda: bound.edge_entropy(EDM(), 2),
    }
    for message, ask in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)
