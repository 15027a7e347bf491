"""Entropy and total variation of densities, by quadrature, and entropy of points, by nearest neighbours; in bits."""

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

from diffjax.data.gaussians import Mixture
from diffjax.errors import UserError

REACH, COUNT = 4.5, 361  # a 9 x 9 square in steps of 0.025, less than half the finest ink blob's standard deviation
NEIGHBOURS = 4


def plane(reach: float = REACH, count: int = COUNT) -> tuple[np.ndarray, float]:
    """Midpoints [count, count, 2] of equal cells of the square [-reach, reach]^2, and the area of a cell."""
    width = 2 * reach / count
    axis = -reach + width * (np.arange(count) + 0.5)
    return np.stack(np.meshgrid(axis, axis), -1), width**2


def density(mixture: Mixture, points: np.ndarray) -> np.ndarray:
    """The density p at points [..., 2], as [...]."""
    return np.exp(mixture.log_density(points.reshape(-1, 2))).reshape(points.shape[:-1])


def entropy(p: np.ndarray, area: float) -> float:
    """-integral p log2 p of a density p given on cells of size `area`, by the midpoint rule."""
    return -float(np.sum(p * np.log2(np.where(p > 0, p, 1.0))) * area)


def total_variation(p: np.ndarray, q: np.ndarray, area: float) -> float:
    """integral |p - q| / 2. The best guess from which of the two a point came is right (1 + this) / 2 of the time."""
    return 0.5 * float(np.sum(np.abs(p - q)) * area)


def entropy_of_points(x: np.ndarray, k: int = NEIGHBOURS) -> float:
    """The entropy of the density of points x [n, d], estimated from the distances r to their k-th neighbours.

    psi(n) - psi(k) + log V_d + d mean log r, with V_d the volume of the unit ball (Kozachenko & Leonenko 1987; Kraskov
    et al. 2004, eq. 20). Raises UserError for fewer than k + 1 points, and if more than k points coincide.
    """
    n, d = x.shape
    if n <= k:
        raise UserError(f"points: {n} are too few; there must be at least {k + 1}")
    distance = cKDTree(x).query(x, k=[k + 1])[0][:, 0]  # k + 1: the nearest neighbour of a point is the point itself
    if not distance.all():
        raise UserError(f"points: more than {k} coincide; they have no density")
    log_volume = 0.5 * d * np.log(np.pi) - gammaln(0.5 * d + 1)
    return float((digamma(n) - digamma(k) + log_volume + d * np.mean(np.log(distance))) / np.log(2))
