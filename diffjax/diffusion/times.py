"""Times: the density p(t) from which training draws, one t per example.

Each example has a key of its own, so that its t does not depend on how the batch is laid out over devices. The density
is part of the objective: the expected loss is the integral of p(t) w(t) E|x0_hat - x0|^2.
"""

import abc
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffjax.diffusion.process import Process, Time

Keys = Key[Array, "b"]


class Times(abc.ABC):
    """A density over t."""

    @abc.abstractmethod
    def sample(self, keys: Keys, process: Process) -> Float[Array, "b"]:
        """One t from each key."""

    @abc.abstractmethod
    def density(self, t: Time, process: Process) -> Time:
        """p(t)."""


@dataclass(frozen=True)
class Uniform(Times):
    """t uniform in [t_min, 1] (Song et al. 2021, eq. 7), or over the T steps of a table (Ho et al. 2020, alg. 1)."""

    t_min: float = 1e-5  # a fraction of the process, for continuous time only: SNR is infinite at t = 0

    def sample(self, keys: Keys, process: Process) -> Float[Array, "b"]:
        if process.steps:
            return jax.vmap(lambda key: jax.random.randint(key, (), 1, process.steps + 1) / process.steps)(keys)
        return jax.vmap(lambda key: jax.random.uniform(key, minval=self.t_min, maxval=1.0))(keys)

    def density(self, t: Time, process: Process) -> Time:
        """Over [t_min, 1]; for a table, the probability of each step times T."""
        inside = t > 0 if process.steps else (t >= self.t_min)
        return jnp.where(inside, 1.0 if process.steps else 1 / (1 - self.t_min), 0.0)


@dataclass(frozen=True)
class LogNormal(Times):
    """ln(sigma / alpha) ~ N(mean, std^2) (Karras et al. 2022, table 1)."""

    mean: float = -1.2  # of ln(sigma / alpha)
    std: float = 1.2

    def sample(self, keys: Keys, process: Process) -> Float[Array, "b"]:
        log_noise = self.mean + self.std * jax.vmap(jax.random.normal)(keys)
        return jnp.clip(process.time_of(-2 * log_noise), 0.0, 1.0)

    def density(self, t: Time, process: Process) -> Time:
        """The change of variables from ln(sigma / alpha) to t; continuous time only."""
        level, slope = jax.vmap(jax.value_and_grad(lambda t: -0.5 * process.log_snr(t)))(jnp.ravel(t))
        normal = jnp.exp(-0.5 * ((level - self.mean) / self.std) ** 2) / (self.std * jnp.sqrt(2 * jnp.pi))
        return (normal * jnp.abs(slope)).reshape(jnp.shape(t))
