"""Times: the density p(t) from which training draws, one t for each example.

A density is defined by its quantile function, which maps u, uniform in (0, 1), to t. How the u of a batch are drawn,
independently or evenly spread, is a separate choice. The density is part of the objective, except where the objective
is itself an integral over t, or where the density only serves importance sampling: there it is divided out.
"""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffjax.diffusion.fields import positive
from diffjax.diffusion.process import Process, Time
from diffjax.errors import UserError

Keys = Key[Array, "b"]
SMALLEST = 2.0**-24  # of u: 1 - 2^-24 is the largest float32 below 1, so that no quantile is infinite


class Times(abc.ABC):
    """A density over t. An adaptive one keeps a history in the train state, from which `bind` makes the density."""

    importance: ClassVar[bool] = False  # whether the objective is that of uniform t, whatever the density

    @abc.abstractmethod
    def quantile(self, u: Float[Array, "b"], process: Process) -> Float[Array, "b"]:
        """The inverse of the cumulative distribution function of t."""

    @abc.abstractmethod
    def density(self, t: Time, process: Process) -> Time:
        """p(t); on a table, T times the probability of the step."""

    def init(self, steps: int) -> Any:
        """The history before training, for a chain of `steps` steps (0: continuous time); empty for most densities."""
        return {}

    def bind(self, history: Any) -> "Times":
        """The density that this history stands for."""
        return self

    def update(self, history: Any, t: Float[Array, "b"], losses: Float[Array, "b"]) -> Any:
        """The history with the losses of a global batch added, from before p(t) is divided out."""
        return history


def independent(keys: Keys) -> Float[Array, "b"]:
    """u in (0, 1), one from each key."""
    return jax.vmap(lambda key: jax.random.uniform(key, minval=SMALLEST, maxval=1 - SMALLEST))(keys)


def evenly_spread(key: Key[Array, ""], share: Float[Array, "b"]) -> Float[Array, "b"]:
    """u = one draw shared by the batch plus each example's `share` i / b, modulo 1 (Kingma et al. 2021, I.1).

    Each u is uniform; together they have low discrepancy, which lowers the variance of a mean over them.
    """
    return jnp.clip((jax.random.uniform(key) + share) % 1.0, SMALLEST, 1 - SMALLEST)


@dataclass(frozen=True)
class Uniform(Times):
    """t uniform in [t_min, 1] (Song et al. 2021, eq. 7), or over a table's T steps (Ho et al. 2020, algorithm 1)."""

    t_min: float = 1e-5  # in continuous time only: SNR is infinite at t = 0

    def __post_init__(self):
        if not 0 <= self.t_min < 1:
            raise UserError(f"method.times.t_min: {self.t_min} must be at least 0 and less than 1")

    def quantile(self, u: Float[Array, "b"], process: Process) -> Float[Array, "b"]:
        if process.steps:
            return step_of(u, process.steps)
        return self.t_min + (1 - self.t_min) * u

    def density(self, t: Time, process: Process) -> Time:
        inside = t > 0 if process.steps else (t >= self.t_min)
        return jnp.where(inside, 1.0 if process.steps else 1 / (1 - self.t_min), 0.0)


@dataclass(frozen=True)
class Discrete(Times):
    """t uniform over 1/n, 2/n .. 1 in continuous time, as in the training of a chain of n steps."""

    steps: int = 1000

    def __post_init__(self):
        if self.steps < 1:
            raise UserError(f"method.times.steps: {self.steps} must be at least 1")

    def init(self, steps: int) -> Any:
        if steps not in (0, self.steps):
            raise UserError(
                f"method.times.steps: {self.steps} must be {steps}, as in the process's table; or use uniform"
            )
        return {}

    def quantile(self, u: Float[Array, "b"], process: Process) -> Float[Array, "b"]:
        return step_of(u, self.steps)

    def density(self, t: Time, process: Process) -> Time:
        return jnp.where(t > 0, 1.0, 0.0)


def step_of(u: Float[Array, "b"], steps: int) -> Float[Array, "b"]:
    """One of 1/n, 2/n .. 1, all equally likely."""
    return (jnp.clip(jnp.floor(u * steps), 0, steps - 1) + 1) / steps


class LogSNRTimes(Times):
    """A density over log-SNR, mapped to t by the process and truncated to the process's range.

    For continuous time; a table takes the nearest step.
    """

    @abc.abstractmethod
    def log_snr(self, u: Float[Array, "b"]) -> Float[Array, "b"]:
        """The log-SNR above which a share u of the draws lies: the quantile function of -log_snr, negated."""

    @abc.abstractmethod
    def share(self, log_snr: Time) -> Time:
        """The share of all draws above this log-SNR: the inverse of `log_snr`."""

    @abc.abstractmethod
    def log_snr_density(self, log_snr: Time) -> Time:
        """p(log_snr)."""

    def quantile(self, u: Float[Array, "b"], process: Process) -> Float[Array, "b"]:
        first, last = self._within(process)
        return jnp.clip(process.time_of(self.log_snr(first + (last - first) * u)), 0.0, 1.0)

    def density(self, t: Time, process: Process) -> Time:
        first, last = self._within(process)
        return self.log_snr_density(process.log_snr(t)) * -process.rate(process.log_snr, t) / (last - first)

    def _within(self, process: Process) -> tuple[Time, Time]:
        """The shares of draws above the process's highest and above its lowest log-SNR."""
        ends = self.share(process.log_snr(jnp.asarray([process.start, 1.0])))
        return ends[0], ends[1]


