"""Orders of convergence: the error of each sampler against a step half as long, in float64.

The problem is not linear: a mixture of three normals in one dimension, from sigma / alpha = 20 down to 0.05. At
sigma = 0 no sampler has an order: log-SNR has no end there.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import EDM, VPLinear
from diffjax.diffusion.oracle import GaussianMixture
from diffjax.diffusion.samplers import DDIM, AdamsBashforth, Adaptive, DPMSolverPP, Euler, Heun, UniPC
from tests.diffusion.test_samplers_recursion import Walk, ancestral, dpm_sde, euler, reverse_diffusion

pytestmark = pytest.mark.usefixtures("x64")
PROCESSES = {"vp_linear": VPLinear(), "edm": EDM()}
LMS = functools.partial(AdamsBashforth, variable="level")

# What is expected of the published forms, and why where it is not what their names say.
ORDERS = {
    "ddim": (DDIM(), 1),  # Euler in sigma / alpha; exponential Euler in log-SNR
    "euler": (Euler(), 1),
    "heun": (Heun(), 2),
    "2s": (DPMSolverPP(form="singlestep"), 2),
    "2m": (DPMSolverPP(), 2),
    "2m, heun": (DPMSolverPP(correction="heun"), 2),
    # Third order would need twice the published weight of the second difference: that makes an error of h^2.
    "3m": (DPMSolverPP(order=3), 2),
    "3m, a2 doubled": (DPMSolverPP(order=3, a2="doubled"), 3),
    # The corrector makes UniP-p one better, as in the paper's theorem 3.1; the call is the next step's.
    "unipc 1": (UniPC(order=1, lower_order_final=False), 2),
    "unipc 2": (UniPC(order=2, lower_order_final=False), 3),
    "unipc 2, bh1": (UniPC(order=2, variant="bh1", lower_order_final=False), 3),
    "unipc 3": (UniPC(order=3, lower_order_final=False), 4),
    # As published: one last step of first order, uncorrected, whose own error is h^2.
    "unipc 3, published": (UniPC(order=3), 2),
    # The mean of eps over t is not its mean over sigma / alpha, by which x moves.
    "plms": (AdamsBashforth(), 2),
    "pndm": (AdamsBashforth(start="runge_kutta"), 2),
    "lms 4, runge_kutta": (LMS(start="runge_kutta"), 4),
    "lms 3, runge_kutta": (LMS(order=3, start="runge_kutta"), 3),
    "lms 2, heun": (LMS(order=2, start="heun"), 2),
}
# EDM's sigma / alpha is linear in t: there PLMS is a true Adams-Bashforth method.
ON_EDM = {"plms": 4, "pndm": 4}
QUICK = ("ddim", "heun", "2m", "3m", "3m, a2 doubled", "unipc 3")  # the rest in the slow tier


@functools.cache
def mixture():
    return GaussianMixture(
        jnp.asarray([[-0.8], [0.1], [0.9]]), jnp.asarray([0.3, 0.4, 0.25]), jnp.asarray([0.3, 0.3, 0.4])
    )


def times(process, spacing, steps, high=20.0, low=0.05):
    ends = np.asarray([high, low])
    if spacing == "karras":
        levels = jnp.linspace(*ends ** (1 / 7), steps + 1) ** 7
    else:
        levels = jnp.exp(jnp.linspace(*np.log(ends), steps + 1))
    return process.time_of(-2 * jnp.log(levels))


def starts(process, high):
    """Some x_t of the mixture, out to a deviation and a half."""
    return high * jnp.asarray([[-1.5], [-0.5], [0.15], [0.6], [1.25]]) * process.alpha(times(process, "", 1, high)[0])


@functools.cache
def solution(name, high=20.0):
    """By an adaptive solver to twelve digits."""
    process = PROCESSES[name]
    reference = Adaptive(rtol=1e-12, atol=1e-12)
    ends = times(process, "", 1, high)
    return reference(process, mixture().denoiser(process), starts(process, high), ends, jax.random.key(0)).x0


def measured(sampler, name, spacing, steps, high=20.0):
    """log2 of the error's fall from each number of steps to the next."""
    process, errors = PROCESSES[name], []
    for n in steps:
        walk = times(process, spacing, n, high)
        x = sampler(process, mixture().denoiser(process), starts(process, high), walk, jax.random.key(0)).x0
        errors.append(float(jnp.sqrt(jnp.mean((x - solution(name, high)) ** 2))))
    return np.log2(np.asarray(errors[:-1]) / errors[1:])


@pytest.mark.parametrize("sampler", QUICK)
def test_the_error_vanishes_at_the_order_in_the_table(sampler):
    settings, order = ORDERS[sampler]
    np.testing.assert_allclose(measured(settings, "vp_linear", "log_snr", (96, 192)), order, atol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ORDERS)
@pytest.mark.parametrize("spacing", ["karras", "log_snr"])
@pytest.mark.parametrize("name", PROCESSES)
def test_the_order_is_the_same_on_other_processes_and_grids(sampler, name, spacing):
    settings, order = ORDERS[sampler]
    order = ON_EDM.get(sampler, order) if name == "edm" else order
    steps = (64, 128, 256) if sampler == "3m, a2 doubled" else (128, 256, 512)  # before its start's own h^2 shows
    np.testing.assert_allclose(measured(settings, name, spacing, steps), order, atol=0.2)


@pytest.mark.slow
def test_lms_with_euler_as_its_first_step_is_of_second_order():
    """From sigma / alpha = 2, where the first step's error is seen; from far away, where eps hardly moves, it hides."""
    np.testing.assert_allclose(measured(LMS(start="euler"), "edm", "log_snr", (256, 512), high=2.0), 2, atol=0.2)


class Spread(Walk):
    """A walk of coefficients: of the start, and of each step's noise. Their squares add up to the variance."""

    def x0(self, x, alpha, sigma):
        return super().x0(x, alpha, sigma) - super().x0(0.0, alpha, sigma)

    def noise(self, x, i, *more):
        return np.eye(1, self.steps + 1, i + 1)[0]


@pytest.mark.parametrize(
    ("walk", "order"),
    [
        (ancestral, 1),
        (functools.partial(ancestral, large=True), 1),
        (functools.partial(euler, noise=1.0), 1),
        (reverse_diffusion, 1),
        (functools.partial(dpm_sde, order=1), 1),
        (functools.partial(dpm_sde, order=2), 2),
        (functools.partial(dpm_sde, order=2, correction="heun"), 2),
        (functools.partial(dpm_sde, order=3, correction="heun"), 2),
    ],
    ids=["ancestral", "large", "euler_maruyama", "reverse_diffusion", "sde", "sde 2m", "sde 2m heun", "sde 3m"],
)
def test_the_variance_of_the_stochastic_ones_comes_right_at_their_weak_order(walk, order):
    """On a Gaussian, by the recursions that test_samplers_recursion.py shows to be the samplers' own."""
    process, errors = VPLinear(), []
    for steps in (400, 800, 1600):
        grid = times(process, "log_snr", steps)
        alpha, sigma = (np.asarray(f(grid)) for f in (process.alpha, process.sigma))
        std = np.sqrt(alpha**2 * 0.5**2 + sigma**2)
        x = walk(Spread(process, grid), std[0] * np.eye(1, steps + 1)[0])
        errors.append(abs(np.sum(x**2) - std[-1] ** 2))
    np.testing.assert_allclose(np.log2(np.asarray(errors[:-1]) / errors[1:]), order, atol=0.2)
