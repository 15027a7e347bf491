"""The loss that trains a denoiser, and the conversion of a network's output into a prediction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.diffusion import bound
from diffjax.diffusion.denoiser import Prediction
from diffjax.diffusion.process import Batch, Process, Time
from diffjax.diffusion.target import Target
from diffjax.diffusion.variance import Variance
from diffjax.diffusion.weighting import VLB, Weighting
from diffjax.errors import UserError


@dataclass(frozen=True)
class Parametrisation:
    """Converts a network's output into a prediction: x0 by the target, the variance perhaps from a second half."""

    process: Process
    target: Target
    variance: Variance

    def prediction(self, output: Array, x_t: Batch, t: Float[Array, "b"]) -> Prediction:
        """The prediction for the output [b, ..., outputs * c] at x_t [b, ..., c]."""
        predicted, raw = jnp.split(output, 2, axis=-1) if self.variance.outputs == 2 else (output, None)

        def log_var(s: Time) -> Array:
            return self.variance.log_var(raw, self.process, jnp.broadcast_to(s, t.shape), t)

        return Prediction(self.target.to_x0(predicted, x_t, t, self.process), log_var)


def denoising_loss(parts: Parametrisation, weighting: Weighting, decoder: Any, variance_scale: float = 0.001):
    """The loss per example and dimension, loss(predict, x0 [b, ...], t [b], eps [b, ...], params) -> [b].

    `predict(input [b, ...], t [b])` is the network's output; `params` are the parameters of the weighting.

    For most weightings the loss is w(log_snr) |x0_hat - x0|^2, a mean over the dimensions (Kingma & Gao 2023, eq. 5).
    Weightings per log-SNR are multiplied by -d log_snr / dt, so that the mean over uniform t is the integral over
    log-SNR. `VLB` on a chain of T steps is T times the exact term of the discrete bound, in nats, including the reverse
    variance and the decoder.

    Under all other weightings a learned reverse variance is trained by the bound, with the mean held fixed: L_hybrid
    (Nichol & Dhariwal 2021, eq. 16) adds `variance_scale` times the bound in bits, as in the released code.

    Raises UserError for weightings per log-SNR, other than `VLB`, on a chain.
    """
    process, target = parts.process, parts.target
    is_vlb = bool(process.steps) and isinstance(weighting, VLB)
    if weighting.per_log_snr and process.steps and not is_vlb:
        raise UserError(
            "method.weighting: an integral over log-SNR needs continuous time; on a table of steps use vlb, or use a"
            " continuous process"
        )

    def vlb(prediction: Prediction, x0, x_t, t):
        term = bound.step_term(process, prediction, x0, x_t, t - 1 / process.steps, t, decoder)
        return process.steps * term / x0[0].size

    def loss(
        predict: Callable[[Batch, Time], Array], x0: Batch, t: Float[Array, "b"], eps: Batch, params: Any
    ) -> Float[Array, "b"]:
        x_t = process.corrupt(x0, eps, t)
        output = predict(target.input(x_t, t, process), t)
        if is_vlb:
            return vlb(parts.prediction(output, x_t, t), x0, x_t, t)
        predicted = output[..., : x0.shape[-1]]
        error = predicted - target.of(x0, eps, t, process)
        log_snr = process.log_snr(t)
        weight = weighting.of_output(log_snr, target.gain(t, process))
        if weighting.per_log_snr:
            weight *= -process.rate(process.log_snr, t)
        losses = weight * jnp.mean(error**2, axis=tuple(range(1, error.ndim)))
        losses = weighting.balance(params, log_snr, losses)
        if parts.variance.outputs == 2:
            fixed_mean = jnp.concatenate([jax.lax.stop_gradient(predicted), output[..., x0.shape[-1] :]], axis=-1)
            losses += variance_scale * vlb(parts.prediction(fixed_mean, x_t, t), x0, x_t, t) / jnp.log(2.0)
        return losses

    return loss


def end_terms(process: Process, x0: Batch, eps: Batch, decoder: Any) -> Float[Array, "b"]:
    """The bound's terms at the schedule's ends, in nats per dimension: L_T, and -log p(x0 | z_0) in continuous time.

    z_0 = alpha_0 x0 + sigma_0 eps, and p(x0 | z_0) is centred at z_0 / alpha_0 (Kingma et al. 2021, eq. 12 and 15).
    For a fixed schedule they are constant and left out of the loss; for a learned one they alone determine its ends.
    """
    terms = bound.prior_term(process, x0)
    if not process.steps:
        terms += bound.reconstruction_term(process, x0, eps, jnp.zeros(len(x0)), decoder)
    return terms / x0[0].size
