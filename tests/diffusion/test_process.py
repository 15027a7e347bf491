"""The algebra of a process: identities that hold for every one of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import EDM, VPCosine, VPLinear, ddpm_cosine, ddpm_linear

CONTINUOUS = {"vp_linear": VPLinear(), "vp_cosine": VPCosine(), "edm": EDM()}
TABLES = {"ddpm_linear": ddpm_linear(), "ddpm_cosine": ddpm_cosine()}
ALL = CONTINUOUS | TABLES
pytestmark = pytest.mark.usefixtures("x64")


def times(process, n=20):
    """n times inside (0, 1); the steps of a table where there is one."""
    t = np.linspace(0.02, 0.98, n)
    return jnp.asarray(np.round(t * process.steps) / process.steps if process.steps else t)


@pytest.mark.parametrize("process", ALL.values(), ids=ALL)
def test_log_snr_falls_and_time_of_is_its_inverse(process):
    t = times(process)
    assert np.all(np.diff(process.log_snr(t)) < 0)
    np.testing.assert_allclose(process.time_of(process.log_snr(t)), t, rtol=1e-9)


@pytest.mark.parametrize("name", ["vp_linear", "vp_cosine", "ddpm_linear", "ddpm_cosine"])
def test_variance_preserving_processes_preserve_variance(name):
    t = times(ALL[name])
    np.testing.assert_allclose(ALL[name].alpha(t) ** 2 + ALL[name].sigma(t) ** 2, 1.0, rtol=1e-12)


@pytest.mark.parametrize("process", ALL.values(), ids=ALL)
def test_the_posterior_is_bayes_rule(process):
    """q(x_s | x_t, x0) ~ q(x_t | x_s) q(x_s | x0): precisions add, and means are weighted by them."""
    s, t = times(process, 8)[2], times(process, 8)[5]
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
    r, s, t = times(process, 9)[jnp.asarray([1, 4, 7])]
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
    with pytest.raises(ValueError, match="1000 steps"):
        ddpm_linear().sde(jnp.asarray(0.5))


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
