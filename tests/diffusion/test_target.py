"""Targets: each conversion undoes its definition, and the losses of one denoiser agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import EDM, PROCESSES, TARGETS, WEIGHTINGS, denoising_loss, normal, times

pytestmark = pytest.mark.usefixtures("x64")


def some(key, n=16):
    k1, k2 = jax.random.split(jax.random.key(key))
    return jax.random.normal(k1, (n, 3)), jax.random.normal(k2, (n, 3))


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("target", TARGETS)
def test_the_true_target_gives_back_x0(process, target):
    process, target = PROCESSES[process](), TARGETS[target]()
    x0, eps = some(0)
    t = jnp.linspace(0.1, 0.9, len(x0)).round(3)
    x_t = process.corrupt(x0, eps, t)
    np.testing.assert_allclose(target.to_x0(target.of(x0, eps, t, process), x_t, t, process), x0, atol=1e-9)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("target", TARGETS)
def test_gain_is_the_slope_of_x0_in_the_output(process, target):
    process, target = PROCESSES[process](), TARGETS[target]()
    x_t, output = some(1)
    t = jnp.linspace(0.1, 0.9, len(x_t)).round(3)
    slope = jax.jvp(lambda out: target.to_x0(out, x_t, t, process), (output,), (jnp.ones_like(output),))[1]
    np.testing.assert_allclose(jnp.abs(slope[:, 0]), target.gain(t, process), rtol=1e-9)


def test_f_has_unit_variance_in_and_out():
    """The premise of EDM's preconditioning (Karras et al. 2022, appendix B.6), with data of the stated deviation."""
    process, target = EDM(), TARGETS["F"](sigma_data=0.5)
    x0, eps = some(2, 200_000)
    for sigma in (0.01, 0.5, 20.0):
        t = jnp.full(len(x0), sigma / process.sigma_max)
        x0_half = 0.5 * x0
        np.testing.assert_allclose(target.input(process.corrupt(x0_half, eps, t), t, process).std(), 1, rtol=5e-3)
        np.testing.assert_allclose(target.of(x0_half, eps, t, process).std(), 1, rtol=5e-3)


def test_edms_coefficients_are_the_papers():
    process, target, sigma = EDM(), TARGETS["F"](sigma_data=0.5), 1.7
    t, one, zero = jnp.asarray([sigma / 80]), jnp.ones((1, 1)), jnp.zeros((1, 1))
    np.testing.assert_allclose(target.to_x0(zero, one, t, process), 0.25 / (sigma**2 + 0.25))  # c_skip
    np.testing.assert_allclose(target.to_x0(one, zero, t, process), sigma * 0.5 / np.sqrt(0.25 + sigma**2))  # c_out
    np.testing.assert_allclose(target.input(one, t, process), 1 / np.sqrt(0.25 + sigma**2))  # c_in
    weight = WEIGHTINGS["edm"](process.log_snr(t))
    np.testing.assert_allclose(weight, (sigma**2 + 0.25) / (sigma * 0.5) ** 2)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("process", ["vp_linear", "vp_cosine", "edm", "ddpm_linear"])
def test_one_denoiser_has_one_loss_whatever_its_network_is_asked_for(process, weighting):
    """The same x0_hat, said as eps, as x0 or as F, costs the same."""
    process, x0 = PROCESSES[process](), some(3)[0]
    keys = jax.random.split(jax.random.key(4), len(x0))

    def guess(x_t, t):  # some denoiser
        return jnp.tanh(x_t) * 0.3 + 0.1

    def loss(name):
        target = TARGETS[name]()
        ask = denoising_loss(process, target, WEIGHTINGS[weighting], times.Uniform(t_min=0.05))
        seen = {}

        def predict(x, t):  # the output that stands for this x0_hat, found from the affine map itself
            variance = process.alpha(t) ** 2 * 0.25 + process.sigma(t) ** 2
            x_t = x * jnp.sqrt(variance)[:, None] if name == "F" else x
            zero = target.to_x0(jnp.zeros_like(x_t), x_t, t, process)
            one = target.to_x0(jnp.ones_like(x_t), x_t, t, process)
            seen["t"] = t
            return (guess(x_t, t) - zero) / (one - zero)

        return ask(predict, x0, keys)

    np.testing.assert_allclose(loss("eps"), loss("x0"), rtol=1e-8)
    np.testing.assert_allclose(loss("F"), loss("x0"), rtol=1e-8)


def test_l_simple_and_its_gradient_are_the_hand_derived_ones():
    """For eps_hat = w x_t: L = mean |eps - w x_t|^2 and dL/dw = -2 mean (eps - w x_t) x_t (Ho et al. 2020, eq. 14)."""
    process, x0 = PROCESSES["ddpm_linear"](), some(5)[0]
    keys = jax.random.split(jax.random.key(6), len(x0))
    loss = denoising_loss(process, TARGETS["eps"](), WEIGHTINGS["simple"], times.Uniform())
    key_t, key_eps = jax.vmap(jax.random.split, out_axes=1)(keys)
    t, eps = times.Uniform().sample(key_t, process), normal(key_eps, x0)
    x_t = process.corrupt(x0, eps, t)
    w = 0.37
    value, slope = jax.value_and_grad(lambda w: jnp.mean(loss(lambda x, t: w * x, x0, keys)))(w)
    np.testing.assert_allclose(value, jnp.mean((eps - w * x_t) ** 2), rtol=1e-12)
    np.testing.assert_allclose(slope, -2 * jnp.mean((eps - w * x_t) * x_t), rtol=1e-12)
