"""Averages of a network's weights over training, from which samples are drawn; and averages of any length afterwards.

Time is counted in images. An average gives the weights theta(tau) of each moment tau of a run up to t a share p(tau) of
its profile, and is kept up by one recursion with a `decay` of its own:

    average(t) = decay(t) average(t - batch) + (1 - decay(t)) theta(t)

A network may be averaged with several profiles at once. The first is kept under the network's name and drawn from,
every other one under "network@profile".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.errors import UserError
from diffjax.ramp import cosine_ramp

Tree = Any
WIDEST = 12**-0.5  # sigma_rel of gamma = 0, the plain mean over the run; wider profiles would favour its beginning


@dataclass(frozen=True)
class HalfLife:
    """Exponential moving average whose half-life is counted in images (Karras et al. 2022, `ema_halflife_kimg`).

    The half-life grows with the run, to at most `ramp` of the images seen, so that the initial weights are forgotten.
    """

    images: float = 500_000.0  # half-life in images; 0: no averaging
    ramp: float = 0.05  # longest half-life as a fraction of the images seen; 0: no ramp
    warmup: float = 0.0  # images over which the half-life rises from 0, along half a cosine (R3GAN); 0: not so

    profiles: ClassVar = ("",)

    def __post_init__(self):
        for field in ("images", "ramp", "warmup"):
            if not getattr(self, field) >= 0:
                raise UserError(f"ema.{field}: {getattr(self, field)} must not be negative; 0 switches it off")

    def decay(self, images_seen: jax.Array, batch_size: int) -> jax.Array:
        """The weight of the old average in one step, a scalar in [0, 1)."""
        half_life = cosine_ramp(images_seen, 0.0, self.images, self.warmup) if self.warmup else self.images
        half_life = jnp.minimum(half_life, self.ramp * images_seen) if self.ramp else jnp.asarray(half_life)
        return jnp.where(half_life > 0, 0.5 ** (batch_size / jnp.maximum(half_life, 1e-8)), 0.0)

    def decays(self, images_seen: jax.Array, batch_size: int) -> dict[str, jax.Array]:
        """The decay of each profile: of the only one."""
        return {"": self.decay(images_seen, batch_size)}

    def snapshot_due(self, step: int, batch_size: int, last: bool) -> bool:
        """Never: an exponential profile depends on a half-life that later ones cannot be made from."""
        return False


@dataclass(frozen=True)
class Power:
    """Averages over a profile that is a power of time, p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1) on [0, t].

    Its relative width sigma_rel, the profile's standard deviation as a fraction of the run so far, stays what it is as
    the run goes on, and the initial weights are forgotten in the first step. From snapshots of two such averages one of
    any other width can be made when the run is over (Karras et al. 2024, "EDM2", section 3.1 and appendix C).
    """

    sigma_rel: tuple = (0.05, 0.10)  # widths of the averages kept (EDM2's two); the first is drawn from
    snapshot_every: float = 1e6  # images between snapshots, rounded up to whole steps, and one at the end; 0: only that

    def __post_init__(self):
        for width in self.sigma_rel:
            if not 0 < width <= WIDEST:
                raise UserError(f"ema.sigma_rel: {width} is no width of a power function; above 0, at most 0.2886")
        if not self.sigma_rel or len({f"{width:g}" for width in self.sigma_rel}) != len(self.sigma_rel):
            raise UserError(f"ema.sigma_rel: {self.sigma_rel} must be one width or several, all different")
        if not self.snapshot_every >= 0:
            raise UserError(f"ema.snapshot_every: {self.snapshot_every} is no number of images; 0 or more")

    @property
    def profiles(self) -> tuple[str, ...]:
        return ("", *(f"{width:g}" for width in self.sigma_rel[1:]))

    def decays(self, images_seen: jax.Array, batch_size: int) -> dict[str, jax.Array]:
        """beta = (1 - batch / t)^(gamma + 1) for each profile; 0 in the first step."""
        # By logarithms: late in a run 1 - batch / t is too close to 1 for float32 to tell it well from its neighbours.
        log = jnp.log1p(-batch_size / images_seen)
        return {p: jnp.exp((gamma_of(s) + 1) * log) for p, s in zip(self.profiles, self.sigma_rel, strict=True)}

    def snapshot_due(self, step: int, batch_size: int, last: bool) -> bool:
        """Whether the averages are to be kept for good after this step: it reached a multiple of `snapshot_every`."""
        every = self.snapshot_every
        return last or (every > 0 and step * batch_size // every > (step - 1) * batch_size // every)


Average = HalfLife | Power
AVERAGES = {"half_life": HalfLife, "power": Power}


def network_of(name: str) -> tuple[str, str]:
    """The network and the profile that an average's name stands for: "denoiser@0.1" is ("denoiser", "0.1")."""
    network, _, profile = name.partition("@")
    return network, profile


