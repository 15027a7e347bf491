"""The algebra of a process: identities that hold for every one of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import (
    EDM,
    VE,
    Flow,
    LearnedLogSNR,
    LearnedTable,
    SubVP,
    VPCosine,
    VPLinear,
    VPSteps,
    ddpm_cosine,
    ddpm_linear,
    table,
)
from diffjax.diffusion.oracle import GaussianMixture
from diffjax.errors import UserError


def learned(description, seed=0):
    """Bound to parameters as training may leave them: the initial ones, shaken."""
    with jax.enable_x64(True):
        params = description.init(jax.random.key(seed))
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
        shaken = [x + 0.3 * jax.random.normal(key, x.shape, float) for key, x in zip(keys, leaves, strict=True)]
        return description.bind(jax.tree.unflatten(tree, shaken))


CONTINUOUS = {
    "vp_linear": VPLinear(),
    "vp_cosine": VPCosine(),
    "sub_vp": SubVP(),
    "ve": VE(),
    "edm": EDM(),
    "flow": Flow(),
    "learned_ends": learned(LearnedLogSNR(width=0)),
    "learned_network": learned(LearnedLogSNR(width=16)),
}
TABLES = {
    "ddpm_linear": ddpm_linear(),
    "ddpm_cosine": ddpm_cosine(),
    "table": table(betas=(0.1, 0.2, 0.05, 0.3, 0.4, 0.02, 0.5, 0.1, 0.2, 0.6)),
    "learned_table": learned(LearnedTable(timesteps=40)),
}
ALL = CONTINUOUS | TABLES
pytestmark = pytest.mark.usefixtures("x64")


def times(process, n=20):
    """n times inside (0, 1); the steps of a table where there is one."""
    t = np.linspace(0.02, 0.98, n)
    return jnp.asarray(np.unique(np.clip(np.round(t * process.steps), 1, None)) / process.steps if process.steps else t)


@pytest.mark.parametrize("process", ALL.values(), ids=ALL)
def test_log_snr_falls_and_time_of_is_its_inverse(process):
    t = times(process)
    assert np.all(np.diff(process.log_snr(t)) < 0)
    np.testing.assert_allclose(process.time_of(process.log_snr(t)), t, rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("sub_vp", "ve", "edm", "flow")])
def test_variance_preserving_processes_preserve_variance(name):
    t = times(ALL[name])
    np.testing.assert_allclose(ALL[name].alpha(t) ** 2 + ALL[name].sigma(t) ** 2, 1.0, rtol=1e-12)


@pytest.mark.parametrize("process", ALL.values(), ids=ALL)
def test_the_posterior_is_bayes_rule(process):
    """q(x_s | x_t, x0) ~ q(x_t | x_s) q(x_s | x0): precisions add, and means are weighted by them."""
    t = times(process, 8)
    s, t = t[len(t) // 4], t[2 * len(t) // 3]
    x0, x_t = jnp.asarray([[0.3, -1.2]]), jnp.asarray([[0.9, 0.1]])
    factor, variance = process.transition(s, t)
    precision = 1 / process.sigma(s) ** 2 + factor**2 / variance
    mean = (process.alpha(s) * x0 / process.sigma(s) ** 2 + factor * x_t / variance) / precision
    ours, ours_variance = process.posterior(x0, x_t, s, t)
    np.testing.assert_allclose(ours, mean, rtol=1e-9)
    np.testing.assert_allclose(ours_variance, 1 / precision, rtol=1e-9)


def test_the_posterior_of_neighbouring_steps_is_ddpms():
    """Ho et al. 2020, eq. 7, from the betas themselves."""
    process, n = ddpm_linear(), 400
    betas = np.linspace(1e-4, 0.02, 1000)
    bars = np.cumprod(1 - betas)
    bar, before, beta = bars[n - 1], bars[n - 2], betas[n - 1]
    x0, x_t = jnp.asarray([[0.7]]), jnp.asarray([[-0.4]])
    mean, variance = process.posterior(x0, x_t, jnp.asarray((n - 1) / 1000), jnp.asarray(n / 1000))
    expected = np.sqrt(before) * beta / (1 - bar) * 0.7 + np.sqrt(1 - beta) * (1 - before) / (1 - bar) * -0.4
    np.testing.assert_allclose(mean, [[expected]], rtol=1e-12)
    np.testing.assert_allclose(variance, (1 - before) / (1 - bar) * beta, rtol=1e-10)


@pytest.mark.parametrize("process", ALL.values(), ids=ALL)
def test_two_transitions_are_one(process):
    t = times(process, 9)
    r, s, t = t[1], t[len(t) // 2], t[len(t) - 2]
    (f_rs, v_rs), (f_st, v_st), (f_rt, v_rt) = (process.transition(*pair) for pair in ((r, s), (s, t), (r, t)))
    np.testing.assert_allclose(f_rs * f_st, f_rt, rtol=1e-10)
    np.testing.assert_allclose(f_st**2 * v_rs + v_st, v_rt, rtol=1e-8)


@pytest.mark.parametrize("process", CONTINUOUS.values(), ids=CONTINUOUS)
def test_the_sde_has_the_moments_of_the_process(process):
    """d alpha / dt = f alpha and d sigma^2 / dt = 2 f sigma^2 + g^2, by finite differences."""
    t, h = times(process, 6), 1e-6
    f, g2 = process.sde(t)
    slope = (process.alpha(t + h) - process.alpha(t - h)) / (2 * h)
    growth = (process.sigma(t + h) ** 2 - process.sigma(t - h) ** 2) / (2 * h)
    np.testing.assert_allclose(f * process.alpha(t), slope, atol=1e-7)
    np.testing.assert_allclose(2 * f * process.sigma(t) ** 2 + g2, growth, rtol=1e-6)


def test_vp_linear_has_the_linear_beta_of_its_name():
    f, g2 = VPLinear(0.1, 20.0).sde(jnp.linspace(0.1, 0.9, 5))
    beta = 0.1 + np.linspace(0.1, 0.9, 5) * 19.9
    np.testing.assert_allclose(f, -beta / 2, rtol=1e-10)
    np.testing.assert_allclose(g2, beta, rtol=1e-10)


@pytest.mark.parametrize("process", CONTINUOUS.values(), ids=CONTINUOUS)
def test_the_flow_moves_a_fixed_x0_and_eps_along_their_own_path(process):
    t, h = jnp.asarray([0.3, 0.6]), 1e-6
    x0, eps = jnp.asarray([[0.5, -1.0], [0.2, 2.0]]), jnp.asarray([[1.0, 0.3], [-0.7, 0.1]])
    path = (process.corrupt(x0, eps, t + h) - process.corrupt(x0, eps, t - h)) / (2 * h)
    np.testing.assert_allclose(process.velocity(x0, process.corrupt(x0, eps, t), t), path, rtol=1e-6)


def test_a_table_has_no_derivative():
    with pytest.raises(UserError, match="1000 steps"):
        ddpm_linear().sde(jnp.asarray(0.5))


def test_sub_vps_diffusion_is_the_papers():
    """g^2 = beta (1 - exp(-2 int beta)) (Song et al. 2021, eq. 28)."""
    t = jnp.linspace(0.1, 0.9, 5)
    f, g2 = SubVP(0.1, 20.0).sde(t)
    beta, integral = 0.1 + t * 19.9, 0.1 * t + 19.9 * t**2 / 2
    np.testing.assert_allclose(f, -beta / 2, rtol=1e-10)
    np.testing.assert_allclose(g2, beta * -jnp.expm1(-2 * integral), rtol=1e-10)


def test_ve_starts_from_the_data_and_jumps_to_sigma_min():
    np.testing.assert_allclose(VE(0.01, 50.0).sigma(jnp.asarray([0.0, 1e-9, 0.5, 1.0])), [0, 0.01, 0.5**0.5, 50])
    f, g2 = VE(0.01, 50.0).sde(jnp.asarray([0.2]))  # eq. 30
    sigma = 0.01 * 5000**0.2
    np.testing.assert_allclose([f[0], g2[0]], [0, sigma**2 * 2 * np.log(5000)], rtol=1e-10)


def test_the_flow_is_a_straight_line():
    x0, eps, t = jnp.asarray([[0.4]]), jnp.asarray([[-1.1]]), jnp.asarray([0.3])
    x_t = Flow().corrupt(x0, eps, t)
    np.testing.assert_allclose(x_t, 0.7 * x0 + 0.3 * eps)
    np.testing.assert_allclose(Flow().velocity(x0, x_t, t), eps - x0, rtol=1e-12)


def test_a_learned_schedule_runs_between_its_two_ends_whatever_its_network():
    for width in (0, 16):
        description = LearnedLogSNR(log_snr_max=9.0, log_snr_min=-4.0, width=width)
        process = description.bind(description.init(jax.random.key(3)))
        np.testing.assert_allclose(process.log_snr(jnp.asarray([0.0, 1.0])), [9.0, -4.0], rtol=1e-12)
        assert process.log_snr(jnp.asarray(0.5)).shape == ()


def test_gradients_reach_the_parameters_of_a_learned_process():
    for description in (LearnedLogSNR(width=8), LearnedTable(timesteps=5)):
        params = description.init(jax.random.key(0))
        slope = jax.grad(lambda p, d=description: jnp.sum(d.bind(p).sigma(jnp.asarray([0.4, 0.8]))))(params)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
        assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(slope))


def test_the_log_snr_of_a_fresh_learned_table_falls_evenly_from_that_of_its_first_beta():
    description = LearnedTable(timesteps=10, beta_first=1e-3, log_snr_min=-6.0)
    process = description.bind(description.init(jax.random.key(0)))
    np.testing.assert_allclose(
        process.log_snr(jnp.arange(1, 11) / 10), np.linspace(np.log(1e3 - 1), -6.0, 10), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: table(betas=(0.1, 1.0)), "betas"),
        (lambda: ddpm_linear(timesteps=8, beta_end=2.5), "beta_end"),
        (lambda: table(betas=()), "betas"),
        (lambda: ddpm_linear(timesteps=0), "timesteps"),
        (lambda: LearnedTable(timesteps=1), "timesteps"),
        (lambda: LearnedTable(beta_first=0.0), "beta_first"),
        (lambda: LearnedTable(log_snr_min=7.0), "log_snr_min"),
        (lambda: LearnedLogSNR(log_snr_max=-6.0), "log_snr_max"),
        (lambda: LearnedLogSNR(width=-1), "width"),
        (lambda: VPLinear(beta_min=0.0), "beta_min: 0.0 must be positive"),
        (lambda: SubVP(beta_max=-1.0), "beta_max: -1.0 must be positive"),
        (lambda: VPCosine(log_snr_min=-36.0), "log_snr_min: -36.0 must be at least -30"),
        (lambda: EDM(sigma_max=-1.0), "sigma_max: -1.0 must be positive"),
        (lambda: EDM(sigma_max=float("inf")), "sigma_max: inf must be positive and finite"),
        (lambda: VE(sigma_min=0.0), "sigma_min: 0.0 must be above 0 and below sigma_max=50.0"),
        (lambda: VE(sigma_max=0.01), "sigma_min: 0.01 must be above 0 and below sigma_max=0.01"),
        (lambda: VPSteps(beta_max=float("nan")), "beta_max: nan must be positive"),
        (lambda: VPSteps(t_min=1.0), "t_min: 1.0 must be at least 0 and less than 1"),
        (lambda: ddpm_cosine(beta_max=1.0), "beta_max: 1 must lie between 0 and 1"),
        (lambda: ddpm_cosine(offset=-1.0), "offset: -1.0 must not be negative"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_one_line_that_names_its_field(make, field):
    with pytest.raises(UserError, match=f"method.process.{field}"):
        make()


def test_the_cosine_table_clips_its_last_beta():
    betas = np.asarray(ddpm_cosine().betas)
    assert betas[-1] == 0.999 and np.all(betas[:-1] < 0.999)


def test_ddpm_linear_leaves_almost_no_signal():
    process = ddpm_linear()
    np.testing.assert_allclose(process.alpha(jnp.asarray(1.0)) ** 2, 4.0358e-5, rtol=1e-4)
    assert process.alpha(jnp.asarray(0.0)) == 1 and process.sigma(jnp.asarray(0.0)) == 0


def test_float32_tables_agree_with_float64_ones():
    exact = ddpm_linear().sigma(jnp.asarray([1, 2, 500, 1000]) / 1000)
    with jax.enable_x64(False):
        single = ddpm_linear().sigma(jnp.asarray([1, 2, 500, 1000]) / 1000)
    np.testing.assert_allclose(single, exact, rtol=1e-7)


@pytest.mark.parametrize("process", ALL.values(), ids=ALL)
def test_the_score_is_the_gradient_of_the_log_density(process):
    """Of q(x_t | x0) for a given x0; and of p(x_t) for x0 = E[x0 | x_t] (Tweedie), here for a mixture of Gaussians."""
    t = times(process)
    x0, x_t = jax.random.normal(jax.random.key(3), (2, len(t), 2), float)

    def log_q(x_t):
        return jnp.sum(jax.scipy.stats.norm.logpdf(x_t, process.alpha(t)[:, None] * x0, process.sigma(t)[:, None]))

    np.testing.assert_allclose(process.score(x0, x_t, t), jax.grad(log_q)(x_t), rtol=1e-9, atol=1e-9)
    mixture = GaussianMixture(jnp.asarray([[1.0, 0.0], [-1.0, 0.5]]), jnp.asarray([0.3, 0.2]), jnp.asarray([0.4, 0.6]))
    log_p = jax.grad(lambda x_t: jnp.sum(jax.vmap(lambda x, t: mixture.log_prob_at(x[None], t, process))(x_t, t)))
    x0_hat = mixture.denoiser(process)(x_t, t).x0
    np.testing.assert_allclose(process.score(x0_hat, x_t, t), log_p(x_t), rtol=1e-6, atol=1e-6)
