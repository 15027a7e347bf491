"""Kernel Inception distance: squared MMD of features, kernel k(x, y) = (x.y / d + 1)^3 (Binkowski et al. 2018).

    MMD^2 = E k(X, X') + E k(Y, Y') - 2 E k(X, Y), X' and Y' independent copies of X and Y

There are two estimates: `kid_of_subsets`, which papers report, and `kid_of_all_pairs`, which uses every pair once and
estimates its own sampling error. Both are unbiased for any number of images, so either may be negative; they have
different values and errors, so never call either just "KID". Papers often report 1000 times the value.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Float64

from diffjax.errors import UserError
from diffjax.host.progress import OnProgress, part_of, silent
from diffjax.metrics.arrays import CHUNK, blocks, checked_pair


class SubsetKID(NamedTuple):
    mean: float  # over the subsets
    std: float  # over the subsets, ddof 0, as in the paper: of ONE subset's value, so it depends on subset_size
    standard_error: float  # of the mean, given these images: std / subsets^1/2; not over draws of images; NaN if a
    # subset contains all of them


class AllPairsKID(NamedTuple):
    value: float
    standard_error: float  # over draws of the images of both sets


def kid_of_subsets(
    samples: Float[ArrayLike, "n d1"],
    reference: Float[ArrayLike, "m d2"],
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,  # as in torch-fidelity, as is the order of draws: samples first, without replacement
    progress: OnProgress = silent,  # counts subsets
) -> SubsetKID:
    """Mean over random subsets of both sets of the unbiased estimate with all m^2 cross pairs, as in the paper.

    In float64; O(subsets subset_size^2 d) time. If a subset contains all of both sets, it is computed once, and
    `standard_error` is NaN. Raises UserError on bad features, and on a subset larger than a set.
    """
    samples, reference = checked_pair(samples, reference, ("samples", "reference"))
    smallest_set = min(len(samples), len(reference))
    if not 2 <= subset_size <= smallest_set:
        raise UserError(f"subset_size: {subset_size} of {smallest_set} images; must be from 2 to {smallest_set}")
    if subsets < 1:
        raise UserError(f"subsets: {subsets}; must be at least 1")
    single_subset = subset_size == len(samples) == len(reference)
    subsets = 1 if single_subset else subsets
    random, values = np.random.RandomState(seed), []
    for done in range(1, subsets + 1):
        x, y = (
            np.asarray(features[random.choice(len(features), subset_size, replace=False)], np.float64)
            for features in (samples, reference)
        )
        within = sum(_kernel(z, z).sum() - _kernel_with_itself(z).sum() for z in (x, y))
        values.append(within / (subset_size * (subset_size - 1)) - 2 * _kernel(x, y).mean())
        progress(done, subsets)
    std = np.std(values)
    return SubsetKID(float(np.mean(values)), float(std), float("nan" if single_subset else std / np.sqrt(subsets)))


def kid_of_all_pairs(
    samples: Float[ArrayLike, "n d1"],
    reference: Float[ArrayLike, "m d2"],
    chunk: int = CHUNK,
    progress: OnProgress = silent,
) -> AllPairsKID:
    """The U-statistic over all images of both sets, and its standard error; n and m may differ.

    The variance is estimated term by term from Hoeffding's decomposition, U = first order + second order:

        Var U = 4 zeta_x / n + 4 zeta_y / m + 2 V_xx / n(n-1) + 2 V_yy / m(m-1) + 4 V_xy / nm

    zeta_x = Var_X(E k(X, X') - E k(X, Y)); V are the variances of the doubly centred kernels. Every term's estimate is
    unbiased (for V: Szekely & Rizzo 2014, U-centring). A negative estimate of a zeta is set to zero. For equal
    distributions, where the zetas vanish, that makes the variance 1.3 to 1.4 times the true one on average, and the
    error a sixth too large; the variance of the delete-one jackknife is twice the true one there. Without clipping the
    variance would be right on average, but negative for one pair of sets in nine.

    In float64; O((n + m)^2 d) time, O(chunk^2 + chunk d) memory. Raises UserError on bad features or fewer than 4
    images in a set.
    """
    x, y = checked_pair(samples, reference, ("samples", "reference"), at_least=4)
    value, spread = u_statistic(x, y, chunk, progress)
    spread = spread._replace(zeta_x=max(0.0, spread.zeta_x), zeta_y=max(0.0, spread.zeta_y))
    return AllPairsKID(value, spread.variance(len(x), len(y)) ** 0.5)


class Spread(NamedTuple):
    """The terms of the variance of the U-statistic, as in `kid_of_all_pairs`."""

    zeta_x: float
    zeta_y: float
    v_xx: float
    v_yy: float
    v_xy: float

    def variance(self, n: int, m: int) -> float:
        first = 4 * self.zeta_x / n + 4 * self.zeta_y / m
        return first + 2 * self.v_xx / (n * (n - 1)) + 2 * self.v_yy / (m * (m - 1)) + 4 * self.v_xy / (n * m)


def u_statistic(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], chunk: int = CHUNK, progress: OnProgress = silent
) -> tuple[float, Spread]:
    """The squared MMD and the terms of its variance. All are unbiased, so that a zeta may be negative."""
    n, m = len(x), len(y)
    rows = 2 * n + m
    x_sums, xx_squares = _sums_within(x, chunk, part_of(progress, 0, rows))
    y_sums, yy_squares = _sums_within(y, chunk, part_of(progress, n, rows))
    x_cross, y_cross, xy_squares = _sums_across(x, y, chunk, part_of(progress, n + m, rows))
    value = x_sums.sum() / (n * (n - 1)) + y_sums.sum() / (m * (m - 1)) - 2 * x_cross.sum() / (n * m)

    v_xx, v_yy = _centred_variance(x_sums, xx_squares), _centred_variance(y_sums, yy_squares)
    explained = x_cross @ x_cross / m + y_cross @ y_cross / n - x_cross.sum() ** 2 / (n * m)
    v_xy = max(0.0, xy_squares - explained) / ((n - 1) * (m - 1))
    # The sample variance of each image's contribution, minus the part due to its finite number of partners.
    zeta_x = np.var(x_sums / (n - 2) - x_cross / m, ddof=1) - v_xx / (n - 2) - v_xy / m
    zeta_y = np.var(y_sums / (m - 2) - y_cross / n, ddof=1) - v_yy / (m - 2) - v_xy / n
    return float(value), Spread(float(zeta_x), float(zeta_y), v_xx, v_yy, float(v_xy))


def _kernel(x: Float64[np.ndarray, "a d"], y: Float64[np.ndarray, "b d"]) -> Float64[np.ndarray, "a b"]:
    products = x @ y.T
    products /= x.shape[1]
    products += 1
    return products * products * products


def _kernel_with_itself(x: Float64[np.ndarray, "a d"]) -> Float64[np.ndarray, " a"]:
    return ((x * x).sum(axis=1) / x.shape[1] + 1) ** 3


def _sums_within(
    x: Float[np.ndarray, "n d"], chunk: int, progress: OnProgress
) -> tuple[Float64[np.ndarray, " n"], float]:
    """The sums of k(x_i, x_j), i != j, over j, and the sum of squares; computes each pair of blocks once."""
    sums, squares = np.zeros(len(x)), 0.0
    for rows, a in blocks(x, chunk):
        for columns, b in blocks(x[rows.start :], chunk):
            columns = slice(columns.start + rows.start, columns.stop + rows.start)
            kernel = _kernel(a, b)
            if rows == columns:
                np.fill_diagonal(kernel, 0)
            else:
                sums[columns] += kernel.sum(axis=0)
            sums[rows] += kernel.sum(axis=1)
            squares += (1 if rows == columns else 2) * np.vdot(kernel, kernel)
        progress(rows.stop, len(x))
    return sums, float(squares)


def _sums_across(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], chunk: int, progress: OnProgress
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " m"], float]:
    """The sums of k(x_i, y_j) over j, the sums over i, and the sum of squares."""
    x_sums, y_sums, squares = np.zeros(len(x)), np.zeros(len(y)), 0.0
    for rows, a in blocks(x, chunk):
        for columns, b in blocks(y, chunk):
            kernel = _kernel(a, b)
            x_sums[rows] += kernel.sum(axis=1)
            y_sums[columns] += kernel.sum(axis=0)
            squares += np.vdot(kernel, kernel)
        progress(rows.stop, len(x))
    return x_sums, y_sums, float(squares)


def _centred_variance(sums: Float64[np.ndarray, " n"], squares: float) -> float:
    """The unbiased mean square of the doubly centred kernel, from sums of k_ij and k_ij^2, i != j; n >= 4."""
    n = len(sums)
    total = squares - 2 * (sums @ sums) / (n - 2) + sums.sum() ** 2 / ((n - 1) * (n - 2))
    return float(max(0.0, total) / (n * (n - 3)))  # negative values are rounding
