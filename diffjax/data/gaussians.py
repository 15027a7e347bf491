"""Mixtures of Gaussians for lectures: drops of ink in a bowl, and people as points.

Density, score and entropy are known exactly, also for x_t at every time of a diffusion, which is a mixture again. Drops
are stored in units of the bowl, in which the stationary distribution is N(0, I), and models see them unchanged; people
are stored in centimetres and kilograms, and models see each axis standardised, exactly.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffjax.data.source import Examples, Synthetic, in_memory, random
from diffjax.data.space import Space
from diffjax.errors import UserError

AT_ONCE = 4096  # points whose densities are computed at a time, to limit memory


@dataclass(frozen=True, eq=False)
class Mixture:
    """sum_k w_k N(mean_k, C_k), in float64."""

    weights: np.ndarray  # [k], adding up to 1
    means: np.ndarray  # [k, d]
    covariances: np.ndarray  # [k, d, d]

    @property
    def mean(self) -> np.ndarray:
        """The mean, [d]."""
        return self.weights @ self.means

    @property
    def covariance(self) -> np.ndarray:
        """The covariance, [d, d]."""
        offsets = self.means - self.mean
        return np.einsum("k,kij->ij", self.weights, self.covariances + offsets[:, :, None] * offsets[:, None, :])

    def noised(self, alpha: float, sigma: float | np.ndarray) -> "Mixture":
        """The distribution of x_t = alpha x_0 + sigma eps, eps ~ N(0, I), if this is that of x_0; sigma may be [d]."""
        noise = sigma**2 * np.eye(self.means.shape[1])
        return Mixture(self.weights, alpha * self.means, alpha**2 * self.covariances + noise)

    def rescaled(self, shift: np.ndarray, scale: np.ndarray) -> "Mixture":
        """The distribution of (x - shift) / scale, with shift and scale per axis."""
        return Mixture(self.weights, (self.means - shift) / scale, self.covariances / np.multiply.outer(scale, scale))

    def sample(self, generator: np.random.RandomState, n: int) -> np.ndarray:
        """Draws n points, [n, d]."""
        component = generator.choice(len(self.weights), size=n, p=self.weights)
        noise = generator.standard_normal((n, self.means.shape[1]))
        return self.means[component] + np.einsum("nij,nj->ni", np.linalg.cholesky(self.covariances)[component], noise)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """log p(x) [n] in nats, of points x [n, d]."""
        return np.concatenate([_log_sum(self._joint(block)[0]) for block in _parts(x)])

    def score(self, x: np.ndarray) -> np.ndarray:
        """The score, the gradient of log p, [n, d], at points x [n, d]."""
        scores = []
        for block in _parts(x):
            log_joint, pulls = self._joint(block)
            responsibilities = np.exp(log_joint - _log_sum(log_joint)[:, None])
            scores.append(np.einsum("nk,nki->ni", responsibilities, pulls))
        return np.concatenate(scores)

    def _joint(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log w_k + log N(x; mean_k, C_k) [n, k], and C_k^-1 (mean_k - x) [n, k, d]."""
        offsets = self.means[:, None] - x
        pulls = offsets @ np.linalg.inv(self.covariances)
        log_norm = np.linalg.slogdet(2 * np.pi * self.covariances)[1]
        quadratic = sum(offsets[..., i] * pulls[..., i] for i in range(x.shape[1])).T  # NumPy is slow along short axes
        return np.log(self.weights) - 0.5 * (quadratic + log_norm), np.moveaxis(pulls, 0, 1)


def _parts(x: np.ndarray) -> list[np.ndarray]:
    x = np.asarray(x, np.float64)
    return np.split(x, range(AT_ONCE, len(x), AT_ONCE))


def _log_sum(log_joint: np.ndarray) -> np.ndarray:
    """log sum_k exp(log_joint_k), shifted by the maximum so that it stays finite far from all components."""
    maximum = log_joint.max(axis=1)
    return maximum + np.log(np.sum(np.exp(log_joint - maximum[:, None]), axis=1))


