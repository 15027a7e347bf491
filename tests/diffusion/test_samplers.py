"""Samplers on Gaussian data, whose exact denoiser makes every sampler a linear recursion that can be done by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import (
    DDIM,
    EDM,
    Ancestral,
    Denoiser,
    Heun,
    Prediction,
    VPLinear,
    ddpm_linear,
    fold_in,
    grid,
    guidance,
    normal,
)

pytestmark = pytest.mark.usefixtures("x64")
MEAN, STD = 0.3, 0.5


def exact(process):
    """E[x0 | x_t] for x0 ~ N(MEAN, STD^2)."""

    def predict(x_t, t, label=None):
        alpha, sigma = process.alpha(t), process.sigma(t)
        gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
        gain, alpha = (jnp.reshape(a, jnp.shape(a) + (1,) * (x_t.ndim - jnp.ndim(a))) for a in (gain, alpha))
        return Prediction(MEAN + gain * (x_t - alpha * MEAN))

    return Denoiser(predict)


def recursion(process, times, sampler):
    """(a, b, c) of each step x_s = a x_t + b + c noise, by hand from the sampler's published formula."""
    alpha, sigma = (np.asarray(f(times)) for f in (process.alpha, process.sigma))
    for i in range(len(times) - 1):
        gain = alpha[i] * STD**2 / (alpha[i] ** 2 * STD**2 + sigma[i] ** 2)
        offset = MEAN - gain * alpha[i] * MEAN  # x0_hat = gain x_t + offset
        factor = alpha[i] / alpha[i + 1]
        step = sigma[i] ** 2 - factor**2 * sigma[i + 1] ** 2
        small = step * sigma[i + 1] ** 2 / sigma[i] ** 2
        if isinstance(sampler, DDIM):
            noise = sampler.eta**2 * small
            kept = np.sqrt(sigma[i + 1] ** 2 - noise) / sigma[i]
            a, b = alpha[i + 1] * gain + kept * (1 - alpha[i] * gain), (alpha[i + 1] - kept * alpha[i]) * offset
        else:
            from_x_t, from_x0 = factor * sigma[i + 1] ** 2 / sigma[i] ** 2, alpha[i + 1] * step / sigma[i] ** 2
            a, b = from_x_t + from_x0 * gain, from_x0 * offset
            noise = (small if sampler.variance == "small" else step) * (sigma[i + 1] > 0)
        yield a, b, np.sqrt(noise)


def moments(process, times, sampler):
    """Mean and variance at the end of the recursion, started from N(0, sigma^2)."""
    mean, variance = 0.0, float(process.sigma(times[0])) ** 2
    for a, b, c in recursion(process, times, sampler):
        mean, variance = a * mean + b, a**2 * variance + c**2
    return mean, variance


@pytest.mark.parametrize(
    "sampler",
    [DDIM(), DDIM(eta=0.5), DDIM(eta=1.0), Ancestral(), Ancestral(variance="large")],
    ids=["eta 0", "eta 0.5", "eta 1", "small", "large"],
)
@pytest.mark.parametrize("process", [ddpm_linear(), VPLinear(), EDM()], ids=["table", "continuous", "edm"])
def test_every_step_is_the_samplers_own_linear_gaussian_recursion(sampler, process):
    times, key = grid.linear(process, 20), jax.random.key(0)
    x = process.sigma(times[0]) * jax.random.normal(key, (5, 2))
    whole = sampler(process, exact(process), x, times, key)
    for i, (a, b, c) in enumerate(recursion(process, times, sampler)):
        x = a * x + b + c * normal(fold_in(key, i), x)
    np.testing.assert_allclose(whole.x0, x, rtol=1e-9, atol=1e-10)
    assert whole.nfe == 20


@pytest.mark.parametrize("process", [ddpm_linear(), VPLinear(), EDM()], ids=["table", "continuous", "edm"])
def test_ddim_is_its_recursion_to_the_last_digit(process):
    """With eta = 0 nothing is random but the start: two starts give the whole affine map."""
    times = grid.linear(process, 25)
    x = process.sigma(times[0]) * jnp.asarray([[0.0], [1.0]])
    x0 = DDIM()(process, exact(process), x, times, jax.random.key(0)).x0[:, 0]
    mean, variance = moments(process, times, DDIM())
    np.testing.assert_allclose(x0[0], mean, rtol=1e-10)
    np.testing.assert_allclose((x0[1] - x0[0]) ** 2, variance, rtol=1e-9)


def test_heun_is_its_recursion_to_the_last_digit():
    """In y = x / alpha and l = sigma / alpha, dy/dl = l (y - m) / (l^2 + s^2): Heun's two-stage formula by hand."""
    process, times = EDM(), grid.karras(EDM(), 12)
    level = np.asarray(process.sigma(times))
    slope = lambda y, l: l * (y - MEAN) / (l**2 + STD**2)  # noqa: E731, E741
    y = level[0] * 0.8
    for here, there in zip(level[:-1], level[1:], strict=True):
        euler = y + (there - here) * slope(y, here)
        y = euler if there == 0 else y + (there - here) * (slope(y, here) + slope(euler, there)) / 2
    out = Heun()(process, exact(process), jnp.asarray([[level[0] * 0.8]]), times, jax.random.key(0))
    np.testing.assert_allclose(out.x0[0, 0], y, rtol=1e-10)
    assert out.nfe == 2 * 12 - 1


