"""Samplers with the exact denoiser: error by number of steps, and order of convergence, without training.

The data are a mixture of three Gaussians in two dimensions, the denoiser is exact, and everything is in float64.
Samplers go from sigma / alpha = 20 down to 0.05, where log-SNR is still finite, in steps even in log-SNR. "error" is
the root mean square distance of 64 end points from those of the ODE solved to twelve digits from the same noise.
"order" is the base-2 logarithm of the ratio of this error to that with half as many steps. The "published" orders are
those that the papers' theorems state, or else the methods' names, all from memory. Liu et al., for one, are remembered
to call their methods second-order convergent. (This table once expected fourth order of PLMS, as it uses four steps.)

Stochastic samplers have no exact end points to be compared with. "moments" compares all samplers with the data: it is
the square root of the Frechet distance of 65,536 end points to the mixture at the final noise level, whose mean and
covariance are known. As many exact samples are at 0.001 to 0.005, the noise floor. With 128 and 256 steps, differences
come down to it, so that claims about moments say for how many steps they are. Noise in itself does no harm: the
ancestral sampler's moments are farther than DDIM's with the variance beta~, and nearer with beta. There is a row for
every family but `adaptive`, which chooses its own steps: with a tolerance of 1e-12 it gives the exact solution.

The published coefficient a2 of DPM-Solver++ 3M is half as large as third order needs, which makes the sampler second
order; with it doubled, a row of ours, it is third order. (Its first step is of first order, as there is nothing to
extrapolate from yet. The error of that step is quadratic in its size, and made once: it shows in the last columns.)
LMS (Katherine Crowson's, in sigma) is Adams and Bashforth's method of four steps, hence of fourth order, if it starts
with Runge-Kutta.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.ablation import All, Axis, Budget, Claim, Less, Marked, Quantity, Table, Within, computed, vary
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

HIGH, LOW = 20.0, 0.05  # sigma / alpha at the start and at the end
STEPS = ("8", "16", "32", "64", "128", "256")


FEW, MANY = 64, 65_536  # end points for "error" and for "moments"


class Method(NamedTuple):
    """A sampler, its stated order, and its network calls: for each step, and the extra ones of its start."""

    sampler: Sampler
    order: int | None  # None: stochastic
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

DERIVED = ("dpm-solver++ 3m, a2 doubled", "lms")  # whose orders no paper states; see above


def order_of(name):
    order = SAMPLERS[name].order
    return Marked(order, "D") if name in DERIVED else order


PAPER = Table(
    source="the orders in theorems or names of the methods of Song 2020, Karras 2022, Lu 2022, Zhao 2023, Liu 2022",
    rows=Axis.of("sampler", SAMPLERS),
    columns=Axis("steps", STEPS),
    quantities=(
        Quantity("error"),
        Quantity("order", "M", [(None,) * (len(STEPS) - 1) + (order_of(name),) for name in SAMPLERS], "more"),
        Quantity("moments"),
        Quantity("nfe", "D", [tuple(m.calls * int(n) + m.start for n in STEPS) for m in SAMPLERS.values()]),
    ),
)


def order_as_stated(*samplers):
    """The order at the largest number of steps is the stated one, within 0.25."""
    return All(
        tuple(
            Within(
                "order", {"sampler": name, "steps": STEPS[-1]}, SAMPLERS[name].order - 0.25, SAMPLERS[name].order + 0.25
            )
            for name in samplers
        )
    )


def less(quantity, one, other, over):
    """`quantity` is less for one sampler than for another, at each of these numbers of steps."""
    return All(tuple(Less(quantity, {"sampler": one, "steps": n}, {"sampler": other, "steps": n}) for n in over))


SEEN = "after 3M was seen not to be third order"
CLAIMS = (
    Claim("DDIM and Euler's method are first order", order_as_stated("ddim", "euler")),
    Claim("Heun's method, DPM-Solver++ 2S and 2M are second order",
          order_as_stated("heun", "dpm-solver++ 2s", "dpm-solver++ 2m")),
    Claim("DPM-Solver++ 3M is third order, as its name says", order_as_stated("dpm-solver++ 3m")),
    Claim("DPM-Solver++ 3M with a2 doubled is third order (ours)",
          order_as_stated("dpm-solver++ 3m, a2 doubled"), added=SEEN),
    Claim("UniPC-1, 2 and 3 are of second, third and fourth order", order_as_stated("unipc 1", "unipc 2", "unipc 3")),
    Claim("PLMS is second order", order_as_stated("plms"),
          added="after fourth order, which was claimed first, had been contradicted"),
    Claim("LMS with a fourth-order start is fourth order", order_as_stated("lms")),
    Claim("With as many network calls, DPM-Solver++ 2M has a smaller error than DDIM at every number of steps",
          less("error", "dpm-solver++ 2m", "ddim", STEPS)),
    Claim("With 8 to 64 steps, DDIM's moments are nearer than those of the ancestral sampler with the variance beta~",
          less("moments", "ddim", "ancestral", STEPS[:4])),
    Claim("With 8 to 64 steps, a corrector step after each step of reverse diffusion, with twice the calls, brings the"
          " moments nearer",
          less("moments", "predictor and corrector", "reverse diffusion", STEPS[:4])),
    Claim("At equal NFE, 16 to 128, corrector steps bring the moments nearer than twice as many steps of reverse"
          " diffusion do",
          All(tuple(Less("moments", {"sampler": "predictor and corrector", "steps": n},
                         {"sampler": "reverse diffusion", "steps": twice})
                    for n, twice in zip(STEPS[:4], STEPS[1:5], strict=True))),
          added="after the cells were seen"),
    Claim("With 8 to 64 steps, SDE-DPM-Solver++ 2M's moments are nearer than those of the ancestral sampler with beta~",
          less("moments", "sde-dpm-solver++ 2m", "ancestral", STEPS[:4])),
)  # fmt: skip


@cache
def problem():
    means = jnp.asarray([[-0.8, 0.3], [0.1, -0.6], [0.9, 0.5]])
    mixture = GaussianMixture(means, jnp.asarray([0.3, 0.4, 0.25]), jnp.asarray([0.3, 0.3, 0.4]))
    return VPLinear(), mixture


def times(process, steps):
    """`steps` + 1 times, even in log-SNR."""
    return process.time_of(-2 * jnp.log(jnp.exp(jnp.linspace(np.log(HIGH), np.log(LOW), steps + 1))))


def keys(seed):
    """Random keys for the initial x0 and its noise, and for the sampler's noise."""
    return jax.random.split(jax.random.key(seed), 3)


