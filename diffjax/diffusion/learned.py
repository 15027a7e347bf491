"""Processes whose schedule is learned together with the network.

A config chooses a description with hyper-parameters. `bind(params)` turns it into an ordinary `Process`, inside the
training step, so that gradients reach the parameters; `init(key)` makes the initial ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from diffjax.diffusion.fields import fraction
from diffjax.diffusion.process import Process, Time
from diffjax.diffusion.table import look_up
from diffjax.errors import UserError


@dataclass(frozen=True)
class LearnedLogSNR:
    """Variance preserving, log_snr = -gamma(t) with gamma learned and increasing (Kingma et al. 2021, appendix H).

    gamma is a monotone network, l_1(t) + l_3(sigmoid(l_2(l_1(t)))) with positive weights, rescaled to run between two
    learned scalars. `width` = 0 leaves out the network: gamma is a line between them.
    """

    log_snr_max: float = 13.3  # at t = 0, before training (the paper's CIFAR-10: gamma_0 = -13.3)
    log_snr_min: float = -5.0  # at t = 1, before training (gamma_1 = 5)
    width: int = 1024  # hidden units of the monotone network; 0: linear in t

    steps: ClassVar[int] = 0
    # Parameters of gamma between its ends. The bound does not depend on them; they are trained to lower the variance of
    # its estimate.
    inner: ClassVar[tuple[str, ...]] = ("slopes", "offsets", "mix", "line")

    def __post_init__(self):
        if self.log_snr_max <= self.log_snr_min:
            raise UserError(
                f"method.process.log_snr_max: {self.log_snr_max} must be above log_snr_min={self.log_snr_min}"
            )
        if self.width < 0:
            raise UserError(f"method.process.width: {self.width} must be at least 0; 0 means linear in t")

    def init(self, key):
        ends = {"gamma_0": jnp.asarray(-self.log_snr_max), "gamma_1": jnp.asarray(-self.log_snr_min)}
        if not self.width:
            return ends
        slopes, offsets, mix = (jax.random.normal(k, (self.width,)) for k in jax.random.split(key, 3))
        return ends | {"slopes": slopes, "offsets": offsets, "mix": mix, "line": jnp.ones(())}

    def bind(self, params):
        return MonotoneLogSNR(params)


@dataclass(frozen=True)
class MonotoneLogSNR(Process):
    """`LearnedLogSNR` with given parameters."""

    params: dict[str, Array]

    def _shape(self, t: Time) -> Time:
        """Increasing from 0 at t = 0 to 1 at t = 1."""
        if "mix" not in self.params:
            return t
        weights = jax.tree.map(jnp.abs, {name: self.params[name] for name in ("slopes", "mix", "line")})

        def monotone(t):
            hidden = jax.nn.sigmoid(weights["slopes"] * t[..., None] + self.params["offsets"])
            return weights["line"] * t + hidden @ weights["mix"] / len(weights["mix"])

        low, high = monotone(jnp.asarray([0.0, 1.0]))
        return (monotone(jnp.asarray(t)) - low) / (high - low)

    def log_snr(self, t: Time) -> Time:
        low, high = self.params["gamma_0"], self.params["gamma_1"]
        return -(low + (high - low) * self._shape(t))

    def alpha(self, t: Time) -> Time:
        return jnp.sqrt(jax.nn.sigmoid(self.log_snr(t)))

    def sigma(self, t: Time) -> Time:
        return jnp.sqrt(jax.nn.sigmoid(-self.log_snr(t)))

    def time_of(self, log_snr: Time) -> Time:
        """By bisection to the last bit; 0 or 1 where log-SNR is out of range."""

        def halve(_, ends):
            low, high = ends
            middle = (low + high) / 2
            is_early = self.log_snr(middle) > log_snr
            return jnp.where(is_early, middle, low), jnp.where(is_early, high, middle)

        ends = (jnp.zeros_like(log_snr), jnp.ones_like(log_snr))
        return lax.fori_loop(0, jnp.finfo(log_snr.dtype).nmant + 2, halve, ends)[1]


@dataclass(frozen=True)
class LearnedTable:
    """A chain of T steps whose betas are learned, except the first (Sohl-Dickstein et al. 2015, section 2.4.1).

    Before training, log-SNR falls linearly from that of the first step, so that all steps remove a similar amount.
    """

    timesteps: int = 40  # as for the paper's swiss roll
    beta_first: float = 1e-3  # fixed to avoid overfitting, as in the paper, which gives no value
    log_snr_min: float = -7.0  # at t = 1, before training

    def __post_init__(self):
        if self.timesteps < 2:
            raise UserError(
                f"method.process.timesteps: {self.timesteps} must be at least 2; the first beta is not learned"
            )
        fraction("method.process.beta_first", self.beta_first)
        if self.log_snr_min >= self._log_snr_first:
            raise UserError(
                f"method.process.log_snr_min: {self.log_snr_min} must be below {self._log_snr_first:.4g}, the"
                f" log-SNR of the first step, for beta_first={self.beta_first}"
            )

    @property
    def steps(self) -> int:
        return self.timesteps

    @property
    def _log_snr_first(self) -> float:
        return math.log1p(-self.beta_first) - math.log(self.beta_first)

    def init(self, key):
        log_snr = jnp.linspace(self._log_snr_first, self.log_snr_min, self.timesteps)
        log_alpha_bar = -jax.nn.softplus(-log_snr)
        # The inverse of softplus: -log(1 - sigmoid(x)) = softplus(x) = y gives x = log(e^y - 1).
        return {"logits": jnp.log(jnp.expm1(log_alpha_bar[:-1] - log_alpha_bar[1:]))}

    def bind(self, params):
        return LearnedChain(self.beta_first, params)


@dataclass(frozen=True)
class LearnedChain(Process):
    """`LearnedTable` with given parameters."""

    beta_first: float
    params: dict[str, Array]

    @property
    def steps(self) -> int:
        return len(self.params["logits"]) + 1

    @property  # not cached: a tracer made inside a scan must not leak out of it
    def _log_alpha_bar(self):
        # log(1 - sigmoid(x)) = -softplus(x)
        log_alphas = jnp.concatenate(
            [jnp.log1p(-jnp.asarray([self.beta_first])), -jax.nn.softplus(self.params["logits"])]
        )
        return jnp.concatenate([jnp.zeros(1), jnp.cumsum(log_alphas)])

    def alpha(self, t: Time) -> Time:
        return jnp.exp(0.5 * look_up(self._log_alpha_bar, t))

    def sigma(self, t: Time) -> Time:
        return jnp.sqrt(-jnp.expm1(look_up(self._log_alpha_bar, t)))

    def time_of(self, log_snr: Time) -> Time:
        """The nearest step in log-SNR; never 0."""
        steps = jnp.arange(1, self.steps + 1) / self.steps
        return (jnp.argmin(jnp.abs(log_snr[..., None] - self.log_snr(steps)), axis=-1) + 1.0) / self.steps


def mean_loss(
    losses: Callable[[Any], tuple[Float[Array, "b"], Any]], variables: Any, inner: set[str]
) -> tuple[Float[Array, ""], Any]:
    """The mean of `losses(variables) -> (L [b], aux)`, and aux; `inner` parameters of "process" lower its variance.

    The schedule between its ends does not change E[L]. Its parameters therefore get the gradient of the variance of L,
    which is that of E[L^2]; all others get that of E[L] (Kingma et al. 2021, appendix I.2).
    """

    def without_gradient(inside: bool) -> Any:
        """The variables with no gradient to the inner parameters; or if not `inside`, to all others."""

        def stop(path, x):
            names = [getattr(key, "key", "") for key in path]
            is_inner = "process" in names and names[-1] in inner
            return lax.stop_gradient(x) if is_inner == inside else x

        return jax.tree_util.tree_map_with_path(stop, variables)

    if not inner:
        values, aux = losses(variables)
        return jnp.mean(values), aux
    values, aux = losses(without_gradient(inside=True))
    mean, second_moment = jnp.mean(values), jnp.mean(losses(without_gradient(inside=False))[0] ** 2)
    return mean + (second_moment - lax.stop_gradient(second_moment)), aux  # the difference is 0, but has a gradient
