"""Identities between samplers, and what all of them promise: no NaN, no neighbours, one program, readable errors."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from diffjax import config
from diffjax.diffusion import EDM, SAMPLERS, VE, Denoiser, Flow, Prediction, SubVP, VPLinear, ddpm_linear, grid
from diffjax.diffusion.learned import LearnedLogSNR
from diffjax.diffusion.oracle import GaussianMixture
from diffjax.diffusion.samplers import (
    DDIM,
    AdamsBashforth,
    Adaptive,
    Ancestral,
    DPMSolverPP,
    Euler,
    Heun,
    PredictorCorrector,
    UniPC,
)
from diffjax.diffusion.samplers.adams_bashforth import mean_weights
from diffjax.errors import UserError

KEY = jax.random.key(3)
PROCESSES = {
    "vp_linear": VPLinear(), "ddpm_linear": ddpm_linear(), "edm": EDM(), "flow": Flow(), "ve": VE(), "sub_vp": SubVP(),
    "learned": LearnedLogSNR(width=0).bind(LearnedLogSNR(width=0).init(KEY)),
}  # fmt: skip
CONTINUOUS = ("euler", "euler_maruyama", "adaptive")
x64 = pytest.mark.usefixtures("x64")


def mixture():
    means = jnp.asarray([[-0.6, 0.3], [0.5, -0.5]])
    return GaussianMixture(means, jnp.asarray([0.2, 0.4]), jnp.asarray([0.4, 0.6]))


def draw(sampler, process, times, n=4, key=KEY, x=None):
    if x is None:
        x = process.sigma(times[0]) * jax.random.normal(jax.random.key(1), (n, 2), times.dtype)
    return sampler(process, mixture().denoiser(process), x, times, key)


# Identities


@x64
@pytest.mark.parametrize("process", [ddpm_linear(), EDM()], ids=["table", "edm"])
def test_ddim_with_eta_one_is_the_ancestral_sampler(process):
    times = grid.linear(process, 30)
    one, other = (draw(sampler, process, times).x0 for sampler in (DDIM(eta=1.0), Ancestral()))
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


@x64
@pytest.mark.parametrize("process", [ddpm_linear(), VPLinear(), SubVP()], ids=["table", "continuous", "sub_vp"])
def test_ddim_is_the_exponential_integrator_of_first_order_in_log_snr(process):
    """x_s = (sigma_s / sigma_t) x_t - alpha_s (e^-h - 1) x0, h half the growth of log-SNR (Lu et al. 2022b, eq. 9)."""
    t, s = jnp.asarray(0.7), jnp.asarray(0.4)
    x = jax.random.normal(KEY, (4, 2))
    h = (process.log_snr(s) - process.log_snr(t)) / 2
    x0 = mixture().denoiser(process)(x, t).x0
    by_hand = process.sigma(s) / process.sigma(t) * x - process.alpha(s) * jnp.expm1(-h) * x0
    step = DDIM().step(process, mixture().denoiser(process), x, t, s, KEY).x_s
    np.testing.assert_allclose(step, by_hand, rtol=1e-12)


ONE_ODE = {
    "ddim": DDIM(), "heun": Heun(), "2m": DPMSolverPP(), "3m": DPMSolverPP(order=3), "unipc": UniPC(order=3),
    "2s": DPMSolverPP(form="singlestep"), "lms": AdamsBashforth(variable="level", start="runge_kutta"),
    "ancestral": Ancestral(), "sde": DPMSolverPP(eta=1.0), "churn": Heun(churn=4.0, churn_max=9.0),
}  # fmt: skip


SLOW = ("ddim", "heun", "2m", "3m", "unipc", "lms", "ancestral", "churn")


@x64
@pytest.mark.parametrize("sampler", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in ONE_ODE])
def test_edms_walk_is_vps_after_the_change_of_variables(sampler):
    """y = x / alpha moves by sigma / alpha alone: the same levels, the same y, whatever the process."""
    process, edm = VPLinear(), EDM(sigma_max=10.0)
    levels = jnp.append(jnp.linspace(10.0 ** (1 / 7), 0.02 ** (1 / 7), 8) ** 7, 0.0)
    times = jnp.append(process.time_of(-2 * jnp.log(levels[:-1])), 0.0)
    y = 10.0 * jax.random.normal(jax.random.key(1), (4, 2))
    here = draw(ONE_ODE[sampler], process, times, x=process.alpha(times[0]) * y).x0
    there = draw(ONE_ODE[sampler], edm, levels / 10.0, x=y).x0
    np.testing.assert_allclose(here, there, rtol=1e-8, atol=1e-9)


@x64
@pytest.mark.parametrize("process", [Flow(), EDM()], ids=["flow", "edm"])
def test_euler_is_ddim_where_alpha_and_sigma_are_linear_in_t(process):
    times = grid.linear(process, 12)
    one, other = (draw(sampler, process, times).x0 for sampler in (Euler(), DDIM()))
    np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-11)


@x64
@pytest.mark.parametrize(
    ("sampler", "first"),
    [
        (DPMSolverPP(order=1), DDIM()),
        (DPMSolverPP(order=1, form="singlestep", eta=0.5), DDIM(eta=0.5)),
        (DPMSolverPP(order=1, eta=1.0), Ancestral()),
        (AdamsBashforth(order=1), DDIM()),
    ],
    ids=["multistep", "singlestep", "sde", "adams_bashforth"],
)
def test_at_first_order_they_are_ddim_and_the_ancestral_sampler(sampler, first):
    times = grid.linear(VPLinear(), 12)
    one, other = (draw(s, VPLinear(), times).x0 for s in (sampler, first))
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


@x64
def test_even_spacing_gives_adams_and_bashforths_weights():
    even = -jnp.arange(4.0)
    for count, weights in enumerate([[24, 0, 0, 0], [36, -12, 0, 0], [46, -32, 10, 0], [55, -59, 37, -9]], start=1):
        np.testing.assert_allclose(mean_weights(even, jnp.asarray(count)), np.asarray(weights) / 24, atol=1e-12)


@x64
def test_the_learned_variance_is_the_noise_of_the_ancestral_step():
    process, t, s = ddpm_linear(), jnp.asarray(0.5), jnp.asarray(0.4)
    x = jax.random.normal(KEY, (4, 2))
    known = mixture().denoiser(process)
    log_var = jnp.log(process.transition(s, t)[1]) * jnp.ones_like(x)
    learned = Denoiser(lambda x_t, t, label=None: Prediction(known(x_t, t).x0, lambda s: log_var))
    one = Ancestral(variance="learned").step(process, learned, x, t, s, KEY).x_s
    np.testing.assert_allclose(one, Ancestral(variance="large").step(process, known, x, t, s, KEY).x_s, rtol=1e-12)
    with pytest.raises(UserError, match="needs a denoiser with a learned variance"):
        Ancestral(variance="learned").step(process, known, x, t, s, KEY)


# Promises


def check_draws(name, process):
    sampler = SAMPLERS[name]()
    if name in CONTINUOUS and process.steps:
        with pytest.raises(UserError, match="has no derivative in t"):
            draw(sampler, process, grid.linear(process, 4))
        return
    out = draw(sampler, process, grid.linear(process, 1 if name == "adaptive" else 6), n=8)
    assert out.x0.shape == (8, 2) and out.x0.dtype == jnp.float32
    assert jnp.all(jnp.isfinite(out.x0))
    assert out.nfe.shape == (8,) and jnp.all(out.nfe >= 6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_from_a_flow_whose_noise_holds_no_data(name):
    """alpha = 0 at t = 1, where log-SNR, eps's slope and the reverse SDE's drift have no value."""
    check_draws(name, PROCESSES["flow"])


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("process", [name for name in PROCESSES if name != "flow"])
def test_every_sampler_draws_from_every_process(name, process):
    check_draws(name, PROCESSES[process])


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampler",
    [AdamsBashforth(variable="level"), UniPC(order=3, variant="bh1"), DPMSolverPP(order=3, eta=1.0)],
    ids=["level", "bh1", "3m"],
)
def test_what_was_said_at_alpha_zero_has_no_place_in_log_snr_and_is_not_used_again(sampler):
    assert jnp.all(jnp.isfinite(draw(sampler, Flow(), grid.linear(Flow(), 6)).x0))


@x64
@pytest.mark.parametrize("name", [*("adaptive", "unipc"), pytest.param("predictor_corrector", marks=pytest.mark.slow)])
def test_a_sample_does_not_depend_on_its_neighbours(name):
    """Nor does its label: the denoiser sees all examples, each with its own."""
    process, sampler = VPLinear(), SAMPLERS[name]()
    times = grid.linear(process, 1 if name == "adaptive" else 6)
    keys, labels = jax.random.split(KEY, 6), jnp.asarray([0, 1, 2, 0, 1, 2])
    x = jax.random.normal(jax.random.key(1), (6, 2))
    denoise = mixture().denoiser(process)
    whole = sampler(process, denoise.with_label(labels), x, times, keys).x0
    part = sampler(process, denoise.with_label(labels[2:4]), x[2:4], times, keys[2:4]).x0
    np.testing.assert_allclose(part, whole[2:4], rtol=1e-10, atol=1e-12)
    assert jnp.max(jnp.abs(whole[0] - whole[3])) > 1e-3


@pytest.mark.slow
@x64
@pytest.mark.parametrize("name", SAMPLERS)
def test_compiled_over_eight_devices_it_draws_what_one_device_draws(name):
    process, sampler = VPLinear(), SAMPLERS[name]()
    times = grid.linear(process, 1 if name == "adaptive" else 6)
    mesh = Mesh(jax.devices()[:8], "data")
    split, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    x, keys = jax.random.normal(jax.random.key(1), (16, 2)), jax.random.split(KEY, 16)
    denoise = mixture().denoiser(process)

    def walk(x, keys):
        return sampler(process, denoise, x, times, keys)

    eight = jax.jit(walk, in_shardings=(split, split), out_shardings=whole)(x, keys)
    one = jax.jit(walk)(x, keys)
    np.testing.assert_allclose(eight.x0, one.x0, rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(eight.nfe, one.nfe)


@x64
def test_the_trajectory_starts_at_the_noise_and_its_last_estimate_is_the_sample():
    process, times = ddpm_linear(), grid.linear(ddpm_linear(), 10)
    x = jax.random.normal(jax.random.key(6), (4, 2))
    for sampler in (DDIM(), UniPC()):
        out = sampler(process, mixture().denoiser(process), x, times, KEY, trajectory=True)
        assert out.x_t.shape == out.x0_hat.shape == (10, 4, 2)
        np.testing.assert_array_equal(out.x_t[0], x)
        np.testing.assert_allclose(out.x0_hat[-1], out.x0, atol=1e-12)


@pytest.mark.slow
def test_an_adaptive_solve_that_does_not_arrive_is_not_passed_off_as_a_sample():
    assert jnp.all(jnp.isnan(draw(Adaptive(max_steps=3), VPLinear(), jnp.asarray([1.0, 0.0])).x0))


def test_langevin_dynamics_without_a_predictor_tells_the_estimates_of_x0_that_moved_x():
    process, times = EDM(), grid.linear(EDM(), 4)
    sampler = PredictorCorrector(predictor="none", step_size="level")
    x = process.sigma(times[0]) * jax.random.normal(jax.random.key(1), (3, 2))
    out = sampler(process, mixture().denoiser(process), x, times, KEY, trajectory=True)
    asked = [*times[1:-1], times[-2]]  # one correction at s, of x_t itself; at last, the estimate at t that is x_0
    expected = [mixture().denoiser(process)(x_t, t).x0 for x_t, t in zip(out.x_t, asked, strict=True)]
    np.testing.assert_allclose(out.x0_hat, jnp.stack(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(out.x0_hat[-1], out.x0)


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("ddim", {"steps": 0}, "sampler.steps: 0"),
        ("ancestral", {"variance": "big"}, "sampler.variance: 'big'"),
        ("ddim", {"eta": -0.1}, "sampler.eta: -0.1 must not be negative"),
        ("heun", {"churn": -1.0}, "sampler.churn: -1.0 must not be negative"),
        ("heun", {"churn_min": 2.0, "churn_max": 1.0}, "sampler.churn_min: 2.0"),
        ("predictor_corrector", {"predictor": "heun"}, "sampler.predictor: 'heun'"),
        ("predictor_corrector", {"corrector_steps": -1}, "sampler.corrector_steps: -1"),
        ("predictor_corrector", {"predictor": "none", "corrector_steps": 0}, "sampler.corrector_steps: 0"),
        ("predictor_corrector", {"step_size": "big"}, "sampler.step_size: 'big'"),
        ("dpm_solver_pp", {"order": 4}, "sampler.order: 4"),
        ("dpm_solver_pp", {"form": "single"}, "sampler.form: 'single'"),
        ("dpm_solver_pp", {"order": 3, "form": "singlestep"}, "sampler.order: 3"),
        ("dpm_solver_pp", {"correction": "euler"}, "sampler.correction: 'euler'"),
        ("unipc", {"order": 0}, "sampler.order: 0"),
        ("unipc", {"variant": "bh3"}, "sampler.variant: 'bh3'"),
        ("adams_bashforth", {"order": 5}, "sampler.order: 5"),
        ("adams_bashforth", {"variable": "x"}, "sampler.variable: 'x'"),
        ("adams_bashforth", {"start": "none"}, "sampler.start: 'none'"),
        ("adaptive", {"solver": "euler"}, "sampler.solver: 'euler'"),
        ("adaptive", {"rtol": 0.0}, "sampler.rtol: 0.0"),
        ("adaptive", {"max_steps": 0}, "sampler.max_steps: 0"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(name, setting, message):
    with pytest.raises(UserError) as error:
        SAMPLERS[name](**setting)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_a_component_of_the_config(name):
    built, default = config.build("sampler", config.component("sampler", name)), SAMPLERS[name]()
    assert (
        replace(built, grid=default.grid, guidance=default.guidance) == default
    )  # these two are components themselves


def test_the_adaptive_solver_draws_by_label_from_a_network_whose_weights_are_arguments():
    """As a trained run draws: compiled, with its weights traced and a label for each example."""
    process = EDM(sigma_max=5.0)

    @jax.jit
    def draw(centres, label):
        denoise = Denoiser(lambda x_t, t, label: Prediction(centres[label][:, None] * jnp.ones_like(x_t)))
        x = jnp.ones((3, 2))
        return Adaptive()(process, denoise.with_label(label), x, jnp.asarray([1.0, 0.0]), jax.random.key(0)).x0

    drawn = draw(jnp.asarray([-0.5, 0.25]), jnp.asarray([0, 1, 0]))
    np.testing.assert_allclose(drawn, [[-0.5] * 2, [0.25] * 2, [-0.5] * 2])
