"""Forward processes: x_t = alpha(t) x0 + sigma(t) eps with eps ~ N(0, I) and t in [0, 1].

t = 0 is the data, t = 1 the prior. A process defines alpha and sigma; everything else here follows from these two.
Times are arrays of any shape [...]; `along(a, x)` broadcasts one number per example over the example, and `sum_dims(x)`
sums over it.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from diffjax.errors import UserError

Time = Float[Array, "..."]  # [b], or [] for one time shared by the batch
Batch = Float[Array, "b ..."]


def along(a: Shaped[Array, "..."], x: Float[Array, "..."]) -> Shaped[Array, "..."]:
    """`a` [b] or [] with trailing axes of length 1, so that it broadcasts against `x` [b, ...]."""
    return jnp.reshape(a, jnp.shape(a) + (1,) * (x.ndim - jnp.ndim(a)))


def sum_dims(x: Shaped[Array, "b ..."]) -> Shaped[Array, "b"]:
    """The sum over an example's dimensions: [b]."""
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))


class Process(abc.ABC):
    """A process defines alpha, sigma and `time_of`; the rest of the algebra is shared.

    `steps` is 0 for continuous time, or T for a table of T steps at t = 1/T, 2/T .. 1. `start` is the first time of
    training: 0, where log-SNR may be infinite, unless log-SNR jumps there.
    """

    steps: int = 0
    start: ClassVar[float] = 0.0

    @abc.abstractmethod
    def alpha(self, t: Time) -> Time:
        """The factor of x0: at most 1 and non-increasing."""

    @abc.abstractmethod
    def sigma(self, t: Time) -> Time:
        """The standard deviation of the noise, in model units: increasing."""

    @abc.abstractmethod
    def time_of(self, log_snr: Time) -> Time:
        """The inverse of `log_snr`: the t at which log-SNR has this value."""

    def init(self, key: Key[Array, ""]) -> Any:
        """Initial parameters of a learned process; an empty dictionary for a fixed one."""
        return {}

    def bind(self, params: Any) -> "Process":
        """The process with these parameters; itself where nothing is learned."""
        return self

    def log_snr(self, t: Time) -> Time:
        """log(alpha^2 / sigma^2), decreasing (Kingma et al. 2021, eq. 2); +inf at sigma = 0, -inf at alpha = 0."""
        return 2 * (jnp.log(self.alpha(t)) - jnp.log(self.sigma(t)))

    def corrupt(self, x0: Batch, eps: Batch, t: Time) -> Batch:
        """x_t = alpha x0 + sigma eps (Ho et al. 2020, eq. 4)."""
        return along(self.alpha(t), x0) * x0 + along(self.sigma(t), x0) * eps

    def eps(self, x0: Batch, x_t: Batch, t: Time) -> Batch:
        """The noise that turns x0 into x_t. Singular where sigma = 0."""
        return (x_t - along(self.alpha(t), x_t) * x0) / along(self.sigma(t), x_t)

    def score(self, x0: Batch, x_t: Batch, t: Time) -> Batch:
        """grad log q(x_t | x0) = -eps / sigma; that of p(x_t) at x0 = E[x0 | x_t] (Song et al. 2021, eq. 7).

        Singular where sigma = 0.
        """
        return -self.eps(x0, x_t, t) / along(self.sigma(t), x_t)

    def transition(self, s: Time, t: Time) -> tuple[Time, Time]:
        """q(x_t | x_s) for s < t: the factor alpha_t / alpha_s and the variance (Kingma et al. 2021, eq. 21-22)."""
        factor = self.alpha(t) / self.alpha(s)
        return factor, self.sigma(t) ** 2 - factor**2 * self.sigma(s) ** 2

    def posterior(self, x0: Batch, x_t: Batch, s: Time, t: Time) -> tuple[Batch, Time]:
        """q(x_s | x_t, x0) for any s < t: the exact mean [b, ...] and variance (Ho et al. 2020, eq. 6-7)."""
        from_x_t, from_x0 = self.posterior_weights(s, t)
        mean = along(from_x_t, x_t) * x_t + along(from_x0, x0) * x0
        return mean, self.transition(s, t)[1] * self.sigma(s) ** 2 / self.sigma(t) ** 2

    def posterior_weights(self, s: Time, t: Time) -> tuple[Time, Time]:
        """The factors of x_t and x0 in the mean of q(x_s | x_t, x0)."""
        factor, variance = self.transition(s, t)
        return factor * self.sigma(s) ** 2 / self.sigma(t) ** 2, self.alpha(s) * variance / self.sigma(t) ** 2

    def sde(self, t: Time) -> tuple[Time, Time]:
        """(f, g^2) of dx = f x dt + g dw: f = d log alpha / dt and g^2 = d sigma^2 / dt - 2 f sigma^2."""
        f = self.rate(lambda t: jnp.log(self.alpha(t)), t)
        return f, self.rate(lambda t: self.sigma(t) ** 2, t) - 2 * f * self.sigma(t) ** 2

    def velocity(self, x0: Batch, x_t: Batch, t: Time) -> Batch:
        """dx/dt of the probability-flow ODE, alpha' x0 + sigma' eps at x0 = E[x0 | x_t] (Song et al. 2021, eq. 13)."""
        return along(self.rate(self.alpha, t), x0) * x0 + along(self.rate(self.sigma, t), x0) * self.eps(x0, x_t, t)

    def rate(self, of: Callable[[Time], Time], t: Time) -> Time:
        """The derivative of `of` at t. Raises UserError for a table, which has none."""
        if self.steps:
            raise UserError(
                f"method.process: a table of {self.steps} steps has no derivative in t, which is needed here; use a"
                " continuous process, such as vp_linear"
            )
        return jax.jvp(of, (t,), (jnp.ones_like(t),))[1]
