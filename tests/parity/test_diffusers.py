"""Against diffusers' schedulers: the same tables, the same walks, from the same network and the same noise.

Their tables are in float32. Where a scheduler reads them from an attribute, the same table in float64 is put there and
the walks agree to 1e-10. DPMSolverMultistep and EulerDiscrete carry the sample itself in float32 whatever they are
given: 1e-5. DDPM with "fixed_large" adds noise of variance beta at the last step too, ours adds none: it is left out.
The SDE form of DPM-Solver++ 3M is not compared: theirs weighs the second difference by -1 as the step vanishes, where
k-diffusion's weight, like the integral that it stands for, vanishes too (diffusers 0.42.1).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import EDM, Denoiser, Prediction, ddpm_cosine, ddpm_linear, fold_in, grid, normal, target
from diffjax.diffusion.samplers import DDIM, AdamsBashforth, Ancestral, DPMSolverPP, Heun, UniPC

diffusers = pytest.importorskip("diffusers", reason="needs the extra `parity`")
torch = pytest.importorskip("torch", reason="needs the extra `parity`")
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("x64")]

TABLES = {"linear": (ddpm_linear(), "linear"), "cosine": (ddpm_cosine(), "squaredcos_cap_v2")}
KEY = jax.random.key(7)
STEPS = 20


def network(x, n, xp):
    """Some eps network for both; n is the index of the step, from 0."""
    return xp.tanh(1.3 * x + 0.001 * n) + 0.1 * x


def ours(process):
    def predict(x_t, t, label=None):
        n = jnp.round(t * 1000) - 1
        return Prediction(target.Eps().to_x0(network(x_t, n, jnp), x_t, t, process))

    return Denoiser(predict)


def alpha_bars(process):
    return torch.tensor(np.asarray(process.alpha(jnp.arange(1, 1001) / 1000)) ** 2)


def levels(process, timesteps):
    """sigma / alpha at their timesteps, and 0, in float64."""
    bars = alpha_bars(process)[timesteps.long()]
    return torch.cat([torch.sqrt((1 - bars) / bars), torch.zeros(1, dtype=torch.float64)])


def start():
    return np.random.default_rng(0).normal(size=(2, 3))


def noise(i):
    return torch.tensor(np.asarray(normal(fold_in(KEY, i), jnp.zeros((2, 3)))))


def walk(schedule, x, **settings):
    """Theirs, from their first timestep to the data."""
    for i, n in enumerate(schedule.timesteps):
        more = {name: value(i) for name, value in settings.items()}
        x = schedule.step(torch.tensor(np.asarray(network(x.numpy(), n.item(), np))), n, x, **more).prev_sample
    return x.numpy()


def mine(sampler, process, times):
    return np.asarray(sampler(process, ours(process), jnp.asarray(start()), times, KEY).x0)


def check(one, other, tolerance):
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize("table", TABLES)
def test_the_tables_agree(table):
    """Their betas are float32 numbers; multiplied up in float64 they give our table. (Their own product is worse.)

    But for the cosine's last step, whose 1 - beta = 0.001 has lost three digits more.
    """
    process, name = TABLES[table]
    betas = diffusers.DDPMScheduler(1000, beta_schedule=name).betas.double()
    np.testing.assert_allclose(process.betas, betas, rtol=1e-5)
    np.testing.assert_allclose(alpha_bars(process)[:-1], torch.cumprod(1 - betas, 0)[:-1], rtol=1e-5)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("eta", [0.0, 0.6])
def test_ddim_takes_the_same_steps(table, eta):
    """Spaced as theirs are when they start at T ("trailing")."""
    process, name = TABLES[table]
    schedule = diffusers.DDIMScheduler(1000, beta_schedule=name, clip_sample=False, timestep_spacing="trailing")
    schedule.set_timesteps(STEPS)
    schedule.alphas_cumprod, schedule.final_alpha_cumprod = alpha_bars(process), torch.tensor(1.0).double()
    x = walk(schedule, torch.tensor(start()), eta=lambda i: eta, variance_noise=lambda i: noise(i) if eta else None)
    check(mine(DDIM(eta=eta), process, grid.linear(process, STEPS)), x, 1e-10)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(("variance", "name"), [("small", "fixed_small"), ("large", "fixed_large")])
def test_the_ancestral_sampler_takes_the_same_steps(table, variance, name, monkeypatch):
    process, schedule_name = TABLES[table]
    schedule = diffusers.DDPMScheduler(
        1000, beta_schedule=schedule_name, variance_type=name, clip_sample=False, timestep_spacing="trailing"
    )
    schedule.set_timesteps(STEPS)
    schedule.alphas_cumprod, schedule.one = alpha_bars(process), torch.tensor(1.0).double()
    schedule.timesteps = schedule.timesteps[:-1]
    following = iter(noise(i) for i in range(STEPS))
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: next(following))
    times = grid.linear(process, STEPS)
    steps = list(zip(np.round(np.asarray(times[:-2]) * 1000) - 1, schedule.timesteps, strict=True))
    assert all(a == b for a, b in steps)
    # Their step asks `timesteps` for the one before: the last must still be there.
    schedule.timesteps = torch.cat([schedule.timesteps, torch.tensor([49])])
    x = torch.tensor(start())
    for n in schedule.timesteps[:-1]:
        x = schedule.step(torch.tensor(network(x.numpy(), n.item(), np)), n, x).prev_sample
    check(mine(Ancestral(variance=variance), process, times[:-1]), x.numpy(), 1e-10)


MULTISTEP = {
    "2m": (DPMSolverPP(), {"solver_order": 2}),
    "2m, heun": (DPMSolverPP(correction="heun"), {"solver_order": 2, "solver_type": "heun"}),
    "3m": (DPMSolverPP(order=3), {"solver_order": 3}),
    "sde": (DPMSolverPP(order=1, eta=1.0), {"solver_order": 1, "algorithm_type": "sde-dpmsolver++"}),
    "sde 2m": (DPMSolverPP(eta=1.0), {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"}),
}


@pytest.mark.parametrize("case", MULTISTEP)
@pytest.mark.parametrize("steps", [10, STEPS])
def test_dpm_solver_multistep_takes_the_same_steps(case, steps):
    """Theirs lower the order at the end if there are fewer than 15 steps."""
    sampler, settings = MULTISTEP[case]
    process = ddpm_linear()
    schedule = diffusers.DPMSolverMultistepScheduler(1000, timestep_spacing="trailing", **settings)
    schedule.set_timesteps(steps)
    schedule.sigmas = levels(process, schedule.timesteps)
    more = {"variance_noise": noise} if sampler.eta else {}
    x = walk(schedule, torch.tensor(start()), **more)
    sampler = DPMSolverPP(
        order=sampler.order, correction=sampler.correction, eta=sampler.eta, lower_order_final=steps < 15
    )
    check(mine(sampler, process, grid.linear(process, steps)), x, 1e-5)


def test_dpm_solver_singlestep_takes_the_same_steps():
    """Theirs pairs the grid's steps; it is given ours, each with the table's step nearest to its middle in log-SNR."""
    process = ddpm_linear()
    times = grid.linear(process, 8)
    middles = process.time_of((process.log_snr(times[:-2]) + process.log_snr(times[1:-1])) / 2)
    visited = np.round(1000 * np.append(np.stack([times[:-2], middles], 1).ravel(), times[-2])).astype(int) - 1
    schedule = diffusers.DPMSolverSinglestepScheduler(1000, solver_order=2, lower_order_final=True)
    schedule.set_timesteps(timesteps=visited.tolist())
    schedule.sigmas = levels(process, schedule.timesteps)
    x = walk(schedule, torch.tensor(start()))
    check(mine(DPMSolverPP(form="singlestep"), process, times), x, 1e-10)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("lower_order_final", [True, False])
def test_unipc_takes_the_same_steps(order, variant, lower_order_final):
    """Theirs has no finite answer for a step to sigma = 0 with "bh1", or at a higher order than one: left out there."""
    process = ddpm_linear()
    schedule = diffusers.UniPCMultistepScheduler(
        1000, solver_order=order, solver_type=variant, timestep_spacing="trailing", lower_order_final=lower_order_final
    )
    schedule.set_timesteps(STEPS)
    schedule.sigmas = levels(process, schedule.timesteps)
    times = grid.linear(process, STEPS)
    if variant == "bh1" or not lower_order_final:
        schedule.timesteps, times = schedule.timesteps[:-1], times[:-1]
    x = walk(schedule, torch.tensor(start()))
    check(mine(UniPC(order=order, variant=variant, lower_order_final=lower_order_final), process, times), x, 1e-10)


@pytest.mark.parametrize("start_by", ["heun", "runge_kutta"])
def test_pndm_takes_the_same_steps(start_by):
    process = ddpm_linear()
    schedule = diffusers.PNDMScheduler(
        1000, skip_prk_steps=start_by == "heun", set_alpha_to_one=True, timestep_spacing="trailing"
    )
    schedule.set_timesteps(STEPS)
    schedule.alphas_cumprod, schedule.final_alpha_cumprod = alpha_bars(process), torch.tensor(1.0).double()
    x = walk(schedule, torch.tensor(start()))
    check(mine(AdamsBashforth(start=start_by), process, grid.linear(process, STEPS)), x, 1e-10)


@pytest.mark.parametrize(("name", "tolerance"), [("EulerDiscreteScheduler", 1e-5), ("HeunDiscreteScheduler", 1e-10)])
def test_euler_and_heun_take_the_same_steps(name, tolerance):
    """Theirs walk in y = x / alpha, which their network sees divided by sqrt(1 + (sigma / alpha)^2): as x."""
    process = ddpm_linear()
    schedule = getattr(diffusers, name)(1000, beta_schedule="linear", timestep_spacing="trailing")
    schedule.set_timesteps(STEPS)
    each = levels(process, torch.arange(999, 0, -1000 // STEPS))
    doubled = torch.cat([each[:1], each[1:-1].repeat_interleave(2), each[-1:]])
    schedule.sigmas = each if name.startswith("Euler") else doubled
    y = torch.tensor(start()) * torch.sqrt(1 + each[0] ** 2)
    for i, n in enumerate(schedule.timesteps):
        x = y / torch.sqrt(1 + schedule.sigmas[i] ** 2)
        schedule.is_scale_input_called = True
        y = schedule.step(torch.tensor(network(x.numpy(), n.item(), np)), n, y).prev_sample
    sampler = DDIM() if name.startswith("Euler") else Heun()
    check(mine(sampler, process, grid.linear(process, STEPS)), y.numpy(), tolerance)


def test_the_karras_grid_is_edms():
    schedule = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0)
    schedule.set_timesteps(12)
    np.testing.assert_allclose(EDM().sigma(grid.karras(EDM(), 12)), schedule.sigmas.double(), rtol=1e-5)
