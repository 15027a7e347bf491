"""Averages of a network's weights over training, from which samples are drawn; and averages of any width afterwards.

Time is counted in images. An average weights the parameters theta(tau) of a run up to time t by a profile p(tau). It is
updated by a recursion with a `decay` that depends on the profile:

    average(t) = decay(t) average(t - batch) + (1 - decay(t)) theta(t)

A network may be averaged with several profiles at once. The average of the first profile is stored under the network's
name and is the one to draw from; the others are stored under "network@profile".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.errors import UserError
from diffjax.parallel import Tree
from diffjax.ramp import cosine_ramp

Recursion = Callable[[jax.Array, jax.Array], jax.Array]  # (old average, parameters) -> new average, of one array
WIDEST = 12**-0.5  # sigma_rel of gamma = 0, the plain mean over the run; wider profiles would favour its beginning


@dataclass(frozen=True)
class HalfLife:
    """Exponential moving average whose half-life is counted in images (Karras et al. 2022, `ema_halflife_kimg`).

    The half-life is at most `ramp` times the images seen, so that the average forgets the initial weights.
    """

    images: float = 500_000.0  # half-life in images; 0: no average
    ramp: float = 0.05  # longest half-life as a fraction of the images seen; 0: no limit
    warmup: float = 0.0  # images over which the half-life rises from 0 along half a cosine (R3GAN); 0: no warm-up

    profiles: ClassVar = ("",)

    def __post_init__(self):
        for field in ("images", "ramp", "warmup"):
            if not getattr(self, field) >= 0:
                raise UserError(f"ema.{field}: {getattr(self, field)} must be 0 (off) or positive")

    def decay(self, images_seen: jax.Array, batch_size: int) -> jax.Array:
        """The weight of the old average in one step, a scalar in [0, 1)."""
        half_life = cosine_ramp(images_seen, 0.0, self.images, self.warmup) if self.warmup else self.images
        half_life = jnp.minimum(half_life, self.ramp * images_seen) if self.ramp else jnp.asarray(half_life)
        return jnp.where(half_life > 0, 0.5 ** (batch_size / jnp.maximum(half_life, 1e-8)), 0.0)

    def recursions(self, images_seen: jax.Array, batch_size: int) -> dict[str, Recursion]:
        """The recursion of each profile; there is only one."""
        decay = self.decay(images_seen, batch_size)
        return {"": lambda old, new: new + decay.astype(new.dtype) * (old - new)}

    def snapshot_due(self, step: int, batch_size: int, last: bool) -> bool:
        """Never: averages of other half-lives cannot be reconstructed from exponential ones."""
        return False


@dataclass(frozen=True)
class Power:
    """Averages with power-function profiles, p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1) on [0, t].

    The relative width sigma_rel, the standard deviation of the profile as a fraction of t, is constant during the run,
    and the first step already forgets the initial weights. From snapshots of two such averages, one of any other width
    can be reconstructed after the run (Karras et al. 2024, "EDM2", section 3.1 and appendix C).
    """

    sigma_rel: tuple = (0.05, 0.10)  # widths of the averages (EDM2's two); samples use the first
    snapshot_every: float = 1e6  # images between snapshots, rounded up to whole steps; 0: only one, at the end

    def __post_init__(self):
        for width in self.sigma_rel:
            if not 0 < width <= WIDEST:
                raise UserError(f"ema.sigma_rel: {width} must be above 0 and at most 0.2886, the widest power function")
        if not self.sigma_rel or len({f"{width:g}" for width in self.sigma_rel}) != len(self.sigma_rel):
            raise UserError(f"ema.sigma_rel: {self.sigma_rel} must be one or more different widths")
        if not self.snapshot_every >= 0:
            raise UserError(f"ema.snapshot_every: {self.snapshot_every} must be a number of images, 0 or more")

    @property
    def profiles(self) -> tuple[str, ...]:
        return ("", *(f"{width:g}" for width in self.sigma_rel[1:]))

    def recursions(self, images_seen: jax.Array, batch_size: int) -> dict[str, Recursion]:
        """The recursion of each profile, with decay beta = (1 - batch / t)^(gamma + 1), 0 in the first step."""
        # By 1 - beta and in logarithms: late in a run, float32 would round both beta and 1 - batch / t badly.
        log = jnp.log1p(-batch_size / images_seen)
        shares = [-jnp.expm1((gamma_of(width) + 1) * log) for width in self.sigma_rel]  # 1 - beta
        return {profile: partial(_towards, share) for profile, share in zip(self.profiles, shares, strict=True)}

    def snapshot_due(self, step: int, batch_size: int, last: bool) -> bool:
        """Whether this step reaches a multiple of `snapshot_every`, or is the last: save a permanent snapshot."""
        every = self.snapshot_every
        return last or (every > 0 and step * batch_size // every > (step - 1) * batch_size // every)


def _towards(share: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
    """(1 - share) * old + share * new."""
    return old + share.astype(new.dtype) * (new - old)


Average = HalfLife | Power
AVERAGES = {"half_life": HalfLife, "power": Power}


def network_of(name: str) -> tuple[str, str]:
    """Splits the name of an average into network and profile: "denoiser@0.1" -> ("denoiser", "0.1")."""
    network, _, profile = name.partition("@")
    return network, profile


# -------------------------------------------------------------------------------------------- reconstructed afterwards


def sigma_rel_of(gamma: float) -> float:
    """sigma_rel = (gamma + 1)^(1/2) (gamma + 2)^-1 (gamma + 3)^(-1/2), the standard deviation of tau / t."""
    return float(np.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2))


def gamma_of(sigma_rel: float) -> float:
    """The exponent of a width: the root gamma >= 0 of (gamma + 2)^2 (gamma + 3) = (gamma + 1) / sigma_rel^2."""
    inverse = float(sigma_rel) ** -2
    return max(float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max()), 0.0)


def inner_product(t_a: np.ndarray, gamma_a: np.ndarray, t_b: np.ndarray, gamma_b: np.ndarray) -> np.ndarray:
    """The integral of p_a(tau) p_b(tau) for profiles that end at times t_a and t_b (EDM2, appendix C); if t_a <= t_b,

    (gamma_a + 1) (gamma_b + 1) (t_a / t_b)^gamma_b / ((gamma_a + gamma_b + 1) t_b).
    """
    earlier, later = np.minimum(t_a, t_b), np.maximum(t_a, t_b)
    overlap = (earlier / later) ** np.where(t_a < t_b, gamma_b, gamma_a)
    return (gamma_a + 1) * (gamma_b + 1) * overlap / ((gamma_a + gamma_b + 1) * later)


class Fit(NamedTuple):
    """The weights of stored averages whose sum is closest to a target average, and the distance of its profile."""

    weights: np.ndarray
    residual: float  # |sum_i w_i p_i - p| / |p| in L2; 0 is an exact fit


def fit(times: Sequence[float], widths: Sequence[float], time: float, width: float) -> Fit:
    """The least-squares fit of the profile (time, width) by those of (times_i, widths_i), with weights that sum to 1.

    EDM2 solves the problem without the constraint, and its published code divides by the sum afterwards. With the
    constraint the solution is the best among those that leave constant parameters unchanged. Computed in float64.
    """
    t = np.asarray(times, np.float64) / time
    gammas, gamma = np.array([gamma_of(width) for width in widths]), gamma_of(width)
    products = inner_product(t[:, None], gammas[:, None], t, gammas)
    b = inner_product(t, gammas, 1.0, gamma)
    norms = np.sqrt(np.diag(products))  # profiles scaled to norm 1, for a better conditioned matrix
    # The minimum of w' A w - 2 w' b subject to sum(w) = 1, with a Lagrange multiplier; A = `products`.
    matrix = np.block([[products / np.outer(norms, norms), 1 / norms[:, None]], [1 / norms[None], np.zeros((1, 1))]])
    weights = np.linalg.lstsq(matrix, np.append(b / norms, 1.0), rcond=1e-15)[0][:-1] / norms
    squared_norm = inner_product(1.0, gamma, 1.0, gamma)
    squared_error = weights @ products @ weights - 2 * weights @ b + squared_norm
    return Fit(weights, float(np.sqrt(max(squared_error, 0.0) / squared_norm)))


def reconstruct(
    ema: Power, width: float, steps: Sequence[int], averages: Callable[[int], dict[str, Tree]]
) -> tuple[dict[str, Tree], float]:
    """{network: variables} averaged with sigma_rel `width` up to the last of `steps`, and the residual of the fit.

    `averages(step)` returns the averages that training saved after that step, by name. They are read one step at a
    time.
    """
    profiles = len(ema.profiles)
    weights, residual = fit(np.repeat(steps, profiles), ema.sigma_rel * len(steps), steps[-1], width)
    last = averages(steps[-1])
    base = {name: tree for name, tree in last.items() if name == network_of(name)[0]}

    # As the weights sum to 1, it suffices to add differences from the last average, which loses less to rounding.
    @jax.jit
    def add(total, found, row):
        for profile, weight in zip(ema.profiles, row, strict=True):
            for name in base:
                key = f"{name}@{profile}" if profile else name
                total[name] = jax.tree.map(
                    lambda sum, new, old, w=weight: sum + w.astype(sum.dtype) * (new - old),
                    total[name], found[key], base[name],
                )  # fmt: skip
        return total

    total = jax.tree.map(jnp.zeros_like, base)
    for step, row in zip(steps, weights.reshape(-1, profiles), strict=True):  # NumPy rows are the same on all hosts
        total = add(total, last if step == steps[-1] else averages(step), row)
    return jax.tree.map(jnp.add, base, total), residual