@dataclass(frozen=True)
class LogNormal(LogSNRTimes):
    """ln(sigma / alpha) ~ N(mean, std^2) (Karras et al. 2022, table 1)."""

    mean: float = -1.2  # of ln(sigma / alpha)
    std: float = 1.2

    def __post_init__(self):
        positive("method.times.std", self.std, "the paper's is 1.2")

    def log_snr(self, u: Float[Array, "b"]) -> Float[Array, "b"]:
        return -2 * (self.mean + self.std * jax.scipy.special.ndtri(u))

    def share(self, log_snr: Time) -> Time:
        return jax.scipy.special.ndtr((-log_snr / 2 - self.mean) / self.std)

    def log_snr_density(self, log_snr: Time) -> Time:
        return jax.scipy.stats.norm.pdf(-log_snr / 2, self.mean, self.std) / 2


@dataclass(frozen=True)
class Cosine(LogSNRTimes):
    """log_snr = -2 log tan(pi u / 2), as for uniform t under the cosine schedule (Nichol & Dhariwal 2021).

    On a straight flow this is the "CosMap" of Esser et al. 2024 (section 3.1).
    """

    def log_snr(self, u: Float[Array, "b"]) -> Float[Array, "b"]:
        return -2 * jnp.log(jnp.tan(jnp.pi * u / 2))

    def share(self, log_snr: Time) -> Time:
        return 2 / jnp.pi * jnp.arctan(jnp.exp(-log_snr / 2))

    def log_snr_density(self, log_snr: Time) -> Time:
        return 1 / (2 * jnp.pi * jnp.cosh(log_snr / 2))


@dataclass(frozen=True)
class LogitNormal(Times):
    """logit(t) ~ N(mean, std^2), which favours the middle of the process (Esser et al. 2024, eq. 19)."""

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self):
        positive("method.times.std", self.std, "the paper's is 1")

    def init(self, steps: int) -> Any:
        if steps:
            raise UserError("method.times: logit_normal needs continuous time; this process is a table of steps")
        return {}

    def quantile(self, u: Float[Array, "b"], process: Process) -> Float[Array, "b"]:
        return jax.nn.sigmoid(self.mean + self.std * jax.scipy.special.ndtri(u))

    def density(self, t: Time, process: Process) -> Time:
        logit = jnp.log(t) - jnp.log1p(-t)
        return jax.scipy.stats.norm.pdf(logit, self.mean, self.std) / (t * (1 - t))


@dataclass(frozen=True)
class LossSecondMoment:
    """Importance sampling of a table's steps, p_n ~ sqrt(E[L_n^2]) (Nichol & Dhariwal 2021, eq. 18).

    The expectation is over the last `history` losses of each step; sampling is uniform until every step has as many.
    """

    history: int = 10  # losses kept for each step
    uniform: float = 0.001  # share of draws that stay uniform, so that every step keeps being drawn

    def __post_init__(self):
        if self.history < 1:
            raise UserError(f"method.times.history: {self.history} must be at least 1")
        if not 0 < self.uniform <= 1:
            raise UserError(f"method.times.uniform: {self.uniform} must be above 0 and at most 1")

    def init(self, steps: int) -> Any:
        if not steps:
            raise UserError("method.times: loss_second_moment needs a table of steps; this process is continuous")
        return {"losses": jnp.zeros((steps, self.history)), "count": jnp.zeros(steps, jnp.int32)}

    def bind(self, history: Any) -> Times:
        moment = jnp.sqrt(jnp.mean(history["losses"] ** 2, axis=1))
        probs = (1 - self.uniform) * moment / jnp.sum(moment) + self.uniform / len(moment)
        is_full = jnp.all(history["count"] >= self.history)
        return Weighted(jnp.where(is_full, probs, 1 / len(moment)))

    def update(self, history: Any, t: Float[Array, "b"], losses: Float[Array, "b"]) -> Any:
        """Replaces the oldest losses of each drawn step, in the order of the batch."""
        steps, length = history["losses"].shape
        index = jnp.round(t * steps).astype(jnp.int32) - 1
        same_step = index[:, None] == index[None, :]
        rank = jnp.sum(jnp.tril(same_step, -1), axis=1)  # earlier draws of the same step in this batch
        is_recent = rank >= jnp.sum(same_step, axis=1) - length  # of more draws than slots, the last ones win
        slot = (history["count"][index] + rank) % length
        position = (jnp.where(is_recent, index, steps), slot)  # out of bounds: dropped
        updated = history["losses"].at[position].set(losses.astype(history["losses"].dtype), mode="drop")
        return {"losses": updated, "count": history["count"].at[index].add(1)}


@dataclass(frozen=True)
class Weighted(Times):
    """The steps of a table, drawn with given probabilities [T]."""

    share: Float[Array, "steps"]

    importance: ClassVar[bool] = True

    def quantile(self, u: Float[Array, "b"], process: Process) -> Float[Array, "b"]:
        n = jnp.searchsorted(jnp.cumsum(self.share), u * jnp.sum(self.share), side="right")
        return (jnp.minimum(n, process.steps - 1) + 1) / process.steps

    def density(self, t: Time, process: Process) -> Time:
        n = jnp.clip(jnp.round(t * process.steps).astype(jnp.int32) - 1, 0, process.steps - 1)
        return process.steps * self.share[n]
