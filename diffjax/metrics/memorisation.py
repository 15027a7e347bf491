"""Whether samples are copies of training images: the nearest ones, AuthPct, and a verdict next to held-out images.

A sample is AUTHENTIC when it is farther from its nearest training image than that image is from the nearest other one
(Alaa et al. 2022, 4; as dgm-eval computes it: the code of the paper asks from every training image for its nearest
sample instead, which is another number). AUTHPCT is the percentage of authentic samples. Not 100 for new images: those
of the held-out split say what it is without memory.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Float64, Int64

from diffjax.errors import UserError
from diffjax.metrics.arrays import CHUNK, checked_pair
from diffjax.metrics.nearest import nearest
from diffjax.metrics.progress import OnProgress, part_of, silent

COPIED = 1 / 3  # of the distance to the second nearest: Yoon et al. 2023, Gu et al. 2023


class Memorisation(NamedTuple):
    """Of every sample."""

    index: Int64[np.ndarray, " n"]  # of the nearest training image
    distance: Float64[np.ndarray, " n"]  # to it
    authentic: Bool[np.ndarray, " n"]
    ratio: Float64[np.ndarray, " n"]  # of the distances to the nearest and to the second nearest training image, <= 1

    @property
    def auth_pct(self) -> float:
        """In percent, 0 to 100; low is bad."""
        return float(100 * self.authentic.mean())

    @property
    def copied_pct(self) -> float:
        """Percentage of samples three times nearer to one training image than to any other; blind to twins in it."""
        return float(100 * (self.ratio < COPIED).mean())


def memorisation(
    samples: Float[ArrayLike, "n d1"],
    train: Float[ArrayLike, "m d2"],
    chunk: int = CHUNK,
    progress: OnProgress = silent,
) -> Memorisation:
    """The nearest of the training images [m, d] of every sample [n, d], and whether it is nearer than it should be.

    Exact, in float64; O((n + min(n, m)) m d) time. A training image that has a twin makes what copies it authentic:
    remove duplicates first. Raises UserError on bad features or fewer than two training images.
    """
    samples, train = checked_pair(samples, train, ("samples", "train"))
    if len(train) < 2:
        raise UserError(f"train: {len(train)} images; at least 2, as each is measured by its nearest other one")
    n, most = len(samples), min(len(samples), len(train))  # queries: the samples, and the images nearest to them
    found = nearest(samples, train, 2, chunk=chunk, progress=part_of(progress, 0, n + most))
    index, (first, second) = found.indices[:, 0], found.squares.T
    near, place = np.unique(index, return_inverse=True)
    rest = part_of(progress, n + most - len(near), n + most)
    between = nearest(train[near], train, 1, itself=near, chunk=chunk, progress=rest).squares[place, 0]
    ratio = np.divide(first, second, where=second > 0, out=np.ones_like(first))
    return Memorisation(index, np.sqrt(first), first > between, np.sqrt(ratio))


def excess_copies(samples: Memorisation, heldout: Memorisation) -> float:
    """By how many standard errors fewer samples are authentic than held-out images, both against one training set.

    z = (b - a) / (p (1 - p) (1 / n + 1 / m))^1/2, of the shares a of n samples, b of m held-out images and p of both.
    Given the training set every image is an independent trial, so z of a perfect sampler is about standard normal.
    """
    n, m = len(samples.authentic), len(heldout.authentic)
    both = (samples.authentic.sum() + heldout.authentic.sum()) / (n + m)
    difference = heldout.authentic.mean() - samples.authentic.mean()
    return float(difference / np.sqrt(both * (1 - both) * (1 / n + 1 / m))) if difference else 0.0


def is_memorised(samples: Memorisation, heldout: Memorisation, threshold: float = 4.0) -> bool:
    """Whether `excess_copies` is above the threshold: at 4, once in 30,000 perfect samplers.

    Blurred samples are nearer to everything, so they can be flagged without memory: look at the nearest images too.
    """
    return excess_copies(samples, heldout) > threshold
