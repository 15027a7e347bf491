"""Against diffusers' schedulers: the same table, the same step, from the same network output."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import DDIM, EDM, Ancestral, Denoiser, Heun, Prediction, ddpm_cosine, ddpm_linear, grid, target

diffusers = pytest.importorskip("diffusers", reason="needs the extra `parity`")
torch = pytest.importorskip("torch", reason="needs the extra `parity`")
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("x64")]

TABLES = {"linear": (ddpm_linear(), "linear"), "cosine": (ddpm_cosine(), "squaredcos_cap_v2")}


def network(x, n):
    """Some eps network, in NumPy, for both: n is the index of the step."""
    return np.tanh(1.3 * x + 0.001 * n) + 0.1 * x


def ours(process):
    def predict(x_t, t, label=None):
        n = jnp.round(t * 1000) - 1
        return Prediction(target.Eps().to_x0(jnp.tanh(1.3 * x_t + 0.001 * n) + 0.1 * x_t, x_t, t, process))

    return Denoiser(predict)


@pytest.mark.parametrize("table", TABLES)
def test_the_tables_agree(table):
    process, name = TABLES[table]
    theirs = diffusers.DDPMScheduler(1000, beta_schedule=name).alphas_cumprod.numpy()  # in float32
    np.testing.assert_allclose(process.alpha(jnp.arange(1, 1001) / 1000) ** 2, theirs, rtol=2e-4)


@pytest.mark.parametrize("table", TABLES)
def test_ddim_takes_the_same_steps(table):
    """Twenty steps, spaced as theirs are when they start at T ("trailing")."""
    process, name = TABLES[table]
    schedule = diffusers.DDIMScheduler(
        1000, beta_schedule=name, clip_sample=False, timestep_spacing="trailing", set_alpha_to_one=True
    )
    schedule.set_timesteps(20)
    start = np.random.default_rng(0).normal(size=(2, 3))
    x = torch.tensor(start)
    for n in schedule.timesteps:
        x = schedule.step(torch.tensor(network(x.numpy(), n.item())), n, x).prev_sample
    mine = DDIM()(process, ours(process), jnp.asarray(start), grid.linear(process, 20), jax.random.key(0)).x0
    np.testing.assert_allclose(mine, x.numpy(), rtol=1e-3, atol=1e-3)  # their table is in float32


@pytest.mark.parametrize(("variance", "theirs"), [("small", "fixed_small"), ("large", "fixed_large")])
def test_an_ancestral_step_has_the_same_mean_and_deviation(variance, theirs):
    process = ddpm_linear()
    schedule = diffusers.DDPMScheduler(1000, variance_type=theirs, clip_sample=False)
    x = np.random.default_rng(1).normal(size=(20_000, 1))
    for n in (999, 500, 10):
        eps = torch.tensor(np.zeros_like(x))  # then the step is a x + c noise
        out = schedule.step(eps, n, torch.tensor(x), generator=torch.Generator().manual_seed(0)).prev_sample.numpy()
        denoise = Denoiser(
            lambda x_t, t, label=None: Prediction(target.Eps().to_x0(jnp.zeros_like(x_t), x_t, t, process))
        )
        t, s = jnp.asarray((n + 1) / 1000), jnp.asarray(n / 1000)
        mine = Ancestral(variance=variance).step(process, denoise, jnp.asarray(x), t, s, jax.random.key(0)).x_s
        (a, _), (b, _) = (np.polyfit(x[:, 0], y[:, 0], 1) for y in (out, np.asarray(mine)))
        spread = [np.std(y[:, 0] - slope * x[:, 0]) for y, slope in ((out, a), (np.asarray(mine), b))]
        np.testing.assert_allclose(b, a, atol=4 * max(spread) / np.sqrt(20_000) + 1e-6)
        np.testing.assert_allclose(spread[1], spread[0], rtol=0.02)


def test_heun_takes_the_same_steps_as_edms():
    process, steps = EDM(), 12
    schedule = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0)
    schedule.set_timesteps(steps)
    sigmas = schedule.sigmas.double().numpy()
    np.testing.assert_allclose(process.sigma(grid.karras(process, steps)), sigmas, rtol=1e-4)

    def denoise(x, sigma):
        return x / (1 + sigma**2) + 0.1 * np.tanh(x)

    start = x = np.random.default_rng(2).normal(size=(2, 3)) * 80
    for sigma, lower in zip(sigmas[:-1], sigmas[1:], strict=True):  # Karras et al. 2022, algorithm 1
        slope = (x - denoise(x, sigma)) / sigma
        euler = x + (lower - sigma) * slope
        x = euler if lower == 0 else x + (lower - sigma) * (slope + (euler - denoise(euler, lower)) / lower) / 2
    exact = Denoiser(lambda x_t, t, label=None: Prediction(x_t / (1 + (80 * t) ** 2) + 0.1 * jnp.tanh(x_t)))
    mine = Heun()(process, exact, jnp.asarray(start), grid.karras(process, steps), jax.random.key(0)).x0
    np.testing.assert_allclose(mine, x, rtol=1e-4, atol=1e-5)
