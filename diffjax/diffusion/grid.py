"""Time grids: the times t_0 = 1 > t_1 > ... > t_N = 0 that a sampler of N steps visits."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffjax.diffusion.process import Process
from diffjax.errors import UserError

Grid = Float[Array, "n_plus_1"]


def linear(process: Process, steps: int) -> Grid:
    """Evenly spaced in t; for a table of T steps, evenly spaced in its indices T .. 0, rounded."""
    if not process.steps:
        return jnp.linspace(1.0, 0.0, steps + 1)
    if steps > process.steps:
        raise UserError(f"sampler.steps: {steps} is more than the {process.steps} steps of the process's table")
    return jnp.asarray(np.round(np.linspace(process.steps, 0, steps + 1)) / process.steps)


def karras(
    process: Process, steps: int, *, rho: float = 7.0, sigma_min: float = 0.002, sigma_max: float = 80.0
) -> Grid:
    """(sigma / alpha)^(1/rho) evenly spaced between sigma_max and sigma_min, then 0 (Karras et al. 2022, eq. 5).

    The two ends are held to what the process reaches.
    """
    ends = jnp.asarray([sigma_max, sigma_min]) ** (1 / rho)
    noise = jnp.linspace(ends[0], ends[1], steps) ** rho
    times = jnp.clip(process.time_of(-2 * jnp.log(noise)), 0.0, 1.0)
    return jnp.append(times, 0.0)
