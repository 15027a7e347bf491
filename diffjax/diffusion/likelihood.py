"""The likelihood itself, by the probability-flow ODE; and dequantisation, without which pixels have no density.

Densities of continuous data are in nats. Bits per dimension are said of discrete data alone: see `bits_per_dim`.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt8

from diffjax.diffusion.bound import ends
from diffjax.diffusion.denoiser import Denoiser
from diffjax.diffusion.process import Batch, Process
from diffjax.errors import UserError

PROBES = {"rademacher": jax.random.rademacher, "gaussian": jax.random.normal}
TOGETHER = 64  # directions pushed through the network at once for an exact trace


class Likelihood(NamedTuple):
    """log p(x0) = prior + volume, nats per example; NaN where the solver gave up.

    prior: the log-density of the noise that x0 flows to. volume: how much the flow shrinks what is around it.
    nfe: uses of the denoiser, each differentiated along every probe (or every dimension).
    """

    prior: Float[Array, "b"]
    volume: Float[Array, "b"]
    nfe: Int[Array, "b"]

    @property
    def log_prob(self) -> Float[Array, "b"]:
        return self.prior + self.volume


def ode_likelihood(
    process: Process,
    denoise: Denoiser,
    x0: Batch,
    keys: Key[Array, "b"] | None = None,
    label: Int[Array, "b"] | None = None,
    probes: int = 0,
    probe: str = "rademacher",
    t_min: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Likelihood:
    """log p(x0) by the change of variables along the probability-flow ODE (Song et al. 2021, eq. 39 and appendix D.2).

    The flow is followed in y = x_t / sqrt(alpha^2 + sigma^2) and by log-SNR, in which that of every process is the same
    and gentle from end to end, with a = alpha / sqrt(alpha^2 + sigma^2):

        dy / dlog_snr = a (x0_hat - a y) / 2.

    Its divergence is exact with `probes` 0 (d directions), otherwise the mean over so many of Hutchinson's, v J v with
    v "rademacher" or "gaussian", drawn from the example's key once for the whole path: unbiased.

    The ODE starts at `t_min` from x0 itself, and the answer is the log-density of x_{t_min} there, as published NLLs
    are; a smaller t_min means less smoothing and more steps. It ends at t = 1, where x_1 is taken to be N(0, sigma_1^2)
    as by the samplers: the signal that is left, alpha_1 x0, is neglected. Each example has steps and errors of its own
    (Dormand-Prince 5(4), error below atol + rtol |.| for y and log p), so that none depends on its neighbours.

    Raises UserError for a table of steps, for unknown probes, and for a t_min outside [0, 1) or without noise.
    """
    import diffrax  # a second to import, for this and the adaptive sampler alone

    if process.steps:
        raise UserError(
            f"likelihood_ode: a table of {process.steps} steps has no flow; take its bound (vlb), or a continuous"
            " process"
        )
    if probe not in PROBES:
        raise UserError(f"likelihood_ode: no probes {probe!r}; they are {' or '.join(PROBES)}")
    if probes < 0 or (probes and keys is None):
        raise UserError(f"likelihood_ode: {probes} probes; 0 means the exact trace, more need a key for each example")
    if rtol <= 0 or atol <= 0:
        raise UserError(f"likelihood_ode: rtol={rtol} and atol={atol} must be positive; 1e-5 is usual")
    low, high = ends(process, t_min)

    def each(function, directions):
        if len(directions) <= TOGETHER:
            return jax.vmap(function)(directions)
        return lax.map(function, directions, batch_size=TOGETHER)

    def scale_at(t):
        return jnp.hypot(process.alpha(t), process.sigma(t))

    def of_one(x, key, label):
        dims = x.size
        if probes:
            directions = PROBES[probe](key, (probes, *x.shape), x.dtype)
        else:
            directions = jnp.eye(dims, dtype=x.dtype).reshape(dims, *x.shape)

        def field(log_snr, state, _):
            t = jnp.clip(process.time_of(log_snr), t_min, 1.0)
            scale = scale_at(t)
            a = process.alpha(t) / scale

            def x0_hat(y):
                return denoise(scale * y[None], t[None], label).x0[0]

            estimate, push = jax.linearize(x0_hat, state[0])
            trace = jnp.sum(each(lambda v: jnp.vdot(v, push(v)), directions)) / (probes or 1)
            return 0.5 * a * (estimate - a * state[0]), 0.5 * a * (trace - a * dims)

        start, end = scale_at(jnp.asarray(t_min, x.dtype)), scale_at(jnp.clip(process.time_of(low), t_min, 1.0))
        flow = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Dopri5(),
            t0=high,
            t1=low,
            dt0=(low - high) / 100,  # said, so that every use of the denoiser is counted below
            y0=(x / start, jnp.zeros((), x.dtype)),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            throw=False,
        )
        y, volume = (leaf[0] for leaf in flow.ys)
        variance = jax.nn.sigmoid(-low)  # of y, where x is N(0, sigma^2)
        prior = -0.5 * (jnp.sum(y**2) / variance + dims * jnp.log(2 * jnp.pi * variance * end**2))
        gave_up = flow.result != diffrax.RESULTS.successful
        prior = jnp.where(gave_up, jnp.nan, prior)
        # Five new stages and one that the next step begins with; the very first step has nothing to begin with.
        return Likelihood(prior, volume + dims * jnp.log(end / start), 1 + 6 * flow.stats["num_steps"])

    label = None if label is None else label[:, None]
    return jax.vmap(of_one)(x0, keys, label)


def dequantise(
    stored: UInt8[Array, "b ..."], keys: Key[Array, "b"], shift: float = 127.5, scale: float = 127.5
) -> tuple[Batch, float]:
    """Integers spread evenly over their bins, in model units: (stored + u - shift) / scale with u ~ U(-1/2, 1/2).

    Also log |d x_model / d x_stored| of an example in nats, which a log-density in model units still needs. For any
    density p of the result, log P(stored) >= E_u[log p] + that number (Theis et al. 2016, eq. 4-6).
    """
    dtype = jnp.result_type(float)
    u = jax.vmap(lambda key: jax.random.uniform(key, stored.shape[1:], dtype, -0.5, 0.5))(keys)
    return (stored.astype(dtype) + u - shift) / scale, -stored[0].size * math.log(scale)


def bits_per_dim(log_prob: Float[Array, "b"], dims: int, log_det: float) -> Float[Array, "b"]:
    """-log2 P a dimension, of discrete data: from a log-density in model units and the `log_det` of `dequantise`."""
    return -(log_prob + log_det) / (dims * math.log(2))
