"""The variance of a reverse step p(x_s | x_t): two fixed choices, and two that the network learns.

With s = t - 1 / T, `small` is beta~ and `large` beta. A step to sigma = 0 has a posterior without variance; there both
are the posterior's one step earlier in the chain, as in the released code of Ho et al. 2020.
"""

import abc
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from diffjax.diffusion.process import Batch, Process, Time, along


def log_small(process: Process, s: Time, t: Time) -> Time:
    """The log-variance of q(x_s | x_t, x0), finite also at sigma_s = 0 (Ho et al. 2020, eq. 7)."""
    at_data = process.sigma(s) == 0
    after = jnp.where(at_data, jnp.minimum(2 * t - s, 1.0), t)
    before = jnp.where(at_data, t, s)
    _, step = process.transition(before, after)
    return jnp.log(step) + 2 * (jnp.log(process.sigma(before)) - jnp.log(process.sigma(after)))


def log_large(process: Process, s: Time, t: Time) -> Time:
    """The log-variance of q(x_t | x_s), beta (Ho et al. 2020, section 3.2); `log_small` at sigma_s = 0."""
    _, step = process.transition(s, t)
    return jnp.where(process.sigma(s) == 0, log_small(process, s, t), jnp.log(step))


class Variance(abc.ABC):
    """What the reverse variance is made of."""

    outputs: ClassVar[int] = 1  # numbers the network gives per dimension: the mean's, and perhaps the variance's

    @abc.abstractmethod
    def log_var(self, raw: Batch | None, process: Process, s: Time, t: Time) -> Batch | Time:
        """[b, ...] from the network's second half `raw`, or a number per time."""


@dataclass(frozen=True)
class Small(Variance):
    """beta~: right for data that are a single point."""

    def log_var(self, raw: Batch | None, process: Process, s: Time, t: Time) -> Batch | Time:
        return log_small(process, s, t)


@dataclass(frozen=True)
class Large(Variance):
    """beta: right for data from N(0, I)."""

    def log_var(self, raw: Batch | None, process: Process, s: Time, t: Time) -> Batch | Time:
        return log_large(process, s, t)


@dataclass(frozen=True)
class Learned(Variance):
    """A learned diagonal (Ho et al. 2020, table 2): log beta~ + raw, so that a fresh network says beta~."""

    outputs: ClassVar[int] = 2

    def log_var(self, raw: Batch | None, process: Process, s: Time, t: Time) -> Batch | Time:
        return along(log_small(process, s, t), raw) + raw


@dataclass(frozen=True)
class LearnedRange(Variance):
    """Between the two, in the logarithm: v log beta + (1 - v) log beta~ (Nichol & Dhariwal 2021, eq. 15).

    v = (raw + 1) / 2, as in the released code: halfway for a fresh network, and not held to [0, 1].
    """

    outputs: ClassVar[int] = 2

    def log_var(self, raw: Batch | None, process: Process, s: Time, t: Time) -> Batch | Time:
        v = (raw + 1) / 2
        return v * along(log_large(process, s, t), raw) + (1 - v) * along(log_small(process, s, t), raw)
