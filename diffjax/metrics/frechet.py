"""Frechet distance between the Gaussians fitted to two sets of features, from moments that stream.

    FD = |mu_a - mu_b|^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2     (Dowson & Landau 1982; Heusel et al. 2017, eq. 6)

It falls as the number of samples grows, even for a perfect sampler: state both counts, and print beside it the floor
that real training data reach against held-out data. All in float64 on the host: float32 moments alone move a FID.
"""

from dataclasses import dataclass

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Float64, Shaped

from diffjax.errors import UserError


@dataclass(frozen=True, eq=False)
class Moments:
    """Number, mean and centred second moment of the features seen so far: the same, to rounding, however split."""

    n: int
    mean: Float64[np.ndarray, " d"]
    scatter: Float64[np.ndarray, "d d"]  # sum over the samples of (x - mean)(x - mean)^T

    @classmethod
    def empty(cls, dimensions: int) -> "Moments":
        return cls(0, np.zeros(dimensions), np.zeros((dimensions, dimensions)))

    @classmethod
    def of(cls, features: Float[ArrayLike, "n d"]) -> "Moments":
        """The moments of one batch, [n, d]. Raises UserError on a feature that is not finite."""
        features = np.asarray(features, np.float64)
        broken = int((~np.isfinite(features).all(axis=1)).sum())
        if broken:
            raise UserError(f"features: those of {broken} samples of {len(features)} are not finite")
        if not len(features):
            return cls.empty(features.shape[1])
        mean = features.mean(axis=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def update(self, features: Float[ArrayLike, "n d"]) -> "Moments":
        """These samples and those of one more batch, [n, d]."""
        return self.merge(Moments.of(features))

    def merge(self, other: "Moments") -> "Moments":
        """Both sets of samples together (Chan, Golub & LeVeque 1983): no sum of raw squares, so no cancellation."""
        if self.mean.shape != other.mean.shape:
            raise UserError(f"features: {len(other.mean)} dimensions, {len(self.mean)} before; compare like with like")
        n = self.n + other.n
        if n == 0:
            return self
        difference = other.mean - self.mean
        mean = self.mean + difference * (other.n / n)
        between = np.outer(difference, difference) * (self.n * other.n / n)
        return Moments(n, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """The unbiased estimate, scatter / (n - 1), as np.cov gives it. Raises UserError below two samples."""
        if self.n < 2:
            raise UserError(f"samples: {self.n} have no covariance; at least 2 are needed")
        return self.scatter / (self.n - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared 2-Wasserstein distance of N(mu_a, A) and N(mu_b, B), in squared feature units; A and B may be singular.

    With A = F_a F_a^T and B = F_b F_b^T, from symmetric eigendecompositions, the eigenvalues of A^1/2 B A^1/2 are the
    squared singular values of F_a^T F_b, so its root has their sum as trace. Nothing is squared and then rooted, so
    identical inputs give zero to rounding; a matrix square root of A B loses half the digits there, and fails or turns
    complex on singular covariances. Raises UserError for different dimensions or fewer than two samples.
    """
    if a.mean.shape != b.mean.shape:
        raise UserError(f"features: {len(a.mean)} against {len(b.mean)} dimensions; compare like with like")
    covariance_a, covariance_b = a.covariance, b.covariance
    overlap = np.linalg.svd(_factor(covariance_a).T @ _factor(covariance_b), compute_uv=False).sum()
    difference = a.mean - b.mean
    distance = difference @ difference + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap
    return max(0.0, float(distance))  # a squared distance: what is below zero is rounding


def _factor(covariance: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "d r"]:
    """F with F F^T = covariance; eigenvalues that are only rounding (constant pixels, fewer samples than d) go."""
    values, vectors = np.linalg.eigh(covariance)
    real = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return vectors[:, real] * np.sqrt(values[real])


def pixel_features(images: Shaped[ArrayLike, "n h w c"]) -> Float64[np.ndarray, "n d"]:
    """Raw pixels in [0, 1] as features: uint8 [n, h, w, c] -> [n, h w c]. White against black is 1 per value."""
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise UserError(f"images: {images.dtype} pixels; features are taken after quantisation to uint8")
    return images.reshape(len(images), -1) / 255.0
