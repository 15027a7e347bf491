"""Weightings of the denoising error |x0_hat - x0|^2, as functions of log-SNR alone (Kingma & Gao 2023)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

LogSNR = Float[Array, "..."]


def simple(log_snr: LogSNR) -> LogSNR:
    """w = SNR, which makes it the plain error in eps: L_simple (Ho et al. 2020, eq. 14)."""
    return jnp.exp(log_snr)


def uniform(log_snr: LogSNR) -> LogSNR:
    """w = 1: the plain error in x0."""
    return jnp.ones_like(log_snr)


def edm(log_snr: LogSNR, *, sigma_data: float = 0.5) -> LogSNR:
    """w = SNR + 1 / sigma_data^2 = 1 / c_out^2: the plain error in F (Karras et al. 2022, table 1, lambda(sigma))."""
    return jnp.exp(log_snr) + 1 / sigma_data**2
