"""What samplers share: the move between two noise levels for a given x0, how much noise is fresh, and a memory."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from diffjax.diffusion.process import Batch, Process, Time, along

Level = Float[Array, ""]


def half_log_snr(process: Process, t: Time) -> Time:
    """lambda = log(alpha / sigma), in which the DPM-Solvers step; -inf at alpha = 0 and +inf at sigma = 0."""
    return process.log_snr(t) / 2


def transfer(process: Process, x0: Batch, x_t: Batch, t: Time, s: Time, kept: Time | None = None) -> Batch:
    """alpha_s x0 + sigma_s eps, with the eps of x_t = alpha_t x0 + sigma_t eps. Singular only at sigma_t = 0.

    The exact solution of the probability-flow ODE while x0 stands still (Song et al. 2020, eq. 12; Lu et al. 2022b,
    eq. 9). `kept` is what is left of sigma_s where fresh noise makes up the rest.
    """
    kept = process.sigma(s) if kept is None else kept
    return along(process.alpha(s), x_t) * x0 + along(kept, x_t) * process.eps(x0, x_t, t)


def slope_weight(process: Process, t: Time, s: Time) -> Time:
    """alpha_s (l_s - l_t), l = sigma / alpha: by how much eps moves x_s. 0 at alpha_t = 0, where l has no end.

    There x_t holds nothing of x0, a step of any order is `transfer`, and no correction is made.
    """
    some = process.alpha(t) > 0
    level = process.sigma(t) / jnp.where(some, process.alpha(t), 1.0)
    return jnp.where(some, process.sigma(s) - process.alpha(s) * level, 0.0)


def noise_split(process: Process, s: Time, t: Time, eta: float) -> tuple[Time, Time]:
    """(kept, fresh), kept^2 + fresh^2 = sigma_s^2: fresh is eta times the posterior's deviation, at most all."""
    _, step = process.transition(s, t)
    largest = process.sigma(s) ** 2
    fresh = jnp.minimum(eta**2 * step * largest / process.sigma(t) ** 2, largest)
    return jnp.sqrt(largest - fresh), jnp.sqrt(fresh)


class History(NamedTuple):
    """The last k answers of the network, newest first, and where they were given; `count` of them are there."""

    values: Float[Array, "k b ..."]
    at: Float[Array, "k"]
    count: Int[Array, ""]

    @staticmethod
    def empty(x: Batch, size: int) -> "History":
        """Nothing yet, and room for `size`."""
        return History(jnp.zeros((size, *x.shape), x.dtype), jnp.zeros(size, x.dtype), jnp.int32(0))

    def add(self, value: Batch, at: Level, usable: Bool[Array, ""]) -> "History":
        """With one more answer. One that is not usable, at alpha = 0, stands in front but is not counted."""
        values = jnp.concatenate([value[None].astype(self.values.dtype), self.values[:-1]])
        at = jnp.concatenate([jnp.asarray(at, self.at.dtype)[None], self.at[:-1]])
        return History(values, at, jnp.where(usable, jnp.minimum(self.count + 1, len(self.at)), 0))
