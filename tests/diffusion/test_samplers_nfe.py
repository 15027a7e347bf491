"""The number of network calls: as promised, guidance included, and as really made."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import EDM, Denoiser, Flow, VPLinear, grid, guidance
from diffjax.diffusion.oracle import GaussianMixture
from diffjax.diffusion.samplers import (
    DDIM,
    AdamsBashforth,
    Adaptive,
    DPMSolverPP,
    Heun,
    PredictorCorrector,
    UniPC,
)

N = 8
# Of N steps, the last of them to sigma = 0.
CALLS = {
    "ddim": (DDIM(), N),
    "heun": (Heun(), 2 * N - 1),
    "heun, churn": (Heun(churn=5.0), 2 * N - 1),
    "predictor_corrector": (PredictorCorrector(corrector_steps=2), N + 2 * (N - 1)),
    "langevin": (PredictorCorrector(predictor="none", corrector_steps=3), 3 * (N - 1) + 1),
    "2m": (DPMSolverPP(), N),
    "2s": (DPMSolverPP(form="singlestep"), 2 * N - 1),
    "unipc": (UniPC(order=3), N),
    "plms": (AdamsBashforth(), N + 1),
    "pndm": (AdamsBashforth(start="runge_kutta"), N + 9),
    "lms": (AdamsBashforth(variable="level", start="euler"), N),
}


def mixture():
    return GaussianMixture(jnp.asarray([[-0.5], [0.5]]), jnp.asarray([0.2, 0.3]), jnp.asarray([0.5, 0.5]))


def counted(process, made):
    """The exact denoiser, which writes down every time at which it is really asked."""
    exact = mixture().denoiser(process)

    def predict(x_t, t, label=None):
        jax.debug.callback(lambda t: made.append(float(np.max(t))), t)
        return exact(x_t, t, label)

    return Denoiser(predict)


def walk(sampler, process, times, guide=guidance.none, n=1):
    """The calls said, and those made."""
    made = []
    denoise = guide(counted(process, made), 2, process).with_label(jnp.zeros(n, jnp.int32))
    x = process.sigma(times[0]) * jax.random.normal(jax.random.key(0), (n, 1), times.dtype)
    said = int(sampler(process, denoise, x, times, jax.random.key(1)).nfe.max())
    jax.effects_barrier()
    return said, len(made)


@pytest.mark.parametrize("sampler", CALLS)
def test_a_walk_makes_the_calls_it_promises(sampler):
    settings, calls = CALLS[sampler]
    assert walk(settings, VPLinear(), grid.linear(VPLinear(), N)) == (calls, calls)


def test_a_step_from_alpha_zero_is_one_call():
    for sampler in (Heun(), DPMSolverPP(form="singlestep")):
        assert walk(sampler, Flow(), grid.linear(Flow(), N)) == (2 * N - 2, 2 * N - 2)


def test_classifier_free_guidance_doubles_them():
    """In one call of twice the batch: the network runs half as often as it is counted."""
    guide = partial(guidance.classifier_free, scale=2.0)
    assert walk(DDIM(), VPLinear(), grid.linear(VPLinear(), N), guide) == (2 * N, N)


@pytest.mark.parametrize("sampler", ["ddim", "heun"])
def test_guidance_on_an_interval_is_paid_for_inside_it_only(sampler):
    process = EDM()
    times = grid.karras(process, N)
    levels = np.asarray(process.sigma(times))
    inside = (levels > 0.3) & (levels <= 5.0)
    asked = levels[:-1] if sampler == "ddim" else np.concatenate([levels[:-1], levels[1:-1]])
    guide = partial(guidance.interval, low=0.3, high=5.0, guidance=partial(guidance.classifier_free, scale=2.0))
    expected = len(asked) + int(np.sum((asked > 0.3) & (asked <= 5.0)))
    assert 0 < inside.sum() < N
    assert walk(CALLS[sampler][0], process, times, guide)[0] == expected


@pytest.mark.parametrize("solver", ["tsit5", pytest.param("dopri5", marks=pytest.mark.slow)])
def test_the_adaptive_solver_counts_every_evaluation_of_the_slowest_in_the_batch(solver):
    said, made = walk(Adaptive(solver=solver, rtol=1e-3, atol=1e-3), EDM(), jnp.asarray([1.0, 0.0]), n=5)
    # Inside the solver each of the five examples is asked about alone, and all as often as the slowest; then at once.
    assert made == 5 * (said - 1) + 1 and said > 20
    assert (said - 2) % 6 == 0
