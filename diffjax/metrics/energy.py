"""Energy distance of two sets of points (Szekely & Rizzo 2013)."""

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Float64

from diffjax.errors import UserError

PAIRS_AT_ONCE = 1 << 20  # 8 MB of distances, so that they stay in the CPU cache


def energy_distance(x: Float[ArrayLike, "n d"], y: Float[ArrayLike, "m d"]) -> float:
    """E(X, Y) = 2 E|X - Y| - E|X - X'| - E|Y - Y'|, in the unit of the points (some papers report its square root).

    The U-statistic: a point is never paired with itself, so the estimate is unbiased; for equal distributions its mean
    is zero, and it may be slightly negative. Float64, O((n + m)^2 d) time, in chunks that keep memory small.
    Raises UserError unless all coordinates are finite and each set has at least two points.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if min(len(x), len(y)) < 2:
        raise UserError(
            f"points: {len(x)} and {len(y)}; must be at least 2 in each set, as a point is never paired with itself"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("points: some coordinates are not finite; must be finite for an energy distance")
    n, m = len(x), len(y)
    between = _sum_of_distances(x, y) / (n * m)
    within_x = _sum_of_distances(x, x) / (n * (n - 1))
    within_y = _sum_of_distances(y, y) / (m * (m - 1))
    return float(2 * between - within_x - within_y)


def _sum_of_distances(x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"]) -> float:
    """The sum of |x_i - y_j| over all pairs, from differences: |x|^2 + |y|^2 - 2 x.y loses close pairs."""
    rows = max(1, PAIRS_AT_ONCE // len(y))
    total = 0.0
    for start in range(0, len(x), rows):
        chunk = x[start : start + rows]
        squares = sum((a[:, None] - b) ** 2 for a, b in zip(chunk.T, y.T, strict=True))
        total += np.sqrt(squares).sum()
    return total
