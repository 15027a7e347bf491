"""Frechet distance between the Gaussians fitted to two sets of features, from moments that stream.

    FD = |mu_a - mu_b|^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2     (Dowson & Landau 1982; Heusel et al. 2017, eq. 6)

It decreases with the number of samples, even for a perfect sampler: report both counts, and the distance of real
training data to held-out data as a floor. Everything is float64 on the host: float32 moments alone change a FID.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Float64, Int64

from diffjax.errors import UserError
from diffjax.host.progress import OnProgress, silent
from diffjax.metrics.arrays import CHUNK, checked_features

MOST_DIMENSIONS = 16_384  # 128 x 128 grey pixels: 2 GB per matrix; a distance needs about five, and hours
SMALLEST_SUBSET = 5_000  # images in the extrapolation to infinite N; from the paper, for 50,000 images of 2048 features


@dataclass(frozen=True, eq=False)
class Moments:
    """Number, mean and centred second moment of features; up to rounding, independent of how they are batched."""

    n: int
    mean: Float64[np.ndarray, " d"]
    scatter: Float64[np.ndarray, "d d"]  # sum over the samples of (x - mean)(x - mean)^T

    @classmethod
    def empty(cls, dimensions: int) -> "Moments":
        return cls(0, np.zeros(dimensions), np.zeros((dimensions, dimensions)))

    @classmethod
    def of(cls, features: Float[ArrayLike, "n d"]) -> "Moments":
        """The moments of one batch, [n, d]. Raises UserError on non-finite features and on too large d."""
        features = np.asarray(features, np.float64)
        check_dimensions(features.shape[1])
        num_bad = int((~np.isfinite(features).all(axis=1)).sum())
        if num_bad:
            raise UserError(f"features: those of {num_bad} samples of {len(features)} are not finite; must be finite")
        if not len(features):
            return cls.empty(features.shape[1])
        mean = features.mean(axis=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def update(self, features: Float[ArrayLike, "n d"]) -> "Moments":
        """The moments of these samples and one more batch, [n, d]."""
        return self.merge(Moments.of(features))

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both sets together (Chan, Golub & LeVeque 1983).

        No sum of raw squares is formed, so nothing cancels. Raises UserError if the dimensions differ.
        """
        if self.mean.shape != other.mean.shape:
            raise UserError(f"features: {len(other.mean)} dimensions, {len(self.mean)} before; must be equal")
        n = self.n + other.n
        if n == 0:
            return self
        difference = other.mean - self.mean
        mean = self.mean + difference * (other.n / n)
        between = np.outer(difference, difference)
        between *= self.n * other.n / n
        scatter = self.scatter + other.scatter
        scatter += between
        return Moments(n, mean, scatter)

    @property
    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """The unbiased estimate, scatter / (n - 1), as np.cov gives it. Raises UserError below two samples."""
        if self.n < 2:
            raise UserError(f"moments: of {self.n} images; must be of at least 2 for a covariance")
        return self.scatter / (self.n - 1)

    @cached_property
    def factor(self) -> Float64[np.ndarray, "d r"]:
        """F with F F^T = covariance, of its rank r; cached, as many sets are compared with one reference."""
        return _factor(self.covariance)


