"""The variance of a reverse step p(x_s | x_t): two fixed choices, and three that the network learns.

For s = t - 1 / T, `small` is beta~ and `large` is beta. The posterior of a step to sigma = 0 has no variance. There
both use the posterior variance of the reverse step before it, as in the released code of Ho et al. 2020; a learned
variance between the two still lies below beta itself, as in that of Nichol & Dhariwal 2021.
"""

import abc
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from diffjax.diffusion.process import Batch, Process, Time, along


def log_small(process: Process, s: Time, t: Time) -> Time:
    """The log-variance of q(x_s | x_t, x0), finite also at sigma_s = 0 (Ho et al. 2020, eq. 7).

    A single step from t = 1 to the data has no step before it: its log-variance is that of q(x_t | x_s).
    """
    at_data = process.sigma(s) == 0
    start = jnp.where(at_data, jnp.minimum(2 * t - s, 1.0), t)
    end = jnp.where(at_data, t, s)
    _, beta = process.transition(end, start)
    before = jnp.log(beta) + 2 * (jnp.log(process.sigma(end)) - jnp.log(process.sigma(start)))
    return jnp.where(at_data & (t == 1), log_beta(process, s, t), before)


def log_beta(process: Process, s: Time, t: Time) -> Time:
    """The log-variance of q(x_t | x_s), beta."""
    _, beta = process.transition(s, t)
    return jnp.log(beta)


def log_large(process: Process, s: Time, t: Time) -> Time:
    """log beta (Ho et al. 2020, section 3.2); `log_small` at sigma_s = 0."""
    return jnp.where(process.sigma(s) == 0, log_small(process, s, t), log_beta(process, s, t))


class Variance(abc.ABC):
    """How the reverse variance is computed, perhaps from the network's output."""

    outputs: ClassVar[int] = 1  # network outputs per dimension: one for the mean, perhaps one for the variance

    @abc.abstractmethod
    def log_var(self, raw: Batch | None, process: Process, s: Time, t: Time) -> Batch | Time:
        """The log-variance: [b, ...] from the second half `raw` of the network's output, or one number per time."""


@dataclass(frozen=True)
class Small(Variance):
    """beta~: optimal where the data are a single point (Ho et al. 2020, section 3.2)."""

    def log_var(self, raw: Batch | None, process: Process, s: Time, t: Time) -> Batch | Time:
        return log_small(process, s, t)


@dataclass(frozen=True)
class Large(Variance):
    """beta: optimal where the data are N(0, I) (Ho et al. 2020, section 3.2)."""

    def log_var(self, raw: Batch | None, process: Process, s: Time, t: Time) -> Batch | Time:
        return log_large(process, s, t)


@dataclass(frozen=True)
class Learned(Variance):
    """A learned diagonal with the log-variance log beta~ + raw: beta~ where the network outputs 0, as at first."""

    outputs: ClassVar[int] = 2

    def log_var(self, raw: Batch | None, process: Process, s: Time, t: Time) -> Batch | Time:
        return along(log_small(process, s, t), raw) + raw


@dataclass(frozen=True)
class LearnedLog(Variance):
    """A learned diagonal whose log-variance is the output itself (Ho et al. 2020, table 2, released code).

    It starts at 1, many times a step's variance, and nothing bounds it.
    """

    outputs: ClassVar[int] = 2

    def log_var(self, raw: Batch | None, process: Process, s: Time, t: Time) -> Batch | Time:
        return raw


@dataclass(frozen=True)
class LearnedRange(Variance):
    """Learned between beta~ and beta: v log beta + (1 - v) log beta~ (Nichol & Dhariwal 2021, eq. 15).

    v = (raw + 1) / 2 as in the released code: 1/2 where the network outputs 0, and not clipped to [0, 1].
    """

    outputs: ClassVar[int] = 2

    def log_var(self, raw: Batch | None, process: Process, s: Time, t: Time) -> Batch | Time:
        v = (raw + 1) / 2
        return v * along(log_beta(process, s, t), raw) + (1 - v) * along(log_small(process, s, t), raw)
