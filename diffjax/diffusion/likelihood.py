"""Exact likelihoods by the probability-flow ODE, and dequantisation, which discrete pixels need to have a density.

Densities are in nats and model units.
"""

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
PRODUCTS_AT_ONCE = 64  # Jacobian-vector products evaluated at once


class Likelihood(NamedTuple):
    """log p(x0) = prior + volume, nats per example; NaN where the solver failed.

    prior: the log-density of the noise that x0 flows to. volume: log |det d x_1 / d x_0| of the flow.
    nfe: evaluations of the denoiser, each differentiated along every probe (or every dimension).
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

    The ODE is solved for y = x_t / sqrt(alpha^2 + sigma^2) as a function of log-SNR, in which it is the same for every
    process and smooth throughout. With a = alpha / sqrt(alpha^2 + sigma^2):

        dy / dlog_snr = a (x0_hat - a y) / 2.

    `probes` = 0 takes the exact divergence (d directions). Otherwise it is Hutchinson's unbiased estimate, the mean of
    v J v over `probes` draws of v, "rademacher" or "gaussian", from the example's key; v is fixed along the path.

    The ODE starts at `t_min` from x0 itself, so that the result is the log-density of x_{t_min} at x0, like published
    NLLs; a smaller t_min means less smoothing and more steps. It ends at t = 1, where x_1 is taken to be
    N(0, sigma_1^2), as the samplers do: the remaining signal alpha_1 x0 is neglected. Steps and errors are controlled
    per example (Dormand-Prince 5(4), error below atol + rtol |.| for y and log p), independently of the batch.

    Raises UserError for a table of steps, unknown or negative probes, probes without keys, a tolerance that is not
    positive, and a t_min outside [0, 1) or without noise.
    """
    import diffrax  # imported here because it takes a second; only this and the adaptive sampler need it

    if process.steps:
        raise UserError(
            f"likelihood_ode: a table of {process.steps} steps has no flow; use its bound (vlb), or a continuous"
            " process"
        )
    if probe not in PROBES:
        raise UserError(f"likelihood_ode: probe {probe!r} must be {' or '.join(PROBES)}")
    if probes < 0 or (probes and keys is None):
        raise UserError(
            f"likelihood_ode: {probes} probes; must be 0 (the exact trace), or positive with a key for each example"
        )
    if rtol <= 0 or atol <= 0:
        raise UserError(f"likelihood_ode: rtol={rtol} and atol={atol} must be positive; 1e-5 is usual")
    low, high = ends(process, t_min)

    def vmap_in_chunks(function, directions):
        if len(directions) <= PRODUCTS_AT_ONCE:
            return jax.vmap(function)(directions)
        return lax.map(function, directions, batch_size=PRODUCTS_AT_ONCE)

    def scale_at(t):
        return jnp.hypot(process.alpha(t), process.sigma(t))

    def likelihood(x, key, label):
        # The directions of the trace: random probes, or all axes.
        dims = x.size
        if probes:
            directions = PROBES[probe](key, (probes, *x.shape), x.dtype)
        else:
            directions = jnp.eye(dims, dtype=x.dtype).reshape(dims, *x.shape)

        def vector_field(log_snr, state, _):
            """(dy / dlog_snr, its divergence) at y = state[0]."""
            t = jnp.clip(process.time_of(log_snr), t_min, 1.0)
            scale = scale_at(t)
            a = process.alpha(t) / scale

            def x0_hat(y):
                return denoise(scale * y[None], t[None], label).x0[0]

            x0_y, jvp = jax.linearize(x0_hat, state[0])
            trace = jnp.sum(vmap_in_chunks(lambda v: jnp.vdot(v, jvp(v)), directions)) / (probes or 1)
            return 0.5 * a * (x0_y - a * state[0]), 0.5 * a * (trace - a * dims)

        # The flow from data to noise.
        scale_start, scale_end = (
            scale_at(jnp.asarray(t_min, x.dtype)),
            scale_at(jnp.clip(process.time_of(low), t_min, 1.0)),
        )
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(vector_field),
            diffrax.Dopri5(),
            t0=high,
            t1=low,
            dt0=(low - high) / 100,  # given, so that every evaluation of the denoiser is counted below
            y0=(x / scale_start, jnp.zeros((), x.dtype)),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            throw=False,
        )

        # The density of the noise at its end, and the change of variables from y to x.
        y, volume = (leaf[0] for leaf in solution.ys)
        variance = jax.nn.sigmoid(-low)  # of y, for x ~ N(0, sigma^2)
        prior = -0.5 * (jnp.sum(y**2) / variance + dims * jnp.log(2 * jnp.pi * variance * scale_end**2))
        failed = solution.result != diffrax.RESULTS.successful
        prior = jnp.where(failed, jnp.nan, prior)
        # Six evaluations a step, the last of which the next step reuses as its first; the first step needs one more.
        return Likelihood(prior, volume + dims * jnp.log(scale_end / scale_start), 1 + 6 * solution.stats["num_steps"])

    label = None if label is None else label[:, None]
    return jax.vmap(likelihood)(x0, keys, label)


def dequantise(
    stored: UInt8[Array, "b ..."], keys: Key[Array, "b"], shift: float = 127.5, scale: float = 127.5
) -> Batch:
    """Uniform dequantisation in model units, (stored + u - shift) / scale with u ~ U(-1/2, 1/2).

    For any density p of the result, log P(stored) >= E_u[log p] - dims log(scale) (Theis et al. 2016, eq. 4-6).
    """
    dtype = jnp.result_type(float)
    u = jax.vmap(lambda key: jax.random.uniform(key, stored.shape[1:], dtype, -0.5, 0.5))(keys)
    return (stored.astype(dtype) + u - shift) / scale
