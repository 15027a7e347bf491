"""Variational bounds -log p(x0) <= prior + steps + decoder, of a chain of steps and in continuous time, term by term.

In a chain they are L_T, the L_{n-1} and L_0 of Ho et al. 2020 (eq. 5); the limit of ever more steps is an integral over
log-SNR (Kingma et al. 2021, eq. 11-17). Everything is in nats and summed over an example's dimensions: [b].
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key, Shaped

from diffjax.diffusion.denoiser import Denoiser, Prediction
from diffjax.diffusion.noise import fold_in, normal
from diffjax.diffusion.process import Batch, Process, Time, along
from diffjax.diffusion.variance import Variance
from diffjax.errors import UserError

LEAST_LOG_SNR = -20.0  # where a process that ends in pure noise is taken to end: what is lost is 1e-9 nats a dimension


class Bound(NamedTuple):
    """The terms of -log p(x0) <= prior + steps + decoder, nats per example.

    `each` holds what `steps` is the sum of: L_1 .. L_{T-1} from the last step of the forward process to the first, or,
    where only some were drawn, what each of them stands for.
    """

    prior: Float[Array, "b"]
    steps: Float[Array, "b"]
    decoder: Float[Array, "b"]
    each: Float[Array, "n b"]

    @property
    def total(self) -> Array | np.ndarray:
        return self.prior + self.steps + self.decoder


# ---------------------------------------------------------------------------------------------------------- the terms


def total(x: Batch) -> Float[Array, "b"]:
    """The sum over an example's dimensions."""
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))


def gaussian_kl(mean_q: Batch, log_var_q: Batch, mean_p: Batch, log_var_p: Batch) -> Float[Array, "b"]:
    """KL(q || p) of two diagonal normals, whose log-variances [b, ...] may be shared along any dimension.

    The ratio of variances enters as exp(r) - 1 - r, which keeps its digits where they are nearly equal.
    """
    ratio = log_var_q - log_var_p
    spread = jnp.expm1(ratio) - ratio + (mean_q - mean_p) ** 2 * jnp.exp(-log_var_p)
    return 0.5 * total(jnp.broadcast_to(spread, mean_q.shape))


@dataclass(frozen=True)
class Density:
    """p(x0 | x_1) of continuous data: the normal density itself."""

    def log_prob(self, x0: Batch, mean: Batch, log_var: Batch) -> Float[Array, "b"]:
        terms = (x0 - mean) ** 2 * jnp.exp(-log_var) + log_var + jnp.log(2 * jnp.pi)
        return -0.5 * total(jnp.broadcast_to(terms, x0.shape))


@dataclass(frozen=True)
class Discretised:
    """p(x0 | x_1) of data on `levels` even steps from -1 to 1: the normal's mass in each bin (Ho et al. 2020, eq. 13).

    The first and the last bin reach to infinity, so that the masses add up to one.
    """

    levels: int = 256

    def log_prob(self, x0: Batch, mean: Batch, log_var: Batch) -> Float[Array, "b"]:
        half = 1.0 / (self.levels - 1)
        inverse = jnp.broadcast_to(jnp.exp(-0.5 * log_var), x0.shape)
        middle, reach = inverse * (x0 - mean), inverse * half
        above, below = middle + reach, middle - reach
        first = jax.scipy.special.log_ndtr(above)  # everything below its upper edge
        last = jax.scipy.special.log_ndtr(-below)
        inside = _log_interval(middle, reach)
        return total(jnp.where(x0 < -1 + half, first, jnp.where(x0 > 1 - half, last, inside)))


def _log_interval(middle: Array, reach: Array) -> Array:
    """log P(middle - reach < z < middle + reach) of a standard normal, with a finite gradient everywhere.

    A difference of two tails on the side where both are small; where the interval is so narrow that they would cancel,
    its width times the density, to second order.
    """
    narrow = reach * (1 + jnp.abs(middle)) < 0.03  # the next order is then below 1e-7
    wide = jnp.where(narrow, 1.0, reach)  # the branch not taken stays finite
    far = jnp.abs(middle)
    high, low = jax.scipy.special.log_ndtr(wide - far), jax.scipy.special.log_ndtr(-wide - far)
    difference = high + jnp.log(-jnp.expm1(low - high))
    thin = jnp.where(narrow, reach, 1e-3)
    centre = jnp.where(narrow, middle, 0.0)
    product = jnp.log(2 * thin) - 0.5 * (centre**2 + jnp.log(2 * jnp.pi)) + jnp.log1p(thin**2 * (centre**2 - 1) / 6)
    return jnp.where(narrow, product, difference)


def prior_term(process: Process, x0: Batch, t: float | Time = 1.0) -> Float[Array, "b"]:
    """L_T = KL(q(x_t | x0) || N(0, sigma_t^2)), t = 1: half the SNR that is left, times |x0|^2.

    The prior is what the samplers start from, N(0, sigma_1^2), whatever sigma_1 is.
    """
    return 0.5 * jnp.exp(process.log_snr(jnp.asarray(t, x0.dtype))) * total(x0**2)


