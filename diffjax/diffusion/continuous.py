"""Processes in continuous time, each in the closed form of its paper."""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from diffjax.diffusion.fields import positive
from diffjax.diffusion.process import Process, Time
from diffjax.errors import UserError


@dataclass(frozen=True)
class VPLinear(Process):
    """Variance preserving, beta(t) linear: log alpha = -t^2 (b1 - b0) / 4 - t b0 / 2 (Song et al. 2021, eq. 33)."""

    beta_min: float = 0.1  # b0, per unit of time: 1000 times DDPM's beta_1
    beta_max: float = 20.0  # b1, per unit of time: 1000 times DDPM's beta_T

    def __post_init__(self):
        positive("method.process.beta_min", self.beta_min, "the paper's is 0.1")
        positive("method.process.beta_max", self.beta_max, "the paper's is 20")

    def alpha(self, t: Time) -> Time:
        return jnp.exp(-0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min)

    def sigma(self, t: Time) -> Time:
        return jnp.sqrt(-jnp.expm1(-0.5 * t**2 * (self.beta_max - self.beta_min) - t * self.beta_min))

    def time_of(self, log_snr: Time) -> Time:
        return self._time_at(jax.nn.softplus(-log_snr))

    def _time_at(self, integral: Time) -> Time:
        """The t up to which beta integrates to `integral` = -2 log alpha."""
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + jnp.sqrt(self.beta_min**2 + 2 * slope * integral))


@dataclass(frozen=True)
class SubVP(VPLinear):
    """Linear betas, sigma = 1 - alpha^2: less noise than VP at every t (Song et al. 2021, eq. 29)."""

    def sigma(self, t: Time) -> Time:
        return super().sigma(t) ** 2

    def time_of(self, log_snr: Time) -> Time:
        # sqrt(SNR) = alpha / (1 - alpha^2) = 1 / (2 sinh(-log alpha))
        return self._time_at(2 * jnp.arcsinh(0.5 * jnp.exp(-0.5 * log_snr)))


@dataclass(frozen=True)
class VPCosine(Process):
    """Variance preserving, alpha = cos of an angle linear in t (Nichol & Dhariwal 2021, eq. 17, in continuous time).

    The angle stops short of 90 degrees, where log-SNR reaches `log_snr_min`, so that eps still determines x0 at t = 1.
    """

    log_snr_min: float = -15.0

    def __post_init__(self):
        if not -30 <= self.log_snr_min < math.inf:  # below -35, float32 rounds the last angle to above 90 degrees
            raise UserError(f"method.process.log_snr_min: {self.log_snr_min} must be at least -30, and finite")

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

    def __post_init__(self):
        positive("method.process.sigma_max", self.sigma_max, "the paper's is 80")

    def alpha(self, t: Time) -> Time:
        return jnp.ones_like(t)

    def sigma(self, t: Time) -> Time:
        return self.sigma_max * t

    def time_of(self, log_snr: Time) -> Time:
        return jnp.exp(-0.5 * log_snr) / self.sigma_max


@dataclass(frozen=True)
class VE(Process):
    """Variance exploding: alpha = 1 and sigma geometric in t, for t > 0 (Song et al. 2021, eq. 30-31 and appendix C).

    sigma is 0 at t = 0 and jumps to sigma_min right after it: the discontinuity is the paper's own. No noise level
    below sigma_min has a time but that of sigma_min, `start`.
    """

    start: ClassVar[float] = 1e-6
    sigma_min: float = 0.01  # in model units; the paper's data lie in [0, 1]
    sigma_max: float = 50.0

    def __post_init__(self):
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise UserError(
                f"method.process.sigma_min: {self.sigma_min} must be above 0 and below sigma_max={self.sigma_max}"
            )

    def alpha(self, t: Time) -> Time:
        return jnp.ones_like(t)

    def sigma(self, t: Time) -> Time:
        return jnp.where(t > 0, self.sigma_min * (self.sigma_max / self.sigma_min) ** t, 0.0)

    def log_snr(self, t: Time) -> Time:
        # In closed form, because the derivative of log(sigma) would be 0/0 at t = 0.
        value = -2 * (math.log(self.sigma_min) + t * math.log(self.sigma_max / self.sigma_min))
        return jnp.where(t > 0, value, jnp.inf)

    def time_of(self, log_snr: Time) -> Time:
        t = (-0.5 * log_snr - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)
        return jnp.maximum(t, self.start)


@dataclass(frozen=True)
class Flow(Process):
    """The straight line from data to noise: alpha = 1 - t, sigma = t (Liu et al. 2023, eq. 1; Lipman et al. 2023).

    Rectified flow, and flow matching's optimal-transport path with sigma_min = 0. alpha = 0 at t = 1.
    """

    def alpha(self, t: Time) -> Time:
        return 1 - t

    def sigma(self, t: Time) -> Time:
        return t

    def time_of(self, log_snr: Time) -> Time:
        return jax.nn.sigmoid(-0.5 * log_snr)
