"""Forward processes: how structure is destroyed, x_t = alpha(t) x0 + sigma(t) eps with eps ~ N(0, I) and t in [0, 1].

t = 0 is the data, t = 1 the prior. A process says what alpha and sigma are; everything else follows from them here.
Times are arrays of any shape [...]; `along(a, x)` spreads a per-example number over an example.
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Time = Float[Array, "..."]  # [b], or [] for one time shared by the batch
Batch = Float[Array, "b ..."]


def along(a: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`a` [b] or [] with axes of length one appended, so that it multiplies `x` [b, ...]."""
    return jnp.reshape(a, jnp.shape(a) + (1,) * (x.ndim - jnp.ndim(a)))


class Process(abc.ABC):
    """alpha and sigma are a process's own; the rest of the algebra is the same for all.

    `steps` is 0 for continuous time, or T for a table of T steps at t = 1/T, 2/T .. 1.
    """

    steps: int = 0

    @abc.abstractmethod
    def alpha(self, t: Time) -> Time:
        """The factor of x0; 1 or less, not increasing."""

    @abc.abstractmethod
    def sigma(self, t: Time) -> Time:
        """The standard deviation of the noise, in model units; increasing."""

    @abc.abstractmethod
    def time_of(self, log_snr: Time) -> Time:
        """The inverse of `log_snr`: the t at which it has this value."""

    def log_snr(self, t: Time) -> Time:
        """log(alpha^2 / sigma^2), decreasing (Kingma et al. 2021, eq. 2); +inf at sigma = 0, -inf at alpha = 0."""
        return 2 * (jnp.log(self.alpha(t)) - jnp.log(self.sigma(t)))

    def corrupt(self, x0: Batch, eps: Batch, t: Time) -> Batch:
        """x_t = alpha x0 + sigma eps (Ho et al. 2020, eq. 4)."""
        return along(self.alpha(t), x0) * x0 + along(self.sigma(t), x0) * eps

    def eps(self, x0: Batch, x_t: Batch, t: Time) -> Batch:
        """The noise that turns x0 into x_t. Singular where sigma = 0."""
        return (x_t - along(self.alpha(t), x_t) * x0) / along(self.sigma(t), x_t)

    def transition(self, s: Time, t: Time) -> tuple[Time, Time]:
        """q(x_t | x_s) for s < t: its factor alpha_t / alpha_s and its variance (Kingma et al. 2021, eq. 21-22)."""
        factor = self.alpha(t) / self.alpha(s)
        return factor, self.sigma(t) ** 2 - factor**2 * self.sigma(s) ** 2

    def posterior(self, x0: Batch, x_t: Batch, s: Time, t: Time) -> tuple[Batch, Time]:
        """q(x_s | x_t, x0) for any s < t, exactly: its mean [b, ...] and variance (Ho et al. 2020, eq. 6-7)."""
        factor, variance = self.transition(s, t)
        from_x_t = factor * self.sigma(s) ** 2 / self.sigma(t) ** 2
        from_x0 = self.alpha(s) * variance / self.sigma(t) ** 2
        mean = along(from_x_t, x_t) * x_t + along(from_x0, x0) * x0
        return mean, variance * self.sigma(s) ** 2 / self.sigma(t) ** 2

    def sde(self, t: Time) -> tuple[Time, Time]:
        """dx = f x dt + g dw with these moments: f = d log alpha / dt and g^2 = d sigma^2 / dt - 2 f sigma^2."""
        f = self._rate(lambda t: jnp.log(self.alpha(t)), t)
        return f, self._rate(lambda t: self.sigma(t) ** 2, t) - 2 * f * self.sigma(t) ** 2

    def velocity(self, x0: Batch, x_t: Batch, t: Time) -> Batch:
        """dx/dt of the probability-flow ODE, alpha' x0 + sigma' eps for x0 = E[x0 | x_t] (Song et al. 2021, eq. 13)."""
        return along(self._rate(self.alpha, t), x0) * x0 + along(self._rate(self.sigma, t), x0) * self.eps(x0, x_t, t)

    def _rate(self, of: Callable[[Time], Time], t: Time) -> Time:
        """d of / dt, where time is continuous."""
        if self.steps:
            raise ValueError(f"a table of {self.steps} steps has no derivative in t; take its continuous counterpart")
        return jax.jvp(of, (t,), (jnp.ones_like(t),))[1]


