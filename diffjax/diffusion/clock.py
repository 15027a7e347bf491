"""Clocks: the scalar that a network receives as its time conditioning. All are finite at every t in [0, 1]."""

import math

import jax.numpy as jnp

from diffjax.diffusion.process import Process, Time

LIMIT = 40.0  # of |log-SNR|, which is infinite where no noise is left, or no signal


def index(process: Process, t: Time) -> Time:
    """T t - 1: a table's step index, counted from 0 (Ho et al. 2020); T = 1000 in continuous time."""
    return (process.steps or 1000) * t - 1


def rescaled(process: Process, t: Time) -> Time:
    """1000 t - 1000 / T: `index` as in a table of 1000 steps, for any T (released code of Nichol & Dhariwal 2021)."""
    return index(process, t) * (1000 / (process.steps or 1000))


def scaled(process: Process, t: Time) -> Time:
    """999 t (Song et al. 2021, for variance-preserving processes)."""
    return 999 * t


def log_noise(process: Process, t: Time) -> Time:
    """ln(sigma / alpha) / 4 (Karras et al. 2022, table 1, c_noise)."""
    return -jnp.clip(process.log_snr(t), -LIMIT, LIMIT) / 8


def log_sigma(process: Process, t: Time) -> Time:
    """ln(sigma / alpha / 2), NCSN++'s clock: its sigma is that of data in [0, 1] (Karras et al. 2022, table 1, VE)."""
    return -jnp.clip(process.log_snr(t), -LIMIT, LIMIT) / 2 - math.log(2)


def log_snr(process: Process, t: Time) -> Time:
    """log-SNR, clipped to [-20, 20] (Kingma et al. 2021)."""
    return jnp.clip(process.log_snr(t), -20, 20)
