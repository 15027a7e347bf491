"""Time grids: the times t_0 > t_1 > ... > t_N = 0 that a sampler of N steps visits.

t_0 is 1, or less where the bounds of a grid say so. Only `explicit` may end above 0, for a part of a way; to draw from
a run it must end at 0. On a table of T steps every time is rounded to one of them, and two times that round to the same
step are an error.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffjax.diffusion.process import Process
from diffjax.errors import UserError

Grid = Float[Array, "n_plus_1"]


def linear(process: Process, steps: int) -> Grid:
    """Evenly spaced in t; on a table, in the step index."""
    return _on_table(process, np.linspace(1.0, 0.0, steps + 1))


def quadratic(process: Process, steps: int) -> Grid:
    """sqrt(t) evenly spaced: denser towards the data (Song et al. 2020, appendix D.2)."""
    return _on_table(process, np.linspace(1.0, 0.0, steps + 1) ** 2)


def ddim_quadratic(process: Process, steps: int) -> Grid:
    """Quadratic up to four fifths of a table's T steps: 1 + floor(0.8 T (k / (`steps` - 1))^2), k falling to 0; then 0.

    As the released code of Song et al. 2020 (appendix D.2) spaces CIFAR-10's. Times that coincide are visited once. The
    released code calls the network at each, but stays where it is in between; so the samples are as if it had, with
    fewer network calls: 49 for 50 steps of 1,000, and 96 for 100. Raises UserError without a table, and for one step.
    """
    if not process.steps:
        raise UserError("sampler.grid: 'ddim_quadratic' needs a process with a table of steps; here, use quadratic")
    if steps < 2:
        raise UserError(f"sampler.steps: {steps} must be at least 2 with the grid ddim_quadratic")
    index = 1 + (np.linspace(0.0, np.sqrt(0.8 * process.steps), steps) ** 2).astype(int)
    return jnp.asarray(np.append(np.unique(index)[::-1], 0) / process.steps)


def explicit(process: Process, steps: int, *, at: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25, 0.0)) -> Grid:
    """A given list of times, falling within [0, 1]; `sampler.steps` must be one less than its length."""
    if any(not 0 <= t <= 1 for t in at) or any(s >= t for t, s in zip(at, at[1:], strict=False)):
        raise UserError(f"sampler.grid.at: {at} must fall strictly and lie in [0, 1]")
    if len(at) != steps + 1:
        raise UserError(f"sampler.grid.at: {len(at)} times make {len(at) - 1} steps, but sampler.steps={steps}")
    return _on_table(process, np.asarray(at, np.float64))


def _on_table(process: Process, times: np.ndarray) -> Grid:
    """The times unchanged in continuous time; rounded to a table's steps otherwise."""
    if not process.steps:
        return jnp.asarray(times)
    if len(times) - 1 > process.steps:
        raise UserError(
            f"sampler.steps: {len(times) - 1} must be at most the {process.steps} steps of the process's table"
        )
    index = np.round(times * process.steps)
    if np.any(np.diff(index) >= 0):
        raise UserError(
            f"sampler.grid: two of its times round to the same of the {process.steps} steps of the process's table; use"
            " fewer steps, or the grid linear"
        )
    return jnp.asarray(index / process.steps)


def karras(
    process: Process, steps: int, *, rho: float = 7.0, sigma_min: float = 0.002, sigma_max: float = 80.0
) -> Grid:
    """(sigma / alpha)^(1/rho) evenly spaced between sigma_max and sigma_min, then 0 (Karras et al. 2022, eq. 5).

    Both ends are clipped to the noise levels from t = 1e-5, or a table's first step, to t = 1.
    """
    if not 0 < sigma_min < sigma_max:
        raise UserError(f"sampler.grid.sigma_min: {sigma_min} must be above 0 and below sigma_max={sigma_max}")
    if rho <= 0:
        raise UserError(f"sampler.grid.rho: {rho} must be positive; 7 in the paper")
    start, stop = _within(process, -2 * np.log(sigma_max), -2 * np.log(sigma_min))
    ends = jnp.exp(-0.5 * jnp.stack([start, stop])) ** (1 / rho)
    return _at(process, -2 * jnp.log(jnp.linspace(ends[0], ends[1], steps) ** rho))


def log_snr(process: Process, steps: int, *, low: float = -9.0, high: float = 12.0) -> Grid:
    """log-SNR evenly spaced from `low` to `high`, then infinite (Lu et al. 2022, section 3.3, "logSNR").

    Both ends are clipped to the noise levels from t = 1e-5, or a table's first step, to t = 1.
    """
    if low >= high:
        raise UserError(f"sampler.grid.low: {low} must be below high={high}")
    start, stop = _within(process, low, high)
    return _at(process, jnp.linspace(start, stop, steps))


def _within(process: Process, low: float, high: float) -> tuple[Array, Array]:
    """The two log-SNRs, clipped to those of t = 1 and of the first t above 0 that a grid may visit."""
    log_snr_max = process.log_snr(jnp.asarray(1 / process.steps if process.steps else 1e-5))
    return jnp.maximum(low, process.log_snr(jnp.asarray(1.0))), jnp.minimum(high, log_snr_max)


def _at(process: Process, levels: Array) -> Grid:
    """The times of these log-SNRs, followed by 0."""
    return jnp.append(jnp.clip(process.time_of(levels), 0.0, 1.0), 0.0)
