"""Times: the density p(t) from which training draws, one t for each example.

A density is known by its quantile function, which turns u, uniform in (0, 1), into t: how the u of a batch are drawn,
each on its own or evenly spread, is another matter. The density is part of the objective, unless an objective is an
integral over t of its own, or the times are a mere importance sampling: then it is divided out.
"""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffjax.diffusion.process import Process, Time
from diffjax.errors import UserError

Keys = Key[Array, "b"]
SMALLEST = 2.0**-24  # of u: half a step of float32 below 1, so that no quantile is infinite


class Times(abc.ABC):
    """A density over t. Those that adapt keep a history in the state; `bind` gives the density it stands for."""

    importance: ClassVar[bool] = False  # whether the objective is meant at uniform t, whatever is drawn

    @abc.abstractmethod
    def quantile(self, u: Float[Array, "b"], process: Process) -> Float[Array, "b"]:
        """The t below which lies the share u of all draws."""

    @abc.abstractmethod
    def density(self, t: Time, process: Process) -> Time:
        """p(t); for a table, the probability of each step times T."""

    def init(self, steps: int) -> Any:
        """The history before the first step, for a chain of so many steps (0: continuous time); none for most."""
        return {}

    def bind(self, history: Any) -> "Times":
        """The times as this history makes them."""
        return self

    def update(self, history: Any, t: Float[Array, "b"], losses: Float[Array, "b"]) -> Any:
        """The history after the global batch's losses, as they were before p(t) was divided out."""
        return history


def independent(keys: Keys) -> Float[Array, "b"]:
    """u in (0, 1), each from its own key."""
    return jax.vmap(lambda key: jax.random.uniform(key, minval=SMALLEST, maxval=1 - SMALLEST))(keys)


def evenly_spread(key: Key[Array, ""], share: Float[Array, "b"]) -> Float[Array, "b"]:
    """u = one draw shared by the batch, plus each example's `share` i / b of the way round (Kingma et al. 2021, I.1).

    Each u is uniform by itself; together they are low-discrepancy, and a mean over them has less variance.
    """
    return jnp.clip((jax.random.uniform(key) + share) % 1.0, SMALLEST, 1 - SMALLEST)


@dataclass(frozen=True)
class Uniform(Times):
    """t uniform in [t_min, 1] (Song et al. 2021, eq. 7), or over the T steps of a table (Ho et al. 2020, alg. 1)."""

    t_min: float = 1e-5  # a fraction of the process, for continuous time only: SNR is infinite at t = 0

    def quantile(self, u: Float[Array, "b"], process: Process) -> Float[Array, "b"]:
        if process.steps:
            return step_of(u, process.steps)
        return self.t_min + (1 - self.t_min) * u

    def density(self, t: Time, process: Process) -> Time:
        inside = t > 0 if process.steps else (t >= self.t_min)
        return jnp.where(inside, 1.0 if process.steps else 1 / (1 - self.t_min), 0.0)


@dataclass(frozen=True)
class Discrete(Times):
    """t uniform over 1/n, 2/n .. 1, in continuous time: as a chain of n steps is trained."""

    steps: int = 1000

    def __post_init__(self):
        if self.steps < 1:
            raise UserError(f"method.times.steps: {self.steps} is not a number of steps; at least 1")

    def init(self, steps: int) -> Any:
        if steps not in (0, self.steps):
            raise UserError(f"method.times.steps: {self.steps} is not the {steps} of the process's table; take uniform")
        return {}

    def quantile(self, u: Float[Array, "b"], process: Process) -> Float[Array, "b"]:
        return step_of(u, self.steps)

    def density(self, t: Time, process: Process) -> Time:
        return jnp.where(t > 0, 1.0, 0.0)


def step_of(u: Float[Array, "b"], steps: int) -> Float[Array, "b"]:
    """One of 1/n, 2/n .. 1, all equally likely."""
    return (jnp.clip(jnp.floor(u * steps), 0, steps - 1) + 1) / steps


class LogSNRTimes(Times):
    """A density over log-SNR, carried to t by the process and cut off at the process's two ends.

    In continuous time; on a table the nearest step is taken.
    """

    @abc.abstractmethod
    def log_snr(self, u: Float[Array, "b"]) -> Float[Array, "b"]:
        """The log-SNR above which lies the share u of all draws."""

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
        """The shares above the process's highest log-SNR and above its lowest."""
        ends = self.share(process.log_snr(jnp.asarray([0.0, 1.0])))
        return ends[0], ends[1]


