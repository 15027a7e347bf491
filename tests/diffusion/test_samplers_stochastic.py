"""Stochastic samplers reach the right distribution: the energy distance to exact samples falls to its noise floor."""

import functools

import jax
import jax.numpy as jnp
import pytest

from diffjax.diffusion import EDM, VE, VPLinear, grid
from diffjax.diffusion.oracle import GaussianMixture
from diffjax.diffusion.samplers import (
    DDIM,
    Ancestral,
    DPMSolverPP,
    EulerMaruyama,
    Heun,
    PredictorCorrector,
    ReverseDiffusion,
)
from diffjax.metrics.energy import energy_distance

N = 3000
VP, EXPLODING = VPLinear(), VE(sigma_max=20.0)
CASES = {
    "ancestral": (Ancestral(), VP),
    "ancestral, large": (Ancestral(variance="large"), VP),
    "ddim, eta": (DDIM(eta=0.5), VP),
    "euler_maruyama": (EulerMaruyama(), VP),
    "reverse_diffusion": (ReverseDiffusion(), VP),
    "predictor_corrector": (PredictorCorrector(snr=0.1, step_size="level"), EXPLODING),
    "predictor_corrector, ancestral": (PredictorCorrector(predictor="ancestral", snr=0.1, step_size="level"), VP),
    "langevin": (PredictorCorrector(predictor="none", corrector_steps=4, snr=0.2, step_size="level"), EXPLODING),
    "heun, churn": (Heun(churn=20.0), EDM(sigma_max=20.0)),
    "2s, eta": (DPMSolverPP(form="singlestep", eta=1.0), VP),
    "sde 2m": (DPMSolverPP(eta=1.0), VP),
    "sde 3m": (DPMSolverPP(order=3, eta=1.0, correction="heun"), VP),
}


def mixture():
    means = jnp.asarray([[-0.8, 0.2], [0.5, 0.6], [0.3, -0.7]])
    return GaussianMixture(means, jnp.asarray([0.1, 0.2, 0.3]), jnp.asarray([0.2, 0.3, 0.5]))


@functools.cache
def exact():
    return mixture().sample(jax.random.key(0), N)


@functools.cache
def floor():
    """The largest distance of ten other sets of exact samples."""
    return max(energy_distance(mixture().sample(jax.random.key(i), N), exact()) for i in range(1, 11))


def distance(sampler, process, steps):
    spaced = grid.karras if isinstance(sampler, Heun) else grid.linear
    times = spaced(process, steps)
    x = process.sigma(times[0]) * jax.random.normal(jax.random.key(20), (N, 2))
    return energy_distance(sampler(process, mixture().denoiser(process), x, times, jax.random.key(21)).x0, exact())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_with_enough_steps_samples_cannot_be_told_from_exact_ones(case):
    sampler, process = CASES[case]
    few, many = (distance(sampler, process, steps) for steps in (6, 600))
    assert many <= floor() < few


@pytest.mark.slow
def test_the_correctors_own_norms_do_as_well_in_many_dimensions():
    """Where |score| does not come near 0. In two dimensions they make steps that are much too long."""
    many = GaussianMixture(
        jnp.stack([jnp.full(64, -0.3), jnp.full(64, 0.2)]), jnp.asarray([0.3, 0.4]), jnp.asarray([0.4, 0.6])
    )
    wanted = many.sample(jax.random.key(0), 1000)
    highest = max(energy_distance(many.sample(jax.random.key(i), 1000), wanted) for i in range(1, 6))
    times = grid.linear(EXPLODING, 600)
    x = EXPLODING.sigma(times[0]) * jax.random.normal(jax.random.key(20), (1000, 64))
    x = PredictorCorrector()(EXPLODING, many.denoiser(EXPLODING), x, times, jax.random.key(21)).x0
    assert energy_distance(x, wanted) <= highest
