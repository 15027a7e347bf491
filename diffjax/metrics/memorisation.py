"""Whether samples are copies of training images: nearest neighbours, AuthPct, and a test against held-out images.

A sample is AUTHENTIC when it is farther from its nearest training image than that image is from its nearest other one
(Alaa et al. 2022, section 4; as dgm-eval computes it: the code of the paper instead takes the nearest sample of every
training image, which gives another number). AUTHPCT is the percentage of authentic samples. It is below 100 even for
new images: the held-out split gives its value without memorisation.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Float64, Int64

from diffjax.errors import UserError
from diffjax.host.progress import OnProgress, part_of, silent
from diffjax.metrics.arrays import CHUNK, checked_pair
from diffjax.metrics.nearest import nearest

COPIED = 1 / 3  # of the distance to the second nearest: Yoon et al. 2023, Gu et al. 2023


class Memorisation(NamedTuple):
    """Results for every sample."""

    index: Int64[np.ndarray, " n"]  # of the nearest training image
    authentic: Bool[np.ndarray, " n"]
    ratio: Float64[np.ndarray, " n"]  # of the distances to the nearest and to the second nearest training image, <= 1

    @property
    def auth_pct(self) -> float:
        """Percentage of authentic samples, 0 to 100; low values indicate copies."""
        return float(100 * self.authentic.mean())

    @property
    def copied_pct(self) -> float:
        """Percentage of samples three times nearer to one training image than to any other; blind to duplicates."""
        return float(100 * (self.ratio < COPIED).mean())


def memorisation(
    samples: Float[ArrayLike, "n d1"],
    train: Float[ArrayLike, "m d2"],
    chunk: int = CHUNK,
    progress: OnProgress = silent,
) -> Memorisation:
    """Finds the nearest training image [m, d] of every sample [n, d], and whether the sample is authentic.

    Exact, in float64; O((n + min(n, m)) m d) time. A copy of a training image that has a duplicate counts as
    authentic: remove duplicates first. Raises UserError on bad features or fewer than two training images.
    """
    samples, train = checked_pair(samples, train, ("samples", "train"))
    if len(train) < 2:
        raise UserError(f"train: {len(train)} images; must be at least 2, as each is compared with its nearest other")
    n, max_unique = len(samples), min(len(samples), len(train))  # queries: the samples, and the images nearest to them
    neighbours = nearest(samples, train, 2, chunk=chunk, progress=part_of(progress, 0, n + max_unique))
    index, (first, second) = neighbours.indices[:, 0], neighbours.squares.T
    unique, inverse = np.unique(index, return_inverse=True)
    remaining = part_of(progress, n + max_unique - len(unique), n + max_unique)
    between = nearest(train[unique], train, 1, itself=unique, chunk=chunk, progress=remaining).squares[inverse, 0]
    ratio = np.divide(first, second, where=second > 0, out=np.ones_like(first))
    return Memorisation(index, first > between, np.sqrt(ratio))


def excess_copies(samples: Memorisation, heldout: Memorisation) -> float:
    """The number of standard errors by which fewer samples than held-out images are authentic.

    z = (b - a) / (p (1 - p) (1 / n + 1 / m))^1/2, for the shares a of n samples, b of m held-out images and p of both.
    Given the training set every image is an independent trial, so z is about standard normal for a perfect sampler.
    """
    n, m = len(samples.authentic), len(heldout.authentic)
    pooled = (samples.authentic.sum() + heldout.authentic.sum()) / (n + m)
    difference = heldout.authentic.mean() - samples.authentic.mean()
    return float(difference / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))) if difference else 0.0


def is_memorised(samples: Memorisation, heldout: Memorisation, threshold: float = 4.0) -> bool:
    """Whether `excess_copies` is above the threshold: at 4, true for one perfect sampler in 30,000.

    Blurred samples are nearer to all images, so they can be flagged without memorisation: also look at the images.
    """
    return excess_copies(samples, heldout) > threshold
