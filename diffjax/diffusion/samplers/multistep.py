"""What multistep samplers share: lambda, the time in which the DPM-Solvers step, and a history of network calls."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from diffjax.diffusion.process import Batch, Process, Time

Level = Float[Array, ""]


def half_log_snr(process: Process, t: Time) -> Time:
    """lambda = log(alpha / sigma), in which the DPM-Solvers step; -inf at alpha = 0 and +inf at sigma = 0."""
    return process.log_snr(t) / 2


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
