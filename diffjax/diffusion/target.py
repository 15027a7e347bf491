"""Targets: what the network predicts, and how its output becomes an estimate of x0.

Every target is a x0 + b eps with (a, b) known at each t. Together with x_t = alpha x0 + sigma eps these are two linear
equations in x0 and eps, so every conversion is exact:

    x0 = (sigma output - b x_t) / d,   d = sigma a - alpha b,

and the error of x0 is `gain` = |sigma / d| times the error of the output. The training loss weights the error of the
output by this identity, and never forms x0. Where d = 0 the gain is infinite: the output says nothing of x0.
"""

import abc
from dataclasses import dataclass

import jax.numpy as jnp

from diffjax.diffusion.fields import positive
from diffjax.diffusion.process import Batch, Process, Time, along
from diffjax.errors import UserError


class Target(abc.ABC):
    """What the network predicts, how its output becomes x0, and how the errors of the two are related."""

    @abc.abstractmethod
    def coefficients(self, t: Time, process: Process) -> tuple[Time, Time]:
        """(a, b) of the target a x0 + b eps."""

    def input(self, x_t: Batch, t: Time, process: Process) -> Batch:
        """The network's input at x_t."""
        return x_t

    def of(self, x0: Batch, eps: Batch, t: Time, process: Process) -> Batch:
        """The target a x0 + b eps itself."""
        a, b = self.coefficients(t, process)
        return along(a, x0) * x0 + along(b, x0) * eps

    def to_x0(self, output: Batch, x_t: Batch, t: Time, process: Process) -> Batch:
        """The estimate of x0 for a network output. Singular where d = 0."""
        _, b = self.coefficients(t, process)
        d = self._determinant(t, process)
        return along(process.sigma(t) / d, x_t) * output - along(b / d, x_t) * x_t

    def gain(self, t: Time, process: Process) -> Time:
        """|d x0 / d output|."""
        return process.sigma(t) / jnp.abs(self._determinant(t, process))

    def _determinant(self, t: Time, process: Process) -> Time:
        a, b = self.coefficients(t, process)
        return process.sigma(t) * a - process.alpha(t) * b


def convert(output: Batch, x_t: Batch, t: Time, process: Process, source: Target, wanted: Target) -> Batch:
    """Converts an output of the target `source` to the target `wanted`. Singular at sigma = 0 and d = 0."""
    x0 = source.to_x0(output, x_t, t, process)
    return wanted.of(x0, process.eps(x0, x_t, t), t, process)


@dataclass(frozen=True)
class Eps(Target):
    """The noise (Ho et al. 2020, eq. 14): x0 = (x_t - sigma eps) / alpha. Singular where alpha = 0."""

    def coefficients(self, t: Time, process: Process) -> tuple[Time, Time]:
        return jnp.zeros_like(t), jnp.ones_like(t)


@dataclass(frozen=True)
class X0(Target):
    """The clean example. Nowhere singular."""

    def coefficients(self, t: Time, process: Process) -> tuple[Time, Time]:
        return jnp.ones_like(t), jnp.zeros_like(t)

    def to_x0(self, output: Batch, x_t: Batch, t: Time, process: Process) -> Batch:
        return output  # also where sigma = 0

    def gain(self, t: Time, process: Process) -> Time:
        return jnp.ones_like(t)


@dataclass(frozen=True)
class V(Target):
    """v = alpha eps - sigma x0 (Salimans & Ho 2022, appendix D). d = -(alpha^2 + sigma^2): nowhere singular."""

    def coefficients(self, t: Time, process: Process) -> tuple[Time, Time]:
        return -process.sigma(t), process.alpha(t)


@dataclass(frozen=True)
class Score(Target):
    """-eps / sigma, the score of q(x_t | x0) (Song et al. 2021, eq. 7). Singular where alpha = 0 or sigma = 0."""

    def coefficients(self, t: Time, process: Process) -> tuple[Time, Time]:
        return jnp.zeros_like(t), -1 / process.sigma(t)


@dataclass(frozen=True)
class Velocity(Target):
    """dx_t/dt = alpha' x0 + sigma' eps (Lipman et al. 2023, eq. 14); eps - x0 for the straight flow.

    d = sigma alpha' - alpha sigma' is zero only where log-SNR is stationary. Continuous time only.
    """

    def coefficients(self, t: Time, process: Process) -> tuple[Time, Time]:
        return process.rate(process.alpha, t), process.rate(process.sigma, t)


@dataclass(frozen=True)
class Mean(Target):
    """mu~, the mean of q(x_s | x_t, x0) one step back, s = t - 1 / T (Ho et al. 2020, eq. 7-8).

    T is the number of steps of a table, and `steps` in continuous time. Singular only where alpha_s = 0.
    """

    steps: int = 1000  # T, where the process is continuous

    def __post_init__(self):
        if self.steps < 1:
            raise UserError(f"method.target.steps: {self.steps} must be at least 1")

    def _weights(self, t: Time, process: Process) -> tuple[Time, Time]:
        """The factors of x_t and x0 in mu~."""
        s = jnp.maximum(t - 1 / (process.steps or self.steps), 0.0)
        return process.posterior_weights(s, t)

    def coefficients(self, t: Time, process: Process) -> tuple[Time, Time]:
        from_x_t, from_x0 = self._weights(t, process)
        return from_x0 + from_x_t * process.alpha(t), from_x_t * process.sigma(t)

    def to_x0(self, output: Batch, x_t: Batch, t: Time, process: Process) -> Batch:
        from_x_t, from_x0 = self._weights(t, process)
        return (output - along(from_x_t, x_t) * x_t) / along(from_x0, x_t)

    def gain(self, t: Time, process: Process) -> Time:
        return 1 / self._weights(t, process)[1]


@dataclass(frozen=True)
class F(Target):
    """EDM's preconditioned output: x0 = c_skip x_t + c_out F(c_in x_t) (Karras et al. 2022, eq. 7, for any alpha).

    With the variance v = alpha^2 sigma_data^2 + sigma^2 of x_t: c_in = v^-1/2, c_skip = alpha sigma_data^2 / v and
    c_out = sigma sigma_data v^-1/2, so that input and target have unit variance at every t. Nowhere singular; at
    sigma = 0 the output has no effect.
    """

    sigma_data: float = 0.5  # standard deviation of the data, in model units

    def __post_init__(self):
        positive("method.target.sigma_data", self.sigma_data, "it is the standard deviation of the data")

    def _std(self, t: Time, process: Process) -> Time:
        """The standard deviation of x_t."""
        return jnp.sqrt(process.alpha(t) ** 2 * self.sigma_data**2 + process.sigma(t) ** 2)

    def input(self, x_t: Batch, t: Time, process: Process) -> Batch:
        return x_t / along(self._std(t, process), x_t)

    def coefficients(self, t: Time, process: Process) -> tuple[Time, Time]:
        # (x0 - c_skip x_t) / c_out, simplified by hand: no cancellation where sigma is small.
        std = self._std(t, process)
        return process.sigma(t) / (self.sigma_data * std), -process.alpha(t) * self.sigma_data / std

    def _determinant(self, t: Time, process: Process) -> Time:
        return self._std(t, process) / self.sigma_data
