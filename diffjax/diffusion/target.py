"""Targets: what the network's output means, and how it becomes an estimate of x0.

Each target is an affine function of (x0, eps) at a given t, so its conversion is exact, and the error of its x0 is
`gain` times the error of the output: |x0_hat - x0|^2 = gain^2 |output - target|^2. The training loss uses that
identity, and never divides by a small alpha.
"""

import abc
from dataclasses import dataclass

import jax.numpy as jnp

from diffjax.diffusion.process import Batch, Process, Time, along


class Target(abc.ABC):
    """What the network should say, what its words mean, and how much they weigh."""

    def input(self, x_t: Batch, t: Time, process: Process) -> Batch:
        """What the network is shown."""
        return x_t

    @abc.abstractmethod
    def of(self, x0: Batch, eps: Batch, t: Time, process: Process) -> Batch:
        """The right answer."""

    @abc.abstractmethod
    def to_x0(self, output: Batch, x_t: Batch, t: Time, process: Process) -> Batch:
        """The estimate of x0 that an output stands for."""

    @abc.abstractmethod
    def gain(self, t: Time, process: Process) -> Time:
        """|d x0 / d output|."""


@dataclass(frozen=True)
class Eps(Target):
    """The noise (Ho et al. 2020, eq. 14): x0 = (x_t - sigma eps) / alpha. Singular where alpha = 0."""

    def of(self, x0: Batch, eps: Batch, t: Time, process: Process) -> Batch:
        return eps

    def to_x0(self, output: Batch, x_t: Batch, t: Time, process: Process) -> Batch:
        return (x_t - along(process.sigma(t), x_t) * output) / along(process.alpha(t), x_t)

    def gain(self, t: Time, process: Process) -> Time:
        return process.sigma(t) / process.alpha(t)


@dataclass(frozen=True)
class X0(Target):
    """The clean example itself. Nowhere singular."""

    def of(self, x0: Batch, eps: Batch, t: Time, process: Process) -> Batch:
        return x0

    def to_x0(self, output: Batch, x_t: Batch, t: Time, process: Process) -> Batch:
        return output

    def gain(self, t: Time, process: Process) -> Time:
        return jnp.ones_like(t)


@dataclass(frozen=True)
class F(Target):
    """EDM's preconditioned output: x0 = c_skip x_t + c_out F(c_in x_t) (Karras et al. 2022, eq. 7, for any alpha).

    With variance v = alpha^2 sigma_data^2 + sigma^2 of x_t: c_in = v^-1/2, c_skip = alpha sigma_data^2 / v and
    c_out = sigma sigma_data v^-1/2, so that input and target have unit variance at every t. Nowhere singular; at
    sigma = 0 the output has no effect.
    """

    sigma_data: float = 0.5  # standard deviation of the data, in model units

    def _variance(self, t: Time, process: Process) -> Time:
        return process.alpha(t) ** 2 * self.sigma_data**2 + process.sigma(t) ** 2

    def _skip(self, t: Time, process: Process) -> Time:
        return process.alpha(t) * self.sigma_data**2 / self._variance(t, process)

    def input(self, x_t: Batch, t: Time, process: Process) -> Batch:
        return x_t / along(jnp.sqrt(self._variance(t, process)), x_t)

    def of(self, x0: Batch, eps: Batch, t: Time, process: Process) -> Batch:
        # (x0 - c_skip x_t) / c_out with the cancellation done by hand: exact also where sigma is small.
        spread = along(self.sigma_data * jnp.sqrt(self._variance(t, process)), x0)
        return (along(process.sigma(t), x0) * x0 - along(process.alpha(t) * self.sigma_data**2, x0) * eps) / spread

    def to_x0(self, output: Batch, x_t: Batch, t: Time, process: Process) -> Batch:
        return along(self._skip(t, process), x_t) * x_t + along(self.gain(t, process), x_t) * output

    def gain(self, t: Time, process: Process) -> Time:
        return process.sigma(t) * self.sigma_data / jnp.sqrt(self._variance(t, process))
