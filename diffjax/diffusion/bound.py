"""Variational bounds -log p(x0) <= prior + steps + decoder, term by term, for chains and in continuous time.

For a chain these are L_T, the L_{n-1} and L_0 of Ho et al. 2020 (eq. 5); the limit of many steps is an integral over
log-SNR (Kingma et al. 2021, eq. 11-17). All terms are in nats and summed over an example's dimensions: [b].
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key, Shaped

from diffjax.diffusion.denoiser import Denoiser, Prediction
from diffjax.diffusion.noise import fold_in, normal, split
from diffjax.diffusion.process import Batch, Process, Time, along, sum_dims
from diffjax.diffusion.variance import Variance
from diffjax.errors import UserError

LOG_SNR_MIN = -20.0  # cut-off of a process that ends in pure noise; neglects 1e-9 nats per dimension


class Bound(NamedTuple):
    """The terms of -log p(x0) <= prior + steps + decoder, nats per example.

    `each` holds the summands of `steps`: L_{T-1} .. L_1, from the noisy end to the clean one; or, where only some steps
    were drawn, each of those weighted by the number of steps that it represents.
    """

    prior: Float[Array, "b"]
    steps: Float[Array, "b"]
    decoder: Float[Array, "b"]
    each: Float[Array, "n b"]

    @property
    def total(self) -> Array | np.ndarray:
        return self.prior + self.steps + self.decoder


# ---------------------------------------------------------------------------------------------------------- the terms


def gaussian_kl(mean_q: Batch, log_var_q: Batch, mean_p: Batch, log_var_p: Batch) -> Float[Array, "b"]:
    """KL(q || p) of two diagonal normals, whose log-variances may broadcast against the means [b, ...].

    The ratio of variances enters as exp(r) - 1 - r, which is accurate also where the two are nearly equal.
    """
    log_ratio = log_var_q - log_var_p
    terms = jnp.expm1(log_ratio) - log_ratio + (mean_q - mean_p) ** 2 * jnp.exp(-log_var_p)
    return 0.5 * sum_dims(jnp.broadcast_to(terms, mean_q.shape))


@dataclass(frozen=True)
class Density:
    """p(x0 | x_1) of continuous data: a normal density."""

    def log_prob(self, x0: Batch, mean: Batch, log_var: Batch) -> Float[Array, "b"]:
        terms = (x0 - mean) ** 2 * jnp.exp(-log_var) + log_var + jnp.log(2 * jnp.pi)
        return -0.5 * sum_dims(jnp.broadcast_to(terms, x0.shape))


@dataclass(frozen=True)
class Discretised:
    """p(x0 | x_1) of data on `levels` even steps from -1 to 1: a normal's mass in each bin (Ho et al. 2020, eq. 13).

    The first and last bins extend to infinity, so that the masses add up to one.
    """

    levels: int = 256

    def log_prob(self, x0: Batch, mean: Batch, log_var: Batch) -> Float[Array, "b"]:
        half_bin = 1.0 / (self.levels - 1)
        inv_std = jnp.broadcast_to(jnp.exp(-0.5 * log_var), x0.shape)
        z, half_width = inv_std * (x0 - mean), inv_std * half_bin
        upper, lower = z + half_width, z - half_width
        log_first = jax.scipy.special.log_ndtr(upper)  # all the mass below the upper edge
        log_last = jax.scipy.special.log_ndtr(-lower)
        log_inner = _log_interval(z, half_width)
        return sum_dims(jnp.where(x0 < -1 + half_bin, log_first, jnp.where(x0 > 1 - half_bin, log_last, log_inner)))


def _log_interval(middle: Array, reach: Array) -> Array:
    """log P(middle - reach < z < middle + reach) of a standard normal z, with a finite gradient everywhere.

    The difference of two tails, on the side where both are small. Where the interval is so narrow that they would
    cancel, its width times the density, to second order.
    """
    is_narrow = reach * (1 + jnp.abs(middle)) < 0.03  # then the next order is below 1e-7
    h_wide = jnp.where(is_narrow, 1.0, reach)  # finite gradients in the branch not taken
    z = jnp.abs(middle)
    log_upper, log_lower = jax.scipy.special.log_ndtr(h_wide - z), jax.scipy.special.log_ndtr(-h_wide - z)
    log_difference = log_upper + jnp.log(-jnp.expm1(log_lower - log_upper))
    h_narrow = jnp.where(is_narrow, reach, 1e-3)
    centre = jnp.where(is_narrow, middle, 0.0)
    log_product = (
        jnp.log(2 * h_narrow) - 0.5 * (centre**2 + jnp.log(2 * jnp.pi)) + jnp.log1p(h_narrow**2 * (centre**2 - 1) / 6)
    )
    return jnp.where(is_narrow, log_product, log_difference)


def prior_term(process: Process, x0: Batch, t: float | Time = 1.0) -> Float[Array, "b"]:
    """L_T = KL(q(x_t | x0) || N(0, sigma_t^2)) at t = 1: half the remaining SNR times |x0|^2.

    The prior is N(0, sigma_1^2), from which the samplers start.
    """
    return 0.5 * jnp.exp(process.log_snr(jnp.asarray(t, x0.dtype))) * sum_dims(x0**2)


def step_term(
    process: Process, prediction: Prediction, x0: Batch, x_t: Batch, s: Time, t: Time, decoder: Any
) -> Float[Array, "b"]:
    """L_{n-1} = KL(q(x_s | x_t, x0) || p(x_s | x_t)), or L_0 = -log p(x0 | x_t) where sigma_s = 0.

    `t` and `s` are [b]. The reverse variance is `prediction.log_var(s)`; raises UserError for a prediction without one.
    """
    if prediction.log_var is None:
        raise UserError(
            "vlb: this denoiser has no variance for its reverse steps; give it one with `bound.with_variance`"
        )
    mean_q, _ = process.posterior(x0, x_t, s, t)
    mean_p, _ = process.posterior(prediction.x0, x_t, s, t)
    log_var = prediction.log_var(s)
    log_var = along(log_var, x0) if log_var.ndim <= 1 else log_var
    _, variance = process.transition(s, t)
    at_data = process.sigma(s) == 0
    sigma_s = jnp.where(at_data, process.sigma(t), process.sigma(s))  # finite gradients in the branch not taken
    log_var_q = jnp.log(variance) + 2 * (jnp.log(sigma_s) - jnp.log(process.sigma(t)))
    kl = gaussian_kl(mean_q, along(log_var_q, x0), mean_p, log_var)
    return jnp.where(at_data, -decoder.log_prob(x0, mean_p, log_var), kl)


def reconstruction_term(process: Process, x0: Batch, eps: Batch, t: Time, decoder: Any) -> Float[Array, "b"]:
    """-log p(x0 | x_t) for p(x0 | x_t) = N(x_t / alpha, (sigma / alpha)^2), the forward step inverted.

    The last term for a process that has noise at its clean end (Kingma et al. 2021, eq. 12). `t` is [b].
    """
    centre = process.corrupt(x0, eps, t) / along(process.alpha(t), x0)
    return -decoder.log_prob(x0, centre, along(-process.log_snr(t), x0))


def with_variance(denoise: Denoiser, process: Process, variance: Variance) -> Denoiser:
    """Adds a fixed reverse variance, Small() or Large(), to a denoiser without one, such as an oracle."""
    if variance.outputs == 2:
        raise UserError(
            f"vlb: {type(variance).__name__} needs the second half of a network's output; use Small or Large"
        )

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
    """An unbiased estimate of the bound for the chain through `times`, from 1 to 0, with every KL in closed form.

    x_t is drawn once per term, from the example's own key. `draws` = 0 takes all steps; otherwise one step from each of
    `draws` equal strata. On a table the last step is the decoder's, L_0. A continuous process ends at times[-1] > 0, or
    at 0 if it has noise there; `reconstruction_term` covers the rest.

    Raises UserError for times that do not fall strictly, and for negative draws.
    """
    if not isinstance(times, jax.core.Tracer) and np.any(np.diff(np.asarray(times)) >= 0):
        raise UserError("vlb: the times of a chain must fall strictly from 1 towards 0")
    if draws < 0:
        raise UserError(f"vlb: draws={draws} must be at least 0; 0 takes every step")
    num_steps = len(times) - (2 if process.steps else 1)  # terms that are divergences

    def term_at(i: Array, keys: Key[Array, "b"]) -> Float[Array, "b"]:
        t, s = (jnp.broadcast_to(time, len(x0)) for time in (times[i], times[i + 1]))
        x_t = process.corrupt(x0, normal(keys, x0), t)
        return step_term(process, denoise(x_t, t), x0, x_t, s, t, decoder)

    def stratum_term(i):
        key_step, key_noise = split(fold_in(keys, i))
        u = (i + jax.vmap(jax.random.uniform)(key_step)) / num_strata
        return term_at(jnp.minimum(jnp.floor(u * num_steps), num_steps - 1).astype(jnp.int32), key_noise) * (
            num_steps / num_strata
        )

    # The divergences: none, all, or one from each stratum.
    num_strata = min(draws, num_steps) or num_steps
    if not num_steps:
        each = jnp.zeros((0, len(x0)), x0.dtype)
    elif num_strata == num_steps:
        each = lax.map(lambda i: term_at(i, fold_in(keys, i)), jnp.arange(num_steps))
    else:
        each = lax.map(stratum_term, jnp.arange(num_strata))

    # The clean end: the last step of a table, or the noise that a continuous process has there.
    if process.steps:
        decoder_term = term_at(jnp.asarray(num_steps), fold_in(keys, num_steps))
    else:
        decoder_term = _reconstruction_at(process, x0, fold_in(keys, num_steps), times[-1], decoder)
    return Bound(prior_term(process, x0, times[0]), jnp.sum(each, axis=0), decoder_term, each)


def diffusion_rate(
    process: Process, denoise: Denoiser, x0: Batch, eps: Batch, log_snr: Float[Array, "b"]
) -> Float[Array, "b"]:
    """The integrand of the bound over log-SNR, SNR |x0 - x0_hat|^2 / 2 (Kingma et al. 2021, eq. 17-18).

    It does not depend on the schedule if the denoiser is a function of x_t / alpha = x0 + eps / sqrt(SNR) and log-SNR.
    """
    t = jnp.clip(process.time_of(log_snr), 0.0, 1.0)
    error = x0 - denoise(process.corrupt(x0, eps, t), t).x0
    return 0.5 * jnp.exp(process.log_snr(t)) * sum_dims(error**2)


def continuous_bound(
    process: Process,
    denoise: Denoiser,
    x0: Batch,
    keys: Key[Array, "b"],
    decoder: Any,
    draws: int = 128,
    t_min: float = 1e-5,
) -> Bound:
    """An unbiased estimate of the bound in continuous time: the limit of `chain_bound` for ever shorter steps.

    `steps` is the integral of `diffusion_rate` over log-SNR, from t = 1 to t_min, estimated at `draws` evenly spaced
    values with one random offset per example. This is the low-discrepancy sampler of Kingma et al. 2021 (I.1) within an
    example rather than across the batch, so that examples stay independent and the standard error is known.

    t_min may be 0 where there is noise at t = 0. Raises UserError for a table of steps, and without draws.
    """
    if process.steps:
        raise UserError(
            f"vlb: a table of {process.steps} steps has no bound in continuous time; use the bound of its chain, or a"
            " continuous process"
        )
    if draws < 1:
        raise UserError(f"vlb: draws={draws} must be at least 1")
    low, high = ends(process, t_min)
    offset, key_noise, key_decoder = split(keys, 3)
    offset = jax.vmap(jax.random.uniform)(offset)

    def term_at(i):
        log_snr = low + (high - low) * (i + offset) / draws
        rate = diffusion_rate(process, denoise, x0, normal(fold_in(key_noise, i), x0), log_snr)
        return rate * (high - low) / draws

    each = lax.map(term_at, jnp.arange(draws))
    prior = 0.5 * jnp.exp(low) * sum_dims(x0**2)
    steps = jnp.sum(each, axis=0)
    decoder_term = _reconstruction_at(process, x0, key_decoder, jnp.asarray(t_min), decoder)
    return Bound(prior, steps, decoder_term, each)


def ends(process: Process, t_min: float) -> tuple[Array, Array]:
    """log-SNR at the noisy end, t = 1 (at least -20), and at the clean end, t = t_min.

    Raises UserError for a t_min outside [0, 1), or one at which there is no noise.
    """
    if not 0 <= t_min < 1:
        raise UserError(f"t_min: {t_min} must be at least 0 and less than 1; 1e-5 is usual")
    low, high = process.log_snr(jnp.ones(())), process.log_snr(jnp.asarray(t_min, float))
    if not isinstance(high, jax.core.Tracer) and bool(jnp.isinf(high)):
        raise UserError(f"t_min: {t_min} is a time without noise, where SNR is infinite; 1e-5 is usual")
    return jnp.maximum(low, LOG_SNR_MIN), high


def _reconstruction_at(process: Process, x0: Batch, keys: Key[Array, "b"], t: Time, decoder: Any) -> Float[Array, "b"]:
    """The reconstruction term at one time t for all examples."""
    return reconstruction_term(process, x0, normal(keys, x0), jnp.broadcast_to(t, len(x0)), decoder)


def edge_entropy(process: Process, dims: int) -> Float[Array, ""]:
    """H_q(x_1 | x_0) + H_p(x_T) - H_q(x_T | x_0) of a chain, in nats: the K of 2015 is -(steps + edge_entropy).

    To avoid edge effects, Sohl-Dickstein et al. 2015 (appendix B.2) set p(x_0 | x_1) to the forward kernel of the first
    step, with a prior N(0, I). For data of unit variance K then bounds E log p(x_1), the likelihood of data blurred by
    the first step, and cannot exceed -H(x_1). Raises UserError in continuous time.
    """
    if not process.steps:
        raise UserError("K: is defined only for a table of steps; this process is continuous")
    sigma_first, sigma_last = (process.sigma(jnp.asarray(t)) for t in (1 / process.steps, 1.0))
    return dims * (0.5 * jnp.log(2 * jnp.pi * jnp.e) + jnp.log(sigma_first) - jnp.log(sigma_last))


def mean_and_error(values: Shaped[Array, "n"] | Shaped[np.ndarray, "n"]) -> tuple[Array | np.floating, ...]:
    """The mean over n independent examples and its standard error, in the precision of the values."""
    return values.mean(), values.std(ddof=1) / len(values) ** 0.5
