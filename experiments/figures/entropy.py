"""How spread out, and how far apart: of densities by quadrature, and of points by their neighbours. In bits."""

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

from diffjax.data.gaussians import Mixture
from diffjax.errors import UserError

REACH, COUNT = 4.5, 361  # a square of 9 x 9 in steps of 0.025: less than half the deviation of the finest blob of ink
NEIGHBOURS = 4


def plane(reach: float = REACH, count: int = COUNT) -> tuple[np.ndarray, float]:
    """Midpoints [count, count, 2] of equal cells of the square [-reach, reach]^2, and the area of a cell."""
    width = 2 * reach / count
    axis = -reach + width * (np.arange(count) + 0.5)
    return np.stack(np.meshgrid(axis, axis), -1), width**2


def density(mixture: Mixture, points: np.ndarray) -> np.ndarray:
    """p at points [..., 2]: [...]."""
    return np.exp(mixture.log_density(points.reshape(-1, 2))).reshape(points.shape[:-1])


def entropy(p: np.ndarray, area: float) -> float:
    """-integral p log2 p, of a density p on cells of this `area`: the midpoint rule."""
    return -float(np.sum(p * np.log2(np.where(p > 0, p, 1.0))) * area)


def total_variation(p: np.ndarray, q: np.ndarray, area: float) -> float:
    """integral |p - q| / 2: who must guess from which of the two a point came is right (1 + this) / 2 of the time."""
    return 0.5 * float(np.sum(np.abs(p - q)) * area)


def entropy_of_points(x: np.ndarray, k: int = NEIGHBOURS) -> float:
    """The entropy of the density that points x [n, d] are drawn from, by the distances r to their k-th neighbours.

    psi(n) - psi(k) + log V_d + d mean log r, V_d the volume of the unit ball (Kozachenko & Leonenko 1987; Kraskov et
    al. 2004, eq. 20). Raises UserError for fewer than k + 1 points, and where more than k of them fall on one place.
    """
    n, d = x.shape
    if n <= k:
        raise UserError(f"points: {n}, too few to have {k} neighbours each")
    distance = cKDTree(x).query(x, k=[k + 1])[0][:, 0]  # the first is the point itself
    if not distance.all():
        raise UserError(f"points: more than {k} fall on one place; they have no density")
    volume = 0.5 * d * np.log(np.pi) - gammaln(0.5 * d + 1)
    return float((digamma(n) - digamma(k) + volume + d * np.mean(np.log(distance))) / np.log(2))