@dataclass(frozen=True)
class VPLinear(Process):
    """Variance preserving, beta(t) linear: log alpha = -t^2 (b1 - b0) / 4 - t b0 / 2 (Song et al. 2021, eq. 33)."""

    beta_min: float = 0.1  # b0, per unit of time: 1000 times DDPM's beta_1
    beta_max: float = 20.0  # b1, per unit of time: 1000 times DDPM's beta_T

    def alpha(self, t: Time) -> Time:
        return jnp.exp(-0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min)

    def sigma(self, t: Time) -> Time:
        return jnp.sqrt(-jnp.expm1(-0.5 * t**2 * (self.beta_max - self.beta_min) - t * self.beta_min))

    def time_of(self, log_snr: Time) -> Time:
        integral = jax.nn.softplus(-log_snr)  # of beta from 0 to t = -2 log alpha
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + jnp.sqrt(self.beta_min**2 + 2 * slope * integral))


@dataclass(frozen=True)
class VPCosine(Process):
    """Variance preserving, alpha = cos of an angle linear in t (Nichol & Dhariwal 2021, eq. 17, in continuous time).

    The angle stops short of 90 degrees where log-SNR reaches `log_snr_min`, so that eps still determines x0 at t = 1.
    """

    log_snr_min: float = -15.0

    @property
    def _end(self) -> float:
        return math.atan(math.exp(-0.5 * self.log_snr_min))

    def alpha(self, t: Time) -> Time:
        return jnp.cos(self._end * t)

    def sigma(self, t: Time) -> Time:
        return jnp.sin(self._end * t)

    def time_of(self, log_snr: Time) -> Time:
        return jnp.arctan(jnp.exp(-0.5 * log_snr)) / self._end


@dataclass(frozen=True)
class EDM(Process):
    """Variance exploding with sigma linear in t: alpha = 1, sigma = sigma_max t (Karras et al. 2022, table 1)."""

    sigma_max: float = 80.0  # in model units; data have a standard deviation of about 0.5

    def alpha(self, t: Time) -> Time:
        return jnp.ones_like(t)

    def sigma(self, t: Time) -> Time:
        return self.sigma_max * t

    def time_of(self, log_snr: Time) -> Time:
        return jnp.exp(-0.5 * log_snr) / self.sigma_max


@dataclass(frozen=True)
class Table(Process):
    """A chain of T steps with given betas: alpha(n/T)^2 = prod_{i <= n} (1 - beta_i), alpha(0) = 1 (Ho et al. 2020).

    A process of its own, not a sampled continuous one: t is rounded to the nearest of 0, 1/T, 2/T .. 1.
    """

    betas: tuple[float, ...] = field(repr=False)

    @property
    def steps(self) -> int:
        return len(self.betas)

    @cached_property
    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """alpha and sigma at n = 0 .. T, computed in float64: 1 - prod(1 - beta) cancels badly in float32."""
        log_alpha_bar = np.concatenate([[0.0], np.cumsum(np.log1p(-np.asarray(self.betas, np.float64)))])
        return np.exp(0.5 * log_alpha_bar), np.sqrt(-np.expm1(log_alpha_bar))

    def _look_up(self, values: np.ndarray, t: Time) -> Time:
        index = jnp.clip(jnp.round(t * self.steps), 0, self.steps).astype(jnp.int32)
        return jnp.asarray(values, jnp.result_type(float))[index]

    def alpha(self, t: Time) -> Time:
        return self._look_up(self._tables[0], t)

    def sigma(self, t: Time) -> Time:
        return self._look_up(self._tables[1], t)

    def time_of(self, log_snr: Time) -> Time:
        """The nearest step in log-SNR; 0 is never chosen, its log-SNR being infinite."""
        alpha, sigma = self._tables
        levels = jnp.asarray(2 * (np.log(alpha[1:]) - np.log(sigma[1:])), jnp.result_type(float))
        return (jnp.argmin(jnp.abs(log_snr[..., None] - levels), axis=-1) + 1.0) / self.steps


def ddpm_linear(*, timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Table:
    """Betas linear in n (Ho et al. 2020, section 4)."""
    return Table(tuple(np.linspace(beta_start, beta_end, timesteps, dtype=np.float64).tolist()))


def ddpm_cosine(*, timesteps: int = 1000, offset: float = 0.008, beta_max: float = 0.999) -> Table:
    """alpha^2 = cos^2 of (n/T + s)/(1 + s) quarter turns, betas clipped (Nichol & Dhariwal 2021, eq. 17)."""
    alpha_bar = np.cos((np.arange(timesteps + 1) / timesteps + offset) / (1 + offset) * np.pi / 2) ** 2
    return Table(tuple(np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], beta_max).tolist()))
