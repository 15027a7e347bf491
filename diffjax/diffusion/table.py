"""Forward processes that are chains of T steps, given by a table of betas."""

from dataclasses import dataclass, field
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffjax.diffusion.fields import fraction, not_negative, positive
from diffjax.diffusion.process import Process, Time
from diffjax.errors import UserError


class Chain(Process):
    """A chain of T steps with betas: alpha(n/T)^2 = prod_{i <= n} (1 - beta_i), alpha(0) = 1 (Ho et al. 2020).

    Defined only on its steps, not by sampling a continuous process: t is rounded to the nearest of 0, 1/T, 2/T .. 1.
    """

    betas: tuple[float, ...]

    @property
    def steps(self) -> int:
        return len(self.betas)

    @cached_property
    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """alpha and sigma at n = 0 .. T, computed in float64: 1 - prod(1 - beta) cancels badly in float32."""
        log_alpha_bar = np.concatenate([[0.0], np.cumsum(np.log1p(-np.asarray(self.betas, np.float64)))])
        return np.exp(0.5 * log_alpha_bar), np.sqrt(-np.expm1(log_alpha_bar))

    def alpha(self, t: Time) -> Time:
        return look_up(self._tables[0], t)

    def sigma(self, t: Time) -> Time:
        return look_up(self._tables[1], t)

    def time_of(self, log_snr: Time) -> Time:
        """The nearest step in log-SNR; never 0, where log-SNR is infinite."""
        alpha, sigma = self._tables
        levels = jnp.asarray(2 * (np.log(alpha[1:]) - np.log(sigma[1:])), jnp.result_type(float))
        return (jnp.argmin(jnp.abs(log_snr[..., None] - levels), axis=-1) + 1.0) / self.steps


@dataclass(frozen=True)
class Table(Chain):
    """A chain with given betas, in order: the share of variance that each step replaces by noise."""

    betas: tuple[float, ...] = field(repr=False)


@dataclass(frozen=True)
class VPSteps(Chain):
    """A VP process with linear betas at evenly spaced times from t_min to 1 (Xiao et al. 2021, appendix B.1).

    beta_n = 1 - alpha^2(t_n) / alpha^2(t_{n-1}), t_n = t_min + (1 - t_min) n / T: every T has the same total noise.
    """

    timesteps: int = 4  # T
    beta_min: float = 0.1  # per unit of time, as in `VPLinear`
    beta_max: float = 20.0
    t_min: float = 1e-3

    def __post_init__(self):
        _check(self.timesteps)
        positive("method.process.beta_min", self.beta_min, "the paper's is 0.1")
        positive("method.process.beta_max", self.beta_max, "the paper's is 20")
        if not 0 <= self.t_min < 1:
            raise UserError(f"method.process.t_min: {self.t_min} must be at least 0 and less than 1")

    @cached_property
    def betas(self) -> tuple[float, ...]:
        t = self.t_min + (1 - self.t_min) * np.arange(self.timesteps + 1) / self.timesteps
        log_alpha_bar = -0.5 * t**2 * (self.beta_max - self.beta_min) - t * self.beta_min
        return tuple((-np.expm1(np.diff(log_alpha_bar))).tolist())


def look_up(values: np.ndarray | Array, t: Time) -> Time:
    """The entry of `values` [T + 1] at the step nearest to t."""
    steps = len(values) - 1
    return jnp.asarray(values, jnp.result_type(float))[jnp.clip(jnp.round(t * steps), 0, steps).astype(jnp.int32)]


def ddpm_linear(*, timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Table:
    """Betas linear in n (Ho et al. 2020, section 4). For other T, Improved DDPM scales both ends by 1000 / T."""
    _check(timesteps)
    fraction("method.process.beta_start", beta_start)
    fraction("method.process.beta_end", beta_end)
    return Table(tuple(np.linspace(beta_start, beta_end, timesteps, dtype=np.float64).tolist()))


def ddpm_cosine(*, timesteps: int = 1000, offset: float = 0.008, beta_max: float = 0.999) -> Table:
    """alpha^2 = cos^2((n/T + s) / (1 + s) pi/2), s = `offset`, with clipped betas (Nichol & Dhariwal 2021, eq. 17)."""
    _check(timesteps)
    not_negative("method.process.offset", offset, "the paper's is 0.008")
    fraction("method.process.beta_max", beta_max)
    alpha_bar = np.cos((np.arange(timesteps + 1) / timesteps + offset) / (1 + offset) * np.pi / 2) ** 2
    return Table(tuple(np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], beta_max).tolist()))


def table(*, betas: tuple[float, ...] = (0.02, 0.1, 0.3, 0.6, 0.9)) -> Table:
    """A chain with given betas, in order, each in (0, 1): the share of variance that each step replaces by noise."""
    invalid = [beta for beta in betas if not 0 < beta < 1]
    if invalid or not betas:
        raise UserError(
            f"method.process.betas: {invalid[0] if invalid else betas} must lie between 0 and 1, for at least 1 step"
        )
    return Table(tuple(betas))


def _check(timesteps: int) -> None:
    if timesteps < 1:
        raise UserError(f"method.process.timesteps: {timesteps} must be at least 1")