@dataclass(frozen=True)
class LogNormal(LogSNRTimes):
    """ln(sigma / alpha) ~ N(mean, std^2) (Karras et al. 2022, table 1)."""

    mean: float = -1.2  # of ln(sigma / alpha)
    std: float = 1.2

    def log_snr(self, u: Float[Array, "b"]) -> Float[Array, "b"]:
        return -2 * (self.mean + self.std * jax.scipy.special.ndtri(u))

    def share(self, log_snr: Time) -> Time:
        return jax.scipy.special.ndtr((-log_snr / 2 - self.mean) / self.std)

    def log_snr_density(self, log_snr: Time) -> Time:
        return jax.scipy.stats.norm.pdf(-log_snr / 2, self.mean, self.std) / 2


@dataclass(frozen=True)
class Cosine(LogSNRTimes):
    """log_snr = -2 log tan(pi u / 2), as uniform t under the cosine schedule (Nichol & Dhariwal 2021).

    On a straight flow it is the "CosMap" of Esser et al. 2024 (section 3.1).
    """

    def log_snr(self, u: Float[Array, "b"]) -> Float[Array, "b"]:
        return -2 * jnp.log(jnp.tan(jnp.pi * u / 2))

    def share(self, log_snr: Time) -> Time:
        return 2 / jnp.pi * jnp.arctan(jnp.exp(-log_snr / 2))

    def log_snr_density(self, log_snr: Time) -> Time:
        return 1 / (2 * jnp.pi * jnp.cosh(log_snr / 2))


@dataclass(frozen=True)
class LogitNormal(Times):
    """logit(t) ~ N(mean, std^2): the middle of the process more often than its ends (Esser et al. 2024, eq. 19)."""

    mean: float = 0.0
    std: float = 1.0

    def init(self, steps: int) -> Any:
        if steps:
            raise UserError("method.times: logit_normal is a density in continuous time; this process is a table")
        return {}

    def quantile(self, u: Float[Array, "b"], process: Process) -> Float[Array, "b"]:
        return jax.nn.sigmoid(self.mean + self.std * jax.scipy.special.ndtri(u))

    def density(self, t: Time, process: Process) -> Time:
        logit = jnp.log(t) - jnp.log1p(-t)
        return jax.scipy.stats.norm.pdf(logit, self.mean, self.std) / (t * (1 - t))


@dataclass(frozen=True)
class LossSecondMoment:
    """Importance sampling of a table's steps: p_n ~ sqrt(E[L_n^2]) of late (Nichol & Dhariwal 2021, eq. 18).

    Uniform until every step has a full history.
    """

    history: int = 10  # losses remembered for each step
    uniform: float = 0.001  # share of draws that stay uniform, so that no step is forgotten

    def __post_init__(self):
        if self.history < 1:
            raise UserError(f"method.times.history: {self.history} remembers nothing; at least 1")
        if not 0 < self.uniform <= 1:
            raise UserError(f"method.times.uniform: {self.uniform} must be above 0 and at most 1")

    def init(self, steps: int) -> Any:
        if not steps:
            raise UserError("method.times: loss_second_moment remembers the steps of a table; this process has none")
        return {"losses": jnp.zeros((steps, self.history)), "count": jnp.zeros(steps, jnp.int32)}

    def bind(self, history: Any) -> Times:
        moment = jnp.sqrt(jnp.mean(history["losses"] ** 2, axis=1))
        share = (1 - self.uniform) * moment / jnp.sum(moment) + self.uniform / len(moment)
        full = jnp.all(history["count"] >= self.history)
        return Weighted(jnp.where(full, share, 1 / len(moment)))

    def update(self, history: Any, t: Float[Array, "b"], losses: Float[Array, "b"]) -> Any:
        """Each loss takes the place of its step's oldest one, in the order of the batch."""
        total, length = history["losses"].shape
        step = jnp.round(t * total).astype(jnp.int32) - 1
        same = step[:, None] == step[None, :]
        earlier = jnp.sum(jnp.tril(same, -1), axis=1)  # draws of the same step before this one in the batch
        kept = earlier >= jnp.sum(same, axis=1) - length  # more than fit: the last ones stay
        slot = (history["count"][step] + earlier) % length
        places = (jnp.where(kept, step, total), slot)  # beyond the end: dropped
        new = history["losses"].at[places].set(losses.astype(history["losses"].dtype), mode="drop")
        return {"losses": new, "count": history["count"].at[step].add(1)}


@dataclass(frozen=True)
class Weighted(Times):
    """The steps of a table with given probabilities [T]."""

    share: Float[Array, "steps"]

    importance: ClassVar[bool] = True

    def quantile(self, u: Float[Array, "b"], process: Process) -> Float[Array, "b"]:
        n = jnp.searchsorted(jnp.cumsum(self.share), u * jnp.sum(self.share), side="right")
        return (jnp.minimum(n, process.steps - 1) + 1) / process.steps

    def density(self, t: Time, process: Process) -> Time:
        n = jnp.clip(jnp.round(t * process.steps).astype(jnp.int32) - 1, 0, process.steps - 1)
        return process.steps * self.share[n]