def step_term(
    process: Process, prediction: Prediction, x0: Batch, x_t: Batch, s: Time, t: Time, decoder: Any
) -> Float[Array, "b"]:
    """L_{n-1} = KL(q(x_s | x_t, x0) || p(x_s | x_t)), or L_0 = -log p(x0 | x_t) where s is the data.

    `prediction.log_var(s)` is the reverse variance. `t` and `s` are [b]. Raises UserError for a prediction without one.
    """
    if prediction.log_var is None:
        raise UserError(
            "vlb: this denoiser says nothing of its reverse steps' variance; give it one with `bound.with_variance`"
        )
    mean_q, _ = process.posterior(x0, x_t, s, t)
    mean_p, _ = process.posterior(prediction.x0, x_t, s, t)
    log_var = prediction.log_var(s)
    log_var = along(log_var, x0) if log_var.ndim <= 1 else log_var
    _, step = process.transition(s, t)
    at_data = process.sigma(s) == 0
    sigma_s = jnp.where(at_data, process.sigma(t), process.sigma(s))  # the branch not taken stays finite
    log_var_q = jnp.log(step) + 2 * (jnp.log(sigma_s) - jnp.log(process.sigma(t)))
    kl = gaussian_kl(mean_q, along(log_var_q, x0), mean_p, log_var)
    return jnp.where(at_data, -decoder.log_prob(x0, mean_p, log_var), kl)


def reconstruction_term(process: Process, x0: Batch, eps: Batch, t: Time, decoder: Any) -> Float[Array, "b"]:
    """-log p(x0 | x_t) for p(x0 | x_t) = N(x_t / alpha, (sigma / alpha)^2), the forward step turned round.

    What a process that starts with a little noise ends with (Kingma et al. 2021, eq. 12). `t` is [b].
    """
    centre = process.corrupt(x0, eps, t) / along(process.alpha(t), x0)
    return -decoder.log_prob(x0, centre, along(-process.log_snr(t), x0))


def with_variance(denoise: Denoiser, process: Process, variance: Variance) -> Denoiser:
    """A denoiser that has E[x0 | x_t] alone, such as an oracle, with a fixed reverse variance: Small() or Large()."""
    if variance.outputs == 2:
        raise UserError(f"vlb: {type(variance).__name__} is made of a network's second half; take Small or Large")

    def predict(x_t: Batch, t: Time, label: Array | None = None) -> Prediction:
        def log_var(s: Time) -> Array:
            return variance.log_var(None, process, jnp.broadcast_to(s, len(x_t)), jnp.broadcast_to(t, len(x_t)))

        return Prediction(denoise(x_t, t, label).x0, log_var)

    return denoise._replace(predict=predict)


# --------------------------------------------------------------------------------------------------------- the bounds


def chain_bound(
    process: Process,
    denoise: Denoiser,
    x0: Batch,
    keys: Key[Array, "b"],
    decoder: Any,
    times: Float[Array, "n_plus_1"],
    draws: int = 0,
) -> Bound:
    """An unbiased estimate of the bound of the chain that visits `times`, 1 down to 0, every KL in closed form.

    x_t is drawn once for each term, from the example's own key. `draws` 0 takes all steps; otherwise one from each of
    so many equal strata of them. On a table the last step is the decoder's, L_0. A continuous process is left at
    times[-1] > 0, or at 0 if it has noise there: that is as far as `reconstruction_term` goes.

    Raises UserError for times that do not fall, or fewer than no draws.
    """
    if not isinstance(times, jax.core.Tracer) and np.any(np.diff(np.asarray(times)) >= 0):
        raise UserError("vlb: the times of a chain must fall strictly, from 1 towards 0")
    if draws < 0:
        raise UserError(f"vlb: {draws} is not a number of draws; 0 means every step")
    count = len(times) - (2 if process.steps else 1)  # of the terms that are divergences

    def at(i: Array, keys: Key[Array, "b"]) -> Float[Array, "b"]:
        t, s = (jnp.broadcast_to(time, len(x0)) for time in (times[i], times[i + 1]))
        x_t = process.corrupt(x0, normal(keys, x0), t)
        return step_term(process, denoise(x_t, t), x0, x_t, s, t, decoder)

    def stratum(i):
        which, noise = jax.vmap(jax.random.split, out_axes=1)(fold_in(keys, i))
        place = (i + jax.vmap(jax.random.uniform)(which)) / strata
        return at(jnp.minimum(jnp.floor(place * count), count - 1).astype(jnp.int32), noise) * (count / strata)

    strata = min(draws, count) or count
    if not count:
        each = jnp.zeros((0, len(x0)), x0.dtype)
    elif strata == count:
        each = lax.map(lambda i: at(i, fold_in(keys, i)), jnp.arange(count))
    else:
        each = lax.map(stratum, jnp.arange(strata))
    if process.steps:
        last = at(jnp.asarray(count), fold_in(keys, count))
    else:
        last = _left(process, x0, fold_in(keys, count), times[-1], decoder)
    return Bound(prior_term(process, x0, times[0]), jnp.sum(each, axis=0), last, each)


