"""Building blocks of samplers: the step between two noise levels for a given x0, its noise, and a history of calls."""

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

    The exact solution of the probability-flow ODE for constant x0 (Song et al. 2020, eq. 12; Lu et al. 2022b, eq. 9).
    `kept` replaces sigma_s where newly drawn noise makes up the rest of it.
    """
    kept = process.sigma(s) if kept is None else kept
    return along(process.alpha(s), x_t) * x0 + along(kept, x_t) * process.eps(x0, x_t, t)


def slope_weight(process: Process, t: Time, s: Time) -> Time:
    """alpha_s (l_s - l_t), l = sigma / alpha: the derivative of x_s with respect to eps. 0 at alpha_t = 0.

    There l is infinite and x_t independent of x0, so that a step of any order reduces to `transfer`, uncorrected.
    """
    has_signal = process.alpha(t) > 0
    level = process.sigma(t) / jnp.where(has_signal, process.alpha(t), 1.0)
    return jnp.where(has_signal, process.sigma(s) - process.alpha(s) * level, 0.0)


def noise_split(process: Process, s: Time, t: Time, eta: float) -> tuple[Time, Time]:
    """(direction, noise), direction^2 + noise^2 = sigma_s^2: noise = eta * posterior std, at most sigma_s."""
    _, variance = process.transition(s, t)
    sigma_s2 = process.sigma(s) ** 2
    noise2 = jnp.minimum(eta**2 * variance * sigma_s2 / process.sigma(t) ** 2, sigma_s2)
    return jnp.sqrt(sigma_s2 - noise2), jnp.sqrt(noise2)


class History(NamedTuple):
    """The last k predictions of the network, newest first, and where they were made; `count` of them are valid."""

    values: Float[Array, "k b ..."]
    at: Float[Array, "k"]
    count: Int[Array, ""]

    @staticmethod
    def empty(x: Batch, size: int) -> "History":
        """An empty history with room for `size` predictions."""
        return History(jnp.zeros((size, *x.shape), x.dtype), jnp.zeros(size, x.dtype), jnp.int32(0))

    def add(self, value: Batch, at: Level, usable: Bool[Array, ""]) -> "History":
        """The history with one more prediction. One not `usable` (alpha = 0) is stored but resets the count."""
        values = jnp.concatenate([value[None].astype(self.values.dtype), self.values[:-1]])
        at = jnp.concatenate([jnp.asarray(at, self.at.dtype)[None], self.at[:-1]])
        return History(values, at, jnp.where(usable, jnp.minimum(self.count + 1, len(self.at)), 0))
