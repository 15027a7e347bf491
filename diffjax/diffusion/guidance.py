"""Guidance: functions from denoiser to denoiser. Each says how many network calls its denoiser costs."""

import jax.numpy as jnp

from diffjax.diffusion.denoiser import Denoiser, Prediction


def none(denoiser: Denoiser, null: int) -> Denoiser:
    """The conditional model as it is."""
    return denoiser


def classifier_free(denoiser: Denoiser, null: int, *, scale: float = 1.0) -> Denoiser:
    """D_u + s (D_c - D_u) with s = `scale`: 1 the conditional model, 0 the unconditional (Ho & Salimans 2022, eq. 6).

    The paper's w is s - 1. `null` is the label that means "no label". At s = 1 and s = 0 one call is enough.
    """
    if scale == 1.0:
        return denoiser

    def unconditional(x_t, t, label):
        return denoiser(x_t, t, jnp.full(len(x_t), null))

    def guided(x_t, t, label):
        # Both halves in one call of twice the batch: the same work, half the launches.
        twice = jnp.concatenate([x_t, x_t])
        times = jnp.tile(jnp.broadcast_to(t, len(x_t)), 2)
        labels = jnp.concatenate([label, jnp.full_like(label, null)])
        conditional, unconditional = jnp.split(denoiser(twice, times, labels).x0, 2)
        return Prediction(unconditional + scale * (conditional - unconditional))

    return Denoiser(unconditional, denoiser.calls) if scale == 0.0 else Denoiser(guided, 2 * denoiser.calls)


def clip_x0(denoiser: Denoiser, low: float = -1.0, high: float = 1.0) -> Denoiser:
    """Static thresholding: every estimate of x0 is held to the range of the data (Ho et al. 2020, section 3.2)."""

    def clipped(x_t, t, label):
        prediction = denoiser(x_t, t, label)
        return prediction._replace(x0=jnp.clip(prediction.x0, low, high))

    return Denoiser(clipped, denoiser.calls)