def diffusion_rate(
    process: Process, denoise: Denoiser, x0: Batch, eps: Batch, log_snr: Float[Array, "b"]
) -> Float[Array, "b"]:
    """The bound's cost per unit of log-SNR, SNR |x0 - x0_hat|^2 / 2 (Kingma et al. 2021, eq. 17-18).

    A function of log-SNR, not of the schedule, where the denoiser is: it sees x_t / alpha = x0 + eps / sqrt(SNR).
    """
    t = jnp.clip(process.time_of(log_snr), 0.0, 1.0)
    error = x0 - denoise(process.corrupt(x0, eps, t), t).x0
    return 0.5 * jnp.exp(process.log_snr(t)) * total(error**2)


def continuous_bound(
    process: Process,
    denoise: Denoiser,
    x0: Batch,
    keys: Key[Array, "b"],
    decoder: Any,
    draws: int = 128,
    t_min: float = 1e-5,
) -> Bound:
    """An unbiased estimate of the bound in continuous time: the limit of `chain_bound` as its steps get shorter.

    `steps` is the integral of `diffusion_rate` over log-SNR, between those at t = 1 and at t_min, at `draws` values
    evenly spread from one offset of the example's own: low-discrepancy as in Kingma et al. 2021 (I.1), but along an
    example instead of along the batch, so that examples stay independent, and the standard error is known.

    t_min may be 0 where there is noise at t = 0. Raises UserError for a table of steps.
    """
    if process.steps:
        raise UserError(
            f"vlb: a table of {process.steps} steps has no bound in continuous time; take that of its chain, or a"
            " continuous process"
        )
    if draws < 1:
        raise UserError(f"vlb: {draws} is not a number of draws; at least 1")
    low, high = ends(process, t_min)
    offset, noise, last = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(keys)
    offset = jax.vmap(jax.random.uniform)(offset)

    def at(i):
        log_snr = low + (high - low) * (i + offset) / draws
        rate = diffusion_rate(process, denoise, x0, normal(fold_in(noise, i), x0), log_snr)
        return rate * (high - low) / draws

    each = lax.map(at, jnp.arange(draws))
    start = 0.5 * jnp.exp(low) * total(x0**2)
    return Bound(start, jnp.sum(each, axis=0), _left(process, x0, last, jnp.asarray(t_min), decoder), each)


def ends(process: Process, t_min: float) -> tuple[Array, Array]:
    """log-SNR at t = 1 (or -20 where that is less) and at t_min: a process's noisy end and its clean one.

    Raises UserError for a t_min outside [0, 1), or one at which there is no noise.
    """
    if not 0 <= t_min < 1:
        raise UserError(f"t_min: {t_min} must be at least 0 and less than 1; 1e-5 is usual")
    low, high = process.log_snr(jnp.ones(())), process.log_snr(jnp.asarray(t_min, float))
    if not isinstance(high, jax.core.Tracer) and bool(jnp.isinf(high)):
        raise UserError(f"t_min: {t_min} is where this process has no noise, and SNR is infinite; 1e-5 is usual")
    return jnp.maximum(low, LEAST_LOG_SNR), high


def _left(process: Process, x0: Batch, keys: Key[Array, "b"], t: Time, decoder: Any) -> Float[Array, "b"]:
    """The reconstruction term at a time t shared by all."""
    return reconstruction_term(process, x0, normal(keys, x0), jnp.broadcast_to(t, len(x0)), decoder)


def edge_entropy(process: Process, dims: int) -> Float[Array, ""]:
    """H_q(x_1 | x_0) + H_p(x_T) - H_q(x_T | x_0) in nats, of a chain: the K of 2015 is -(steps + edge_entropy).

    Against effects of the edge, Sohl-Dickstein et al. 2015 (appendix B.2) set p(x_0 | x_1) to the forward kernel of the
    first step, with a prior N(0, I). For data of unit variance K then bounds E log p(x_1), of what the first step has
    blurred: none is above -H(x_1). Raises UserError in continuous time.
    """
    if not process.steps:
        raise UserError("K: is defined for a chain of steps; this process has none")
    first, last = (process.sigma(jnp.asarray(t)) for t in (1 / process.steps, 1.0))
    return dims * (0.5 * jnp.log(2 * jnp.pi * jnp.e) + jnp.log(first) - jnp.log(last))


def mean_and_error(values: Shaped[Array, "n"] | Shaped[np.ndarray, "n"]) -> tuple[Array | np.floating, ...]:
    """The mean over n independent examples and its standard error, in the values' own precision."""
    return values.mean(), values.std(ddof=1) / len(values) ** 0.5
