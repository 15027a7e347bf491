"""Weightings w of the denoising error |x0_hat - x0|^2: functions of log-SNR, except `Plain` (Kingma & Gao 2023).

There are two kinds. Most weight the error at the t that training draws, so that the density of t is part of the
objective. Those with `per_log_snr` define the objective as an integral over log-SNR, for which the density of t is
divided out and affects only the variance. These need continuous time, except `VLB`, which on a table of steps is the
exact discrete bound.
"""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffjax.diffusion.fields import not_negative, positive
from diffjax.errors import UserError

LogSNR = Float[Array, "..."]


class Weighting(abc.ABC):
    """w(log_snr). A weighting may have parameters, which are trained together with the network."""

    per_log_snr: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, log_snr: LogSNR) -> LogSNR:
        """The weight w of the squared error in x0."""

    def of_output(self, log_snr: LogSNR, gain: LogSNR) -> LogSNR:
        """The weight of the squared error in the network's output, if the error in x0 is `gain` times as large."""
        return self(log_snr) * gain**2

    def init(self, key: Key[Array, ""]) -> Any:
        """Initial parameters; an empty dictionary for most weightings."""
        return {}

    def balance(self, params: Any, log_snr: LogSNR, losses: LogSNR) -> LogSNR:
        """The objective made of the weighted losses; unchanged for most weightings."""
        return losses


@dataclass(frozen=True)
class Simple(Weighting):
    """w = SNR, the plain error in eps: L_simple (Ho et al. 2020, eq. 14), also called SNR weighting."""

    def __call__(self, log_snr: LogSNR) -> LogSNR:
        return jnp.exp(log_snr)


@dataclass(frozen=True)
class Uniform(Weighting):
    """w = 1: the plain error in x0."""

    def __call__(self, log_snr: LogSNR) -> LogSNR:
        return jnp.ones_like(log_snr)


@dataclass(frozen=True)
class Plain(Weighting):
    """The plain error in the target: in mu~ for table 2 of Ho et al. 2020, in the velocity for flow matching.

    The only weighting that is not a function of log-SNR, because it depends on the target.
    """

    def __call__(self, log_snr: LogSNR) -> LogSNR:
        raise NotImplementedError("the plain error in the output has no weight in x0 of its own")

    def of_output(self, log_snr: LogSNR, gain: LogSNR) -> LogSNR:
        return jnp.ones_like(log_snr)


@dataclass(frozen=True)
class SNRPlusOne(Weighting):
    """w = SNR + 1: the plain error in v, where variance is preserved (Salimans & Ho 2022, section 4)."""

    def __call__(self, log_snr: LogSNR) -> LogSNR:
        return jnp.exp(log_snr) + 1


@dataclass(frozen=True)
class TruncatedSNR(Weighting):
    """w = max(SNR, 1): the larger of the errors in eps and in x0 (Salimans & Ho 2022, section 4)."""

    def __call__(self, log_snr: LogSNR) -> LogSNR:
        return jnp.maximum(jnp.exp(log_snr), 1)


@dataclass(frozen=True)
class MinSNR(Weighting):
    """w = min(SNR, gamma), which limits the weight of almost clean, easy examples (Hang et al. 2023, eq. 8)."""

    gamma: float = 5.0

    def __post_init__(self):
        positive("method.weighting.gamma", self.gamma, "the paper's is 5")

    def __call__(self, log_snr: LogSNR) -> LogSNR:
        return jnp.minimum(jnp.exp(log_snr), self.gamma)


@dataclass(frozen=True)
class P2(Weighting):
    """w = SNR / (k + SNR)^gamma, a lower weight for imperceptible noise (Choi et al. 2022, eq. 8)."""

    k: float = 1.0
    gamma: float = 1.0  # 0 is L_simple

    def __post_init__(self):
        positive("method.weighting.k", self.k, "the paper's is 1")
        not_negative("method.weighting.gamma", self.gamma, "the paper's is 1, and 0 is L_simple")

    def __call__(self, log_snr: LogSNR) -> LogSNR:
        return jnp.exp(log_snr) / (self.k + jnp.exp(log_snr)) ** self.gamma