def start(seed, n=FEW):
    """The initial x_t: samples of the mixture with noise."""
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
    """The error of a sampler, and its number of network calls."""
    end = walk(seed, sampler, steps, FEW)
    return float(jnp.sqrt(jnp.mean(jnp.sum((end.x0 - solution(seed)) ** 2, axis=-1)))), int(end.nfe.max())


@cache
def compiled(sampler):
    process, mixture = problem()
    method = SAMPLERS[sampler].sampler
    return jax.jit(lambda x, t, key: method(process, mixture.denoiser(process), x, t, key))


def walk(seed, sampler, steps, n):
    """`n` samples, from the sampler `sampler` in `steps` steps."""
    return compiled(sampler)(start(seed, n), times(problem()[0], steps), keys(seed)[2])


@cache
def exact():
    """The moments of the mixture at the final noise level."""
    process, mixture = problem()
    t = times(process, 1)[-1]
    mean = mixture.weights @ mixture.means
    deviations = mixture.means - mean
    within = jnp.sum(mixture.weights * mixture.stds**2) * jnp.eye(2)
    covariance = process.alpha(t) ** 2 * (within + (mixture.weights * deviations.T) @ deviations) + process.sigma(
        t
    ) ** 2 * jnp.eye(2)
    return Moments(MANY, np.asarray(process.alpha(t) * mean), (MANY - 1) * np.asarray(covariance))


def measure(seed, sampler, steps):
    with jax.enable_x64(True):
        samples = walk(seed, sampler, steps, MANY)
        scores = {"moments": float(np.sqrt(frechet_distance(Moments.of(samples.x0), exact())))}
        if SAMPLERS[sampler].order is None:
            return scores | {"nfe": int(samples.nfe.max())}
        (fine, nfe), (coarse, _) = error(seed, sampler, steps), error(seed, sampler, steps // 2)
    return scores | {"error": fine, "order": float(np.log2(coarse / fine)), "nfe": nfe}


def grid(seeds, steps):
    rows = vary("sampler", {name: {"sampler": name} for name in SAMPLERS})
    return computed(measure, seeds) * rows * vary("steps", {n: {"steps": int(n)} for n in steps})


MEASURES = {"error": "error", "order": "order", "moments": "moments", "nfe": "nfe"}
BUDGETS = {
    "minute": Budget("8 and 16 steps, 1 draw of 64 starting points", grid(1, STEPS[:2]), MEASURES, hours=0.1),
    "hour": Budget("8 to 256 steps, 5 draws of 64 starting points", grid(5, STEPS), MEASURES, hours=1),
}