@pytest.mark.parametrize(("sampler", "order"), [(DDIM(), 1), (Heun(), 2)], ids=["ddim", "heun"])
@pytest.mark.parametrize("process", [VPLinear(), EDM()], ids=["vp_linear", "edm"])
def test_the_error_vanishes_at_the_samplers_order(sampler, order, process):
    """On the exact solution of the probability-flow ODE, x(s) = m a_s + (x(t) - m a_t) std_s / std_t."""
    spread = lambda t: jnp.sqrt(process.alpha(t) ** 2 * STD**2 + process.sigma(t) ** 2)  # noqa: E731
    start, end = process.time_of(jnp.asarray([-2 * jnp.log(20.0), -2 * jnp.log(0.05)]))
    x = jnp.asarray([[1.7]])
    solution = MEAN * process.alpha(end) + (x - MEAN * process.alpha(start)) * spread(end) / spread(start)
    errors = []
    for steps in (64, 128, 256):
        levels = jnp.linspace(20 ** (1 / 7), 0.05 ** (1 / 7), steps + 1) ** 7
        times = process.time_of(-2 * jnp.log(levels))
        errors.append(float(jnp.abs(sampler(process, exact(process), x, times, jax.random.key(0)).x0 - solution)[0, 0]))
    measured = np.log2(np.asarray(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(measured, order, atol=0.15)


def test_the_ancestral_error_vanishes_at_first_order():
    process = VPLinear()
    errors = []
    for steps in (200, 400, 800):
        times = grid.linear(process, steps)
        errors.append(STD**2 - moments(process, times, Ancestral())[1])
    np.testing.assert_allclose(np.log2(np.asarray(errors[:-1]) / errors[1:]), 1, atol=0.2)


def test_ddim_with_eta_one_is_the_ancestral_sampler():
    process, x = ddpm_linear(), jax.random.normal(jax.random.key(2), (8, 3))
    times = grid.linear(process, 30)
    one = DDIM(eta=1.0)(process, exact(process), x, times, jax.random.key(3)).x0
    np.testing.assert_allclose(one, Ancestral()(process, exact(process), x, times, jax.random.key(3)).x0, atol=1e-10)


def test_a_sample_does_not_depend_on_its_neighbours():
    process, times = ddpm_linear(), grid.linear(ddpm_linear(), 10)
    keys = jax.random.split(jax.random.key(4), 6)
    x = jax.random.normal(jax.random.key(5), (6, 3))
    whole = Ancestral()(process, exact(process), x, times, keys).x0
    np.testing.assert_array_equal(Ancestral()(process, exact(process), x[2:4], times, keys[2:4]).x0, whole[2:4])


def test_the_trajectory_starts_at_the_noise_and_its_last_estimate_is_the_sample():
    process, times = ddpm_linear(), grid.linear(ddpm_linear(), 10)
    x = jax.random.normal(jax.random.key(6), (4, 2))
    out = DDIM()(process, exact(process), x, times, jax.random.key(0), trajectory=True)
    assert out.x_t.shape == out.x0_hat.shape == (10, 4, 2)
    np.testing.assert_array_equal(out.x_t[0], x)
    np.testing.assert_allclose(out.x0_hat[-1], out.x0, atol=1e-12)


def test_grids_go_from_one_to_zero_and_tables_are_visited_on_their_steps():
    table = np.asarray(grid.linear(ddpm_linear(), 7)) * 1000
    np.testing.assert_array_equal(table, np.round(table))
    assert table[0] == 1000 and table[-1] == 0
    karras = np.asarray(EDM().sigma(grid.karras(EDM(), 18)))
    np.testing.assert_allclose(karras[[0, 17, 18]], [80, 0.002, 0], rtol=1e-9)
    i = 5
    by_hand = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(karras[i], by_hand, rtol=1e-9)


def labelled(x_t, t, label):
    """A denoiser that answers its label, so that guidance can be read off."""
    return Prediction(jnp.broadcast_to(label.astype(x_t.dtype)[:, None], x_t.shape))


@pytest.mark.parametrize(("scale", "expected", "calls"), [(0.0, 10.0, 1), (1.0, 3.0, 1), (2.5, 10 + 2.5 * (3 - 10), 2)])
def test_guidance_extrapolates_and_says_what_it_costs(scale, expected, calls):
    guided = guidance.classifier_free(Denoiser(labelled), 10, scale=scale)
    answer = guided(jnp.zeros((2, 1)), jnp.asarray(0.5), jnp.asarray([3, 3]))
    np.testing.assert_allclose(answer.x0, expected)
    assert guided.calls == calls


def test_clipping_holds_every_estimate_to_the_datas_range():
    clipped = guidance.clip_x0(Denoiser(labelled))
    np.testing.assert_array_equal(clipped(jnp.zeros((2, 1)), jnp.asarray(0.5), jnp.asarray([-3, 3])).x0, [[-1], [1]])