@dataclass(frozen=True)
class EDM(Weighting):
    """w = SNR + 1 / sigma_data^2 = 1 / c_out^2: the plain error in F (Karras et al. 2022, table 1, lambda(sigma))."""

    sigma_data: float = 0.5  # standard deviation of the data, in model units

    def __post_init__(self):
        positive("method.weighting.sigma_data", self.sigma_data, "it is the standard deviation of the data")

    def __call__(self, log_snr: LogSNR) -> LogSNR:
        return jnp.exp(log_snr) + 1 / self.sigma_data**2


@dataclass(frozen=True)
class FlowMatching(Weighting):
    """w = (1 + sqrt(SNR))^2 = 1 / t^2: the error in a straight flow's velocity (Lipman et al. 2023, eq. 14)."""

    def __call__(self, log_snr: LogSNR) -> LogSNR:
        return (1 + jnp.exp(log_snr / 2)) ** 2


@dataclass(frozen=True)
class VLB(Weighting):
    """w = SNR / 2 per unit of log-SNR: the continuous variational bound in nats (Kingma et al. 2021, eq. 17).

    Equal to likelihood weighting, g(t)^2 / 2 times the error in the score at uniform t (Song et al. 2021b, theorem 1).
    """

    per_log_snr: ClassVar[bool] = True

    def __call__(self, log_snr: LogSNR) -> LogSNR:
        return jnp.exp(log_snr) / 2


@dataclass(frozen=True)
class Sigmoid(Weighting):
    """w = SNR sigmoid(bias - log_snr) / 2 per unit of log-SNR (Kingma & Gao 2023, section 4; Hoogeboom et al. 2024)."""

    bias: float = 0.0  # in units of log-SNR; above it, where noise is imperceptible, the weight falls off

    per_log_snr: ClassVar[bool] = True

    def __call__(self, log_snr: LogSNR) -> LogSNR:
        return jnp.exp(log_snr) * jax.nn.sigmoid(self.bias - log_snr) / 2


@dataclass(frozen=True)
class Uncertainty(Weighting):
    """loss / exp(u) + u with a learned u(log_snr), whose optimum is u = log E[loss] (Karras et al. 2024, eq. 14).

    `loss` is weighted by `weighting`. At the optimum the scaled loss is 1 at every noise level, so that the gradients
    are of similar size. u is linear in random Fourier features of ln(sigma / alpha) / 4, and 0 before training.
    """

    weighting: Weighting = EDM()
    features: int = 128

    def __post_init__(self):
        if self.features < 1:
            raise UserError(f"method.weighting.features: {self.features} must be at least 1")
        if self.weighting.per_log_snr or isinstance(self.weighting, Uncertainty):
            raise UserError(
                "method.weighting.weighting: must weight the loss at each t, not an integral over t; nor be uncertainty"
            )

    def __call__(self, log_snr: LogSNR) -> LogSNR:
        return self.weighting(log_snr)

    def of_output(self, log_snr: LogSNR, gain: LogSNR) -> LogSNR:
        return self.weighting.of_output(log_snr, gain)

    def init(self, key: Key[Array, ""]) -> Any:
        return {"mix": jnp.zeros(self.features)}

    def balance(self, params: Any, log_snr: LogSNR, losses: LogSNR) -> LogSNR:
        frequency, phase = jax.random.normal(jax.random.key(0), (2, self.features)) * jnp.asarray([[1.0], [0.5]])
        clock = jnp.clip(-log_snr / 8, -10, 10)
        features = jnp.sqrt(2.0) * jnp.cos(2 * jnp.pi * (clock[..., None] * frequency + phase))
        u = features @ params["mix"] / jnp.sqrt(self.features)
        return losses * jnp.exp(-u) + u