def check_dimensions(d: int) -> None:
    """Raises UserError if the covariance of d features takes too much memory and time."""
    if d > MOST_DIMENSIONS:
        gigabytes = 8 * d * d / 1e9
        raise UserError(
            f"features: {d:,} dimensions, whose covariance takes {gigabytes:,.0f} GB; at most {MOST_DIMENSIONS:,}:"
            " take a feature network, or smaller images"
        )


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared 2-Wasserstein distance of N(mu_a, A) and N(mu_b, B), in squared feature units; A and B may be singular.

    Symmetric. Pass the reference as b, whose factor is cached.

    With A = F_a F_a^T and B = F_b F_b^T, from symmetric eigendecompositions, the eigenvalues of A^1/2 B A^1/2 are the
    squared singular values of F_a^T F_b, so the trace of its root is the sum of the singular values. Nothing is squared
    before a root is taken, so identical inputs give zero up to rounding; a matrix square root of A B loses half the
    digits there, and fails or becomes complex for singular covariances. Raises UserError for different dimensions,
    fewer than two samples, and moments that are not finite.
    """
    _check_alike(a, b)
    overlap = np.linalg.svd(_factor(a.covariance).T @ b.factor, compute_uv=False).sum()
    difference = a.mean - b.mean
    distance = float(difference @ difference + np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap)
    if not np.isfinite(distance):  # max(0, NaN) would be 0: a perfect score
        raise UserError(f"moments: their Frechet distance is {distance}; must be finite")
    return max(0.0, distance)  # negative values are rounding


class Extrapolation(NamedTuple):
    """The line FD(N) = value + slope / N, fitted by least squares, and the points that it was fitted to."""

    value: float  # at infinite N
    standard_error: float  # of the fit, from its residuals; not over draws, as all subsets share the same samples
    slope: float
    sizes: Int64[np.ndarray, " p"]
    distances: Float64[np.ndarray, " p"]


def frechet_infinity(
    samples: Float[ArrayLike, "n d"],
    reference: Moments,
    smallest: int = SMALLEST_SUBSET,
    points: int = 15,  # subsets, of evenly spaced sizes up to n; 15 as in the paper
    seed: int = 0,
    progress: OnProgress = silent,  # counts points
) -> Extrapolation:
    """FD of infinitely many samples: FD of random subsets, fitted by a line in 1/N, at 1/N = 0 (Chong & Forsyth 2020).

    Removes the bias from the finite number of SAMPLES, to first order, and none of that of the reference. FD is linear
    in 1/N only for N well above d: raises UserError unless `smallest` > d and n >= 2 `smallest`, on fewer than three
    points, and on bad features.
    """
    samples = checked_features("samples", samples, at_least=2)
    n, d = samples.shape
    if points < 3:
        raise UserError(f"points: {points}; must be at least 3, for a line and its standard error")
    if smallest <= d:
        raise UserError(
            f"smallest: subsets of {smallest} images with {d} features; must be above {d}, where FD is linear in 1/N"
        )
    if n < 2 * smallest:
        raise UserError(f"samples: {n} images, for subsets of {smallest} upwards; must be at least {2 * smallest}")
    random = np.random.default_rng(seed)
    sizes, distances = np.linspace(smallest, n, points).astype(int), []
    for done, size in enumerate(sizes, start=1):
        moments, subset = Moments.empty(d), random.permutation(n)[:size]
        for rows in np.array_split(subset, -(-size // CHUNK)):
            moments = moments.update(samples[rows])
        distances.append(frechet_distance(moments, reference))
        progress(done, points)
    return Extrapolation(*_line(1 / sizes, np.array(distances)), sizes, np.array(distances))


def smallest_subset(n: int) -> int:
    """The smallest subset size for an extrapolation from n images: that of the paper, at most n / 2."""
    return min(SMALLEST_SUBSET, n // 2)


def expected_frechet_bias(moments: Moments, n: int) -> float:
    """The expected FD of n samples of N(mu, S) from N(mu, S) itself, to first order in 1 / n: the floor.

        (1 / n) (sum_i l_i + 1/2 sum_ij l_i l_j (1 + [i = j]) / (l_i + l_j)), l the eigenvalues of S;

    tr S (d + 5) / 4n if all are equal. From d(S, S + E)^2 = 1/2 sum_ij E_ij^2 / (l_i + l_j) + ..., so it holds for n
    well above d. A reference of m samples adds the same term with m for n.
    """
    eigenvalues = np.linalg.eigvalsh(moments.covariance)
    eigenvalues = eigenvalues[_not_rounding(eigenvalues)]
    pairs = np.outer(eigenvalues, eigenvalues) / np.add.outer(eigenvalues, eigenvalues)
    return float((eigenvalues.sum() + pairs.sum() / 2 + np.trace(pairs) / 2) / n)


def small_sample_warning(n: int, d: int) -> str:
    """A one-line warning for the FD of n samples with d features; "" if n >= 5 d.

    The bias is tr S (d + 5) / 4n if all directions have the same variance: some 5 % of it at n = 5 d, which for
    Inception's 2048 features is about the 10,000 samples that the authors of the FID recommend.
    """
    if n >= 5 * d:
        return ""
    advice = f"compare only with numbers of {n}, or take at least {5 * d}"
    if n <= d:
        return f"{n} images span at most {n - 1} of {d} dimensions: FD is far too high; {advice}"
    return f"{n} images are few for {d} features: FD is biased upwards, by an amount of order d / n; {advice}"


def _check_alike(a: Moments, b: Moments) -> None:
    if a.mean.shape != b.mean.shape:
        raise UserError(f"features: {len(a.mean)} against {len(b.mean)} dimensions; must be equal")


def _factor(covariance: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "d r"]:
    """F with F F^T = covariance, without eigenvalues that are rounding (constant pixels, n < d)."""
    if not np.isfinite(covariance).all():
        raise UserError("moments: some covariances are not finite; must be finite")
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    nonzero = _not_rounding(eigenvalues)
    return eigenvectors[:, nonzero] * np.sqrt(eigenvalues[nonzero])


def _not_rounding(values: Float64[np.ndarray, " d"]) -> Bool[np.ndarray, " d"]:
    """Which of a covariance's eigenvalues, in ascending order, exceed the rounding error of the largest."""
    return values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)


def _line(x: Float64[np.ndarray, " p"], y: Float64[np.ndarray, " p"]) -> tuple[float, float, float]:
    """The intercept of the least-squares line, its standard error, and the slope."""
    centred = x - x.mean()
    slope = (centred @ y) / (centred @ centred)
    intercept = y.mean() - slope * x.mean()
    residuals = y - intercept - slope * x
    variance = residuals @ residuals / (len(x) - 2) * (1 / len(x) + x.mean() ** 2 / (centred @ centred))
    return float(intercept), float(np.sqrt(variance)), float(slope)
