"""Dead leaves: discs that fall on each other, the simplest images with objects, edges and occlusion at every scale."""

from dataclasses import dataclass

import numpy as np

from diffjax.data.source import Examples, Synthetic, in_memory, random
from diffjax.data.space import Space
from diffjax.errors import UserError

TOGETHER = 4096  # patches drawn at a time: what is in memory stays small


@dataclass(frozen=True)
class DeadLeaves(Synthetic):
    """Patches [size, size, 1] float32 of occluding discs, uniformly placed, radii with density r^-exponent in bounds.

    Lee, Mumford & Huang 2001: with exponent 3 the images look the same at every scale between the bounds. A disc's grey
    is one of 0..255, all equally likely, without regard to its neighbours'; a pixel shows the topmost disc over its
    centre. Flat discs have no density. So each pixel is spread evenly over its grey's bin, 1/256 of the range, which is
    what the released code of Sohl-Dickstein et al. 2015 does to images; of their own dead leaves they state neither
    that, nor the size, the exponent or the bounds. Models see unit variance.

    Raises UserError for sizes that make no sense.
    """

    size: int = 8  # pixels, height and width
    exponent: float = 3.0
    radius_min: float = 1.0  # pixels
    radius_max: float = 16.0  # pixels
    num_train: int = 50_000
    num_heldout: int = 2_000
    seed: int = 0  # of the draws; train and held-out patches come from different streams

    def __post_init__(self):
        if self.size < 1:
            raise UserError(f"data.size: {self.size} is not a number of pixels; at least 1")
        if not 0 < self.radius_min < self.radius_max:
            raise UserError(
                f"data.radius_min: {self.radius_min} must be above 0 and below data.radius_max={self.radius_max}"
            )
        self._check_counts()

    @property
    def space(self) -> Space:
        # The variance of U(-1/2, 255 + 1/2), which every pixel by itself has.
        return Space("points", (self.size, self.size, 1), shift=127.5, scale=256 / 12**0.5)

    def _draw(self, n: int, stream: int) -> Examples:
        generator = random(self.seed, stream, field="data.seed")
        x = np.empty((n, self.size, self.size, 1), np.float32)
        for first in range(0, n, TOGETHER):
            part = x[first : first + TOGETHER, ..., 0]
            part[...] = self._fallen(generator, len(part))
        return in_memory(x, np.zeros(n))

    def _fallen(self, generator: np.random.RandomState, n: int) -> np.ndarray:
        """[n, size, size] in greys. From the topmost disc down, so that the image is done when it is covered."""
        place = np.arange(self.size) + 0.5
        grey, covered = np.zeros((n, self.size, self.size)), np.zeros((n, self.size, self.size), bool)
        open_ = np.arange(n)
        while len(open_):
            radius = self._radii(generator, len(open_))[:, None, None]
            # Anywhere that it may touch the image from; `_radii` knows how often that is for each radius.
            x, y = (generator.uniform(-radius, self.size + radius) for _ in range(2))
            shade = generator.randint(256, size=len(open_))[:, None, None]
            under = (place - x) ** 2 + (place[:, None] - y) ** 2 <= radius**2
            grey[open_] = np.where(under & ~covered[open_], shade, grey[open_])
            covered[open_] |= under
            open_ = open_[~covered[open_].all(axis=(1, 2))]
        return grey + generator.uniform(-0.5, 0.5, size=grey.shape)

    def _radii(self, generator: np.random.RandomState, n: int) -> np.ndarray:
        """[n] radii of the discs that may touch the image: density r^-exponent (size + 2 r)^2, a mixture of three."""
        powers = -self.exponent + np.arange(3)
        weights = np.array([self.size**2, 4 * self.size, 4]) * [self._integral(power) for power in powers]
        power = powers[np.searchsorted(np.cumsum(weights) / weights.sum(), generator.uniform(size=n), side="right")]
        u, low, high = generator.uniform(size=n), self.radius_min, self.radius_max
        even = np.abs(power + 1) < 1e-9  # r^-1, whose integral is a logarithm
        p = np.where(even, 1.0, power + 1)
        return np.where(even, low * (high / low) ** u, (low**p + u * (high**p - low**p)) ** (1 / p))

    def _integral(self, power: float) -> float:
        """That of r^power between the bounds."""
        low, high, p = self.radius_min, self.radius_max, power + 1
        return float(np.log(high / low)) if abs(p) < 1e-9 else (high**p - low**p) / p