def _blobs(*blobs: tuple[float, float, float, float]) -> Mixture:
    """A mixture of isotropic blobs of ink, each given by (share of the ink, x, y, standard deviation)."""
    weights, x, y, std = np.array(blobs).T
    return Mixture(weights, np.stack([x, y], -1), std[:, None, None] ** 2 * np.eye(2))


def _groups(*groups: tuple[float, tuple[float, ...], tuple[float, ...], float]) -> Mixture:
    """A mixture of people, each by (share, means, standard deviations, correlation of height and weight)."""
    covariances = []
    for _, _, stds, correlation in groups:
        correlations = np.eye(len(stds))
        correlations[0, 1] = correlations[1, 0] = correlation
        covariances.append(correlations * np.multiply.outer(stds, stds))
    return Mixture(np.array([g[0] for g in groups]), np.array([g[1] for g in groups]), np.array(covariances))


# Invented round numbers, close to those of adults. A wing span of exactly 0 has no density, so its sd is 6 cm.
_women, _men = ((165.0, 68.0), (6.5, 11.0)), ((178.0, 82.0), (7.0, 12.0))
_winged = ((172.0, 45.0, 480.0), (8.0, 6.0, 40.0))
DROPS = {
    "splash": _blobs(
        (0.60, 0.00, 0.10, 0.25), (0.07, 0.95, 0.35, 0.09), (0.05, 0.45, 1.00, 0.07), (0.07, -0.55, 0.95, 0.09),
        (0.05, -1.05, 0.25, 0.07), (0.06, -0.70, -0.70, 0.08), (0.04, 0.15, -1.00, 0.06), (0.06, 0.85, -0.60, 0.08),
    ),
    "streak": _blobs(*((0.2, 0.5 + 0.25 * i, -1.1 + 0.3 * i, 0.15) for i in range(5))),
    "pair": _blobs((0.5, -1.1, -0.7, 0.2), (0.5, -0.8, 1.0, 0.2)),
}  # fmt: skip
PEOPLE = {
    "people": _groups((0.5, *_women, 0.45), (0.5, *_men, 0.45)),
    "winged": _groups(
        *((0.375, (*means, 0.0), (*stds, 6.0), 0.45) for means, stds in (_women, _men)), (0.25, *_winged, 0.45)
    ),
}
AXES = ("height (cm)", "weight (kg)", "wing span (cm)")


@dataclass(frozen=True)
class Gaussians(Synthetic):
    """Points [2] or [3] float32 of one `kind`: drops of ink "splash", "streak", "pair"; "people", or "winged" people.

    Raises UserError for any other kind.
    """

    kind: str
    num_train: int = 100_000
    num_heldout: int = 10_000
    seed: int = 0  # training and held-out points use different random streams

    def __post_init__(self):
        if self.kind not in DROPS | PEOPLE:
            names = ", gaussians:".join(DROPS | PEOPLE)
            raise UserError(f"data.name: 'gaussians:{self.kind}' is unknown; it is gaussians:{names}")
        self._check_counts()

    @property
    def mixture(self) -> Mixture:
        """The distribution, in stored units."""
        return (DROPS | PEOPLE)[self.kind]

    @cached_property
    def model_mixture(self) -> Mixture:
        """The distribution in model units: the x_0 of a diffusion."""
        return self.mixture.rescaled(np.asarray(self.space.shift), np.broadcast_to(self.space.scale, self.space.shape))

    @property
    def space(self) -> Space:
        mixture = self.mixture
        shape = (mixture.means.shape[1],)
        if self.kind in DROPS:
            return Space("points", shape, shift=0.0, scale=1.0)
        return Space("points", shape, shift=tuple(mixture.mean), scale=tuple(np.sqrt(np.diag(mixture.covariance))))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """log p(x) [n] in nats and stored units; its negative mean over held-out points is the entropy."""
        return self.mixture.log_density(x)

    def blurred(self, std: float | np.ndarray) -> Mixture:
        """The distribution of x + std eps, eps ~ N(0, I), in stored units; std may be [d]."""
        return self.mixture.noised(1.0, std)

    def _draw(self, n: int, stream: int) -> Examples:
        x = self.mixture.sample(random(self.seed, stream, field="data.seed"), n)
        return in_memory(x.astype(np.float32), np.zeros(n))
