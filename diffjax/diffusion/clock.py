"""Clocks: the scalar that a network receives as its time conditioning."""

import math

import jax.numpy as jnp

from diffjax.diffusion.process import Process, Time


def index(process: Process, t: Time) -> Time:
    """T t - 1: a table's step index, counted from 0 (Ho et al. 2020); T = 1000 in continuous time."""
    return (process.steps or 1000) * t - 1


def scaled(process: Process, t: Time) -> Time:
    """999 t (Song et al. 2021, for variance-preserving processes)."""
    return 999 * t


def log_noise(process: Process, t: Time) -> Time:
    """ln(sigma / alpha) / 4 (Karras et al. 2022, table 1, c_noise)."""
    return -process.log_snr(t) / 8


def log_sigma(process: Process, t: Time) -> Time:
    """ln(sigma / alpha / 2), NCSN++'s clock: its sigma is that of data in [0, 1] (Karras et al. 2022, table 1, VE)."""
    return -process.log_snr(t) / 2 - math.log(2)


def log_snr(process: Process, t: Time) -> Time:
    """log-SNR, clipped to [-20, 20] (Kingma et al. 2021)."""
    return jnp.clip(process.log_snr(t), -20, 20)
