"""Targets: each conversion undoes its definition, and every target says the same as every other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import EDM, TARGETS, WEIGHTINGS, VPLinear, ddpm_linear, target
from diffjax.errors import UserError
from tests.diffusion.test_process import ALL

pytestmark = pytest.mark.usefixtures("x64")
PAIRS = [
    pytest.param(process, name, id=f"{name} on {key}")
    for key, process in ALL.items()
    if key in ("vp_linear", "sub_vp", "ve", "edm", "flow", "learned_network", "ddpm_linear")
    for name in TARGETS
    if not (name == "velocity" and process.steps)
]


def some(key, n=16):
    k1, k2 = jax.random.split(jax.random.key(key))
    return jax.random.normal(k1, (n, 3)), jax.random.normal(k2, (n, 3))


def times(process, n=16):
    """Inside the process, on a table's steps, and far enough from both ends for a division by alpha or sigma."""
    t = np.linspace(0.1, 0.9, n)
    return jnp.asarray(np.round(t * process.steps) / process.steps if process.steps else t)


@pytest.mark.parametrize(("process", "name"), PAIRS)
def test_the_true_target_gives_back_x0_and_gain_is_its_slope(process, name):
    ask, (x0, eps), t = TARGETS[name](), some(0), times(process)
    x_t = process.corrupt(x0, eps, t)
    output = ask.of(x0, eps, t, process)
    back, slope = jax.jvp(lambda out: ask.to_x0(out, x_t, t, process), (output,), (jnp.ones_like(output),))
    np.testing.assert_allclose(back, x0, atol=1e-8)
    np.testing.assert_allclose(jnp.abs(slope[:, 0]), ask.gain(t, process), rtol=1e-9)


@pytest.mark.parametrize(("process", "name"), PAIRS)
def test_what_one_target_says_any_other_says_too(process, name):
    """To x0 and eps by way of `convert`, from the same guess of x0, and back."""
    given, (x0, eps), t = TARGETS[name](), some(1), times(process)
    x_t = process.corrupt(x0, eps, t)
    guess = jnp.tanh(x_t) * 0.3 + 0.1
    output = given.of(guess, process.eps(guess, x_t, t), t, process)
    for other in TARGETS:
        if other == "velocity" and process.steps:
            continue
        wanted = TARGETS[other]()
        said = target.convert(output, x_t, t, process, given, wanted)
        expected = wanted.of(guess, process.eps(guess, x_t, t), t, process)
        np.testing.assert_allclose(said, expected, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(target.convert(said, x_t, t, process, wanted, given), output, rtol=1e-7, atol=1e-7)


def test_targets_are_the_papers():
    process, (x0, eps), t = VPLinear(), some(2), times(VPLinear())
    alpha, sigma = process.alpha(t)[:, None], process.sigma(t)[:, None]
    x_t = process.corrupt(x0, eps, t)
    np.testing.assert_allclose(target.V().of(x0, eps, t, process), alpha * eps - sigma * x0)
    np.testing.assert_allclose(target.Velocity().of(x0, eps, t, process), process.velocity(x0, x_t, t), rtol=1e-8)
    # The score of N(alpha x0, sigma^2) at x_t.
    np.testing.assert_allclose(target.Score().of(x0, eps, t, process), -(x_t - alpha * x0) / sigma**2, rtol=1e-8)
    # v is the velocity in the angle of (alpha, sigma) (Salimans & Ho 2022, appendix D).
    np.testing.assert_allclose(target.V().to_x0(alpha * eps - sigma * x0, x_t, t, process), x0, atol=1e-12)


def test_the_mean_is_that_of_ddpms_posterior():
    process, (x0, eps) = ddpm_linear(), some(3)
    t = times(process)
    x_t = process.corrupt(x0, eps, t)
    expected, _ = process.posterior(x0, x_t, t - 1 / 1000, t)
    np.testing.assert_allclose(target.Mean().of(x0, eps, t, process), expected, rtol=1e-9, atol=1e-12)
    first = jnp.full(len(x0), 1 / 1000)  # the step to the data: mu~ is x0
    np.testing.assert_allclose(target.Mean().of(x0, eps, first, process), x0, rtol=1e-9, atol=1e-12)


def test_each_target_is_singular_where_it_says_and_nowhere_else():
    """At alpha = 0 eps and the score tell nothing of x0; x0, v, F and the velocity still do."""
    flow, x_t, t = ALL["flow"], some(4)[0], jnp.ones(16)
    for name in ("x0", "v", "F", "velocity"):
        assert np.isfinite(TARGETS[name]().to_x0(jnp.ones_like(x_t), x_t, t, flow)).all(), name
    for name in ("eps", "score"):
        assert not np.isfinite(TARGETS[name]().to_x0(jnp.ones_like(x_t), x_t, t, flow)).any(), name
    for name in ("x0", "v", "F"):  # and at sigma = 0
        assert np.isfinite(TARGETS[name]().to_x0(jnp.ones_like(x_t), x_t, jnp.zeros(16), flow)).all(), name


def test_the_velocity_of_a_table_a_mean_without_steps_and_data_without_spread_are_one_line():
    with pytest.raises(UserError, match="no derivative in t"):
        target.Velocity().gain(jnp.asarray([0.5]), ddpm_linear())
    with pytest.raises(UserError, match="method.target.steps"):
        target.Mean(steps=0)
    with pytest.raises(UserError, match="method.target.sigma_data: 0.0 must be positive"):
        target.F(sigma_data=0.0)


def test_f_has_unit_variance_in_and_out():
    """The premise of EDM's preconditioning (Karras et al. 2022, appendix B.6), with data of the stated deviation."""
    process, ask = EDM(), target.F(sigma_data=0.5)
    x0, eps = some(2, 200_000)
    for sigma in (0.01, 0.5, 20.0):
        t = jnp.full(len(x0), sigma / process.sigma_max)
        x0_half = 0.5 * x0
        np.testing.assert_allclose(ask.input(process.corrupt(x0_half, eps, t), t, process).std(), 1, rtol=5e-3)
        np.testing.assert_allclose(ask.of(x0_half, eps, t, process).std(), 1, rtol=5e-3)


def test_edms_coefficients_are_the_papers():
    process, ask, sigma = EDM(), target.F(sigma_data=0.5), 1.7
    t, one, zero = jnp.asarray([sigma / 80]), jnp.ones((1, 1)), jnp.zeros((1, 1))
    np.testing.assert_allclose(ask.to_x0(zero, one, t, process), 0.25 / (sigma**2 + 0.25))  # c_skip
    np.testing.assert_allclose(ask.to_x0(one, zero, t, process), sigma * 0.5 / np.sqrt(0.25 + sigma**2))  # c_out
    np.testing.assert_allclose(ask.input(one, t, process), 1 / np.sqrt(0.25 + sigma**2))  # c_in
    weight = WEIGHTINGS["edm"]()(process.log_snr(t))
    np.testing.assert_allclose(weight, (sigma**2 + 0.25) / (sigma * 0.5) ** 2)
