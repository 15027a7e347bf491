"""Samplers against the exact denoiser: their error by network calls, and the order at which it vanishes. No training.

The data are a mixture of three Gaussians in two dimensions, the denoiser is exact, everything is in float64. A sampler
goes from sigma / alpha = 20 down to 0.05, where log-SNR still has an end, in steps even in log-SNR; its error is the
root mean square distance of 64 end points from those of the ODE solved to twelve digits from the same noise, and its
order the base-2 logarithm of the error's fall from half as many steps. What is "published" are the orders that the
papers' theorems, or else the methods' names, state for them: remembered, not looked up.

Those that draw noise have no end point of their own to miss. What they miss, as all others do, are the moments of the
data: the square root of the Frechet distance of 65,536 end points to the mixture as it is at that noise level, whose
mean and covariance are known. As many exact samples are at 0.001 to 0.005, the noise floor. Noise as such is no harm:
the ancestral sampler has farther moments than DDIM with the variance beta~, and nearer ones with beta. There is a row
of every family but `adaptive`, which takes the steps it wants: with a tolerance of 1e-12 it is the solution.

DPM-Solver++ 3M is published with a coefficient, a2, half as large as third order needs, and so is of second; with it
doubled, which is a row of ours, it is of third. (It begins with a step of first order, since there is nothing yet to
extrapolate from. That step's error is of second order in its size, and made once: it shows in the last columns.) PLMS
has four steps, and Liu et al. prove two orders; LMS (Katherine Crowson's, in sigma), with a start of Runge-Kutta, has
as many orders as steps.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.ablation import All, Axis, Budget, Claim, Less, Quantity, Table, Within, computed, vary
from diffjax.diffusion import VPLinear
from diffjax.diffusion.oracle import GaussianMixture
from diffjax.diffusion.samplers import (
    DDIM,
    AdamsBashforth,
    Adaptive,
    Ancestral,
    DPMSolverPP,
    Euler,
    EulerMaruyama,
    Heun,
    PredictorCorrector,
    ReverseDiffusion,
    Sampler,
    UniPC,
)
from diffjax.metrics.frechet import Moments, frechet_distance

HIGH, LOW = 20.0, 0.05  # sigma / alpha at the ends
STEPS = ("8", "16", "32", "64", "128", "256")


FEW, MANY = 64, 65_536  # end points that are compared one by one, and by their moments


class Method(NamedTuple):
    """A sampler, the order stated for it, and its network calls: of each step, and beyond these of its start."""

    sampler: Sampler
    order: int | None  # None: it draws noise
    calls: int = 1
    start: int = 0


SAMPLERS = {
    "ddim": Method(DDIM(), order=1),
    "euler": Method(Euler(), order=1),
    "heun": Method(Heun(), order=2, calls=2),
    "dpm-solver++ 2s": Method(DPMSolverPP(form="singlestep"), order=2, calls=2),
    "dpm-solver++ 2m": Method(DPMSolverPP(), order=2),
    "dpm-solver++ 3m": Method(DPMSolverPP(order=3), order=3),
    "dpm-solver++ 3m, a2 doubled": Method(DPMSolverPP(order=3, a2="doubled"), order=3),
    "unipc 1": Method(UniPC(order=1, lower_order_final=False), order=2),
    "unipc 2": Method(UniPC(order=2, lower_order_final=False), order=3),
    "unipc 3": Method(UniPC(order=3, lower_order_final=False), order=4),
    "plms": Method(AdamsBashforth(), order=2, start=1),
    "lms": Method(AdamsBashforth(variable="level", start="runge_kutta"), order=4, start=9),
    "ancestral": Method(Ancestral(), order=None),
    "ancestral, large variance": Method(Ancestral(variance="large"), order=None),
    "ddim, eta 0.5": Method(DDIM(eta=0.5), order=None),
    "euler-maruyama": Method(EulerMaruyama(), order=None),
    "reverse diffusion": Method(ReverseDiffusion(), order=None),
    "predictor and corrector": Method(PredictorCorrector(step_size="level"), order=None, calls=2),
    "heun, churn": Method(Heun(churn=40.0, churn_min=0.05, churn_max=50.0, churn_noise=1.003), order=None, calls=2),
    "sde-dpm-solver++ 2m": Method(DPMSolverPP(eta=1.0), order=None),
}

PAPER = Table(
    source="the orders that the methods' papers state: Song 2020, Karras 2022, Lu 2022, Zhao 2023, Liu 2022",
    rows=Axis.of("sampler", SAMPLERS),
    columns=Axis("steps", STEPS),
    quantities=(
        Quantity("error"),
        Quantity("order", "M", [(None,) * (len(STEPS) - 1) + (of.order,) for of in SAMPLERS.values()], "more"),
        Quantity("moments"),
        Quantity("nfe", "D", [tuple(of.calls * int(n) + of.start for n in STEPS) for of in SAMPLERS.values()]),
    ),
)


def order_as_stated(*samplers):
    """That of the longest walk, to a quarter."""
    return All(
        tuple(
            Within(
                "order", {"sampler": name, "steps": STEPS[-1]}, SAMPLERS[name].order - 0.25, SAMPLERS[name].order + 0.25
            )
            for name in samplers
        )
    )


def less(quantity, one, other, over):
    """One sampler's is less than another's, at each of these numbers of steps."""
    return All(tuple(Less(quantity, {"sampler": one, "steps": n}, {"sampler": other, "steps": n}) for n in over))


SEEN = "after it was seen that the published one is not"
CLAIMS = (
    Claim("DDIM and Euler's method are of first order", order_as_stated("ddim", "euler")),
    Claim("Heun's method, DPM-Solver++ 2S and 2M are of second order",
          order_as_stated("heun", "dpm-solver++ 2s", "dpm-solver++ 2m")),
    Claim("DPM-Solver++ 3M is of third order, as its name says", order_as_stated("dpm-solver++ 3m")),
    Claim("DPM-Solver++ 3M with a2 doubled is of third order (ours)",
          order_as_stated("dpm-solver++ 3m, a2 doubled"), added=SEEN),
    Claim("UniPC's corrector adds one order to UniP-1, 2 and 3", order_as_stated("unipc 1", "unipc 2", "unipc 3")),
    Claim("PLMS is of second order", order_as_stated("plms")),
    Claim("LMS is of fourth order, its start being so", order_as_stated("lms")),
    Claim("With as many network calls as DDIM, DPM-Solver++ 2M has less error at every number of steps",
          less("error", "dpm-solver++ 2m", "ddim", STEPS)),
    Claim("In few steps DDIM has nearer moments than the ancestral sampler with the variance beta~",
          less("moments", "ddim", "ancestral", STEPS[:4])),
    Claim("A corrector step after each of reverse diffusion brings the moments nearer, with twice the calls",
          less("moments", "predictor and corrector", "reverse diffusion", STEPS[:4])),
    Claim("It does so more than twice the steps, at equal NFE",
          All(tuple(Less("moments", {"sampler": "predictor and corrector", "steps": n},
                         {"sampler": "reverse diffusion", "steps": twice})
                    for n, twice in zip(STEPS[:4], STEPS[1:5], strict=True))),
          added="after the cells were seen"),
    Claim("In few steps SDE-DPM-Solver++ 2M has nearer moments than the ancestral sampler",
          less("moments", "sde-dpm-solver++ 2m", "ancestral", STEPS[:4])),
)  # fmt: skip


@cache
def problem():
    means = jnp.asarray([[-0.8, 0.3], [0.1, -0.6], [0.9, 0.5]])
    mixture = GaussianMixture(means, jnp.asarray([0.3, 0.4, 0.25]), jnp.asarray([0.3, 0.3, 0.4]))
    return VPLinear(), mixture


def times(process, steps):
    """Even in log-SNR."""
    return process.time_of(-2 * jnp.log(jnp.exp(jnp.linspace(np.log(HIGH), np.log(LOW), steps + 1))))


def keys(seed):
    """Of x0 and its noise where walks begin, and of the noise on their way."""
    return jax.random.split(jax.random.key(seed), 3)


def start(seed, n=FEW):
    """x_t at the beginning: the mixture under its noise."""
    process, mixture = problem()
    x0, noise, _ = keys(seed)
    t = times(process, 1)[0]
    return process.alpha(t) * mixture.sample(x0, n) + process.sigma(t) * jax.random.normal(noise, (n, 2))


@cache
def solution(seed):
    process, mixture = problem()
    exact = Adaptive(rtol=1e-12, atol=1e-12)
    return exact(process, mixture.denoiser(process), start(seed), times(process, 1), jax.random.key(0)).x0


@cache
def error(seed, sampler, steps):
    """The distance from the solution, and the network calls it cost."""
    end = walk(seed, sampler, steps, FEW)
    return float(jnp.sqrt(jnp.mean(jnp.sum((end.x0 - solution(seed)) ** 2, axis=-1)))), int(end.nfe.max())


@cache
def compiled(sampler):
    process, mixture = problem()
    method = SAMPLERS[sampler].sampler
    return jax.jit(lambda x, t, key: method(process, mixture.denoiser(process), x, t, key))


def walk(seed, sampler, steps, n):
    """n end points, and the network calls they cost."""
    return compiled(sampler)(start(seed, n), times(problem()[0], steps), keys(seed)[2])


@cache
def exact():
    """The moments of the mixture where a walk ends."""
    process, mixture = problem()
    t = times(process, 1)[-1]
    mean = mixture.weights @ mixture.means
    apart = mixture.means - mean
    within = jnp.sum(mixture.weights * mixture.stds**2) * jnp.eye(2)
    covariance = process.alpha(t) ** 2 * (within + (mixture.weights * apart.T) @ apart) + process.sigma(
        t
    ) ** 2 * jnp.eye(2)
    return Moments(MANY, np.asarray(process.alpha(t) * mean), (MANY - 1) * np.asarray(covariance))


def measure(seed, sampler, steps):
    with jax.enable_x64(True):
        many = walk(seed, sampler, steps, MANY)
        off = {"moments": float(np.sqrt(frechet_distance(Moments.of(many.x0), exact())))}
        if SAMPLERS[sampler].order is None:
            return off | {"nfe": int(many.nfe.max())}
        (now, nfe), (before, _) = error(seed, sampler, steps), error(seed, sampler, steps // 2)
    return off | {"error": now, "order": float(np.log2(before / now)), "nfe": nfe}


def grid(seeds, steps):
    rows = vary("sampler", {name: {"sampler": name} for name in SAMPLERS})
    return computed(measure, seeds) * rows * vary("steps", {n: {"steps": int(n)} for n in steps})


MEASURES = {"error": "error", "order": "order", "moments": "moments", "nfe": "nfe"}
BUDGETS = {
    "minute": Budget("8 and 16 steps, 1 draw of 64 starting points", grid(1, STEPS[:2]), MEASURES, hours=0.1),
    "hour": Budget("8 to 256 steps, 5 draws of 64 starting points", grid(5, STEPS), MEASURES, hours=1),
}