# ------------------------------------------------------------------------------------------- lengths chosen afterwards


def sigma_rel_of(gamma: float) -> float:
    """sigma_rel = (gamma + 1)^(1/2) (gamma + 2)^-1 (gamma + 3)^(-1/2), the standard deviation of tau / t."""
    return float(np.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2))


def gamma_of(sigma_rel: float) -> float:
    """The exponent of a width: the root gamma >= 0 of (gamma + 2)^2 (gamma + 3) = (gamma + 1) / sigma_rel^2."""
    inverse = float(sigma_rel) ** -2
    return max(float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max()), 0.0)


def inner_product(t_a: np.ndarray, gamma_a: np.ndarray, t_b: np.ndarray, gamma_b: np.ndarray) -> np.ndarray:
    """The integral of p_a(tau) p_b(tau), each profile up to its own time: with t_a the earlier of the two,

    (gamma_a + 1) (gamma_b + 1) (t_a / t_b)^gamma_b / ((gamma_a + gamma_b + 1) t_b)   (EDM2, appendix C).
    """
    earlier, later = np.minimum(t_a, t_b), np.maximum(t_a, t_b)
    overlap = (earlier / later) ** np.where(t_a < t_b, gamma_b, gamma_a)
    return (gamma_a + 1) * (gamma_b + 1) * overlap / ((gamma_a + gamma_b + 1) * later)


class Fit(NamedTuple):
    """The weights of known averages whose sum comes closest to a wanted one, and how far its profile stays away."""

    weights: np.ndarray
    residual: float  # |sum_i w_i p_i - p| / |p| in L2: 0 is the wanted profile itself


def fit(times: Sequence[float], widths: Sequence[float], time: float, width: float) -> Fit:
    """Least squares: the weights w, adding up to 1, of the profiles (times_i, widths_i) closest to (time, width).

    EDM2 solves the problem without the condition on the sum, and its published code divides by the sum afterwards; with
    the condition the answer is the best of those that leave weights which never changed as they are. In float64.
    """
    t = np.asarray(times, np.float64) / time
    gammas, gamma = np.array([gamma_of(width) for width in widths]), gamma_of(width)
    products = inner_product(t[:, None], gammas[:, None], t, gammas)
    wanted = inner_product(t, gammas, 1.0, gamma)
    norms = np.sqrt(np.diag(products))  # profiles of length one: the matrix is better conditioned
    # The minimum of w' A w - 2 w' b where the weights add up to 1 (Lagrange).
    matrix = np.block([[products / np.outer(norms, norms), 1 / norms[:, None]], [1 / norms[None], np.zeros((1, 1))]])
    weights = np.linalg.lstsq(matrix, np.append(wanted / norms, 1.0), rcond=1e-15)[0][:-1] / norms
    length = inner_product(1.0, gamma, 1.0, gamma)
    squared = weights @ products @ weights - 2 * weights @ wanted + length
    return Fit(weights, float(np.sqrt(max(squared, 0.0) / length)))


def reconstruct(
    ema: Power, width: float, steps: Sequence[int], averages: Callable[[int], dict[str, Tree]]
) -> tuple[dict[str, Tree], float]:
    """{network: variables} averaged with sigma_rel `width` up to the last of `steps`, and the residual of the fit.

    `averages(step)` are those that training kept, by name, after that step. They are read one step at a time.
    """
    profiles = len(ema.profiles)
    weights, residual = fit(np.repeat(steps, profiles), ema.sigma_rel * len(steps), steps[-1], width)
    last = averages(steps[-1])
    base = {name: tree for name, tree in last.items() if name == network_of(name)[0]}

    # As the weights add up to 1, only differences from the last average need adding: less is lost in rounding.
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
    for step, row in zip(steps, weights.reshape(-1, profiles), strict=True):  # rows of numpy: the same on all hosts
        total = add(total, last if step == steps[-1] else averages(step), row)
    return jax.tree.map(jnp.add, base, total), residual
