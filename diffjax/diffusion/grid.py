"""Time grids: the times t_0 > t_1 > ... > t_N = 0 that a sampler of N steps visits; t_0 is 1, or as near as said.

On a table of T steps every time is one of its steps: rounded, and an error where two would fall together.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffjax.diffusion.process import Process
from diffjax.errors import UserError

Grid = Float[Array, "n_plus_1"]


def linear(process: Process, steps: int) -> Grid:
    """Evenly spaced in t; on a table in its indices T .. 0."""
    return _on_table(process, np.linspace(1.0, 0.0, steps + 1))


def quadratic(process: Process, steps: int) -> Grid:
    """sqrt(t) evenly spaced: denser towards the data (Song et al. 2020, appendix D.2)."""
    return _on_table(process, np.linspace(1.0, 0.0, steps + 1) ** 2)


def explicit(process: Process, steps: int, *, at: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25, 0.0)) -> Grid:
    """Any list, from 1 or below down to 0 or above; `sampler.steps` must be one less than its length."""
    if any(not 0 <= t <= 1 for t in at) or any(later >= t for t, later in zip(at, at[1:], strict=False)):
        raise UserError(f"sampler.grid.at: {at} must fall strictly, from at most 1 to at least 0")
    if len(at) != steps + 1:
        raise UserError(f"sampler.grid.at: {len(at)} times make {len(at) - 1} steps, not sampler.steps={steps}")
    return _on_table(process, np.asarray(at, np.float64))


def _on_table(process: Process, times: np.ndarray) -> Grid:
    """As they are in continuous time, or rounded to a table's steps."""
    if not process.steps:
        return jnp.asarray(times)
    if len(times) - 1 > process.steps:
        raise UserError(
            f"sampler.steps: {len(times) - 1} is more than the {process.steps} steps of the process's table"
        )
    index = np.round(times * process.steps)
    if np.any(np.diff(index) >= 0):
        raise UserError(
            f"sampler.grid: two of its times fall on one of the {process.steps} steps of the process's table; take"
            " fewer steps, or the grid linear"
        )
    return jnp.asarray(index / process.steps)


def karras(
    process: Process, steps: int, *, rho: float = 7.0, sigma_min: float = 0.002, sigma_max: float = 80.0
) -> Grid:
    """(sigma / alpha)^(1/rho) evenly spaced between sigma_max and sigma_min, then 0 (Karras et al. 2022, eq. 5).

    The two ends are held to what the process reaches.
    """
    if not 0 < sigma_min < sigma_max:
        raise UserError(f"sampler.grid.sigma_min: {sigma_min} must be above 0 and below sigma_max={sigma_max}")
    if rho <= 0:
        raise UserError(f"sampler.grid.rho: {rho} must be positive; the paper's is 7")
    start, stop = _within(process, -2 * np.log(sigma_max), -2 * np.log(sigma_min))
    ends = jnp.exp(-0.5 * jnp.stack([start, stop])) ** (1 / rho)
    return _at(process, -2 * jnp.log(jnp.linspace(ends[0], ends[1], steps) ** rho))


def log_snr(process: Process, steps: int, *, low: float = -9.0, high: float = 12.0) -> Grid:
    """log-SNR evenly spaced from `low` to `high`, then infinite (Lu et al. 2022, section 3.3, "logSNR").

    The two ends are held to what the process reaches.
    """
    if low >= high:
        raise UserError(f"sampler.grid.low: {low} must be below high={high}")
    start, stop = _within(process, low, high)
    return _at(process, jnp.linspace(start, stop, steps))


def _within(process: Process, low: float, high: float) -> tuple[Array, Array]:
    """The two log-SNRs, held to those at which the process starts and stops."""
    last = process.log_snr(jnp.asarray(1 / process.steps if process.steps else 1e-5))
    return jnp.maximum(low, process.log_snr(jnp.asarray(1.0))), jnp.minimum(high, last)


def _at(process: Process, levels: Array) -> Grid:
    """The times of these log-SNRs, and 0."""
    return jnp.append(jnp.clip(process.time_of(levels), 0.0, 1.0), 0.0)
