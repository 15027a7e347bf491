"""Dead leaves: random occluding discs, the simplest images with objects, edges and occlusion at every scale."""

from dataclasses import dataclass

import numpy as np

from diffjax.data.source import Examples, Synthetic, in_memory, random
from diffjax.data.space import Space
from diffjax.errors import UserError

TOGETHER = 4096  # patches drawn at a time, to limit memory


@dataclass(frozen=True)
class DeadLeaves(Synthetic):
    """Patches [size, size, 1] float32 of uniformly placed occluding discs; radii have density r^-exponent in bounds.

    Lee, Mumford & Huang 2001: with exponent 3 the images are scale invariant between the bounds. Each disc has an
    independent grey value, uniform on 0..255; a pixel shows the topmost disc over its centre. Flat discs have no
    density, so uniform noise spreads each pixel over the bin of its grey value, 1/256 of the range, as the released
    code of Sohl-Dickstein et al. 2015 does for images. For their dead leaves they state neither this, nor the size, the
    exponent or the bounds. Models see unit variance.

    Raises UserError for invalid sizes.
    """

    size: int = 8  # pixels, height and width
    exponent: float = 3.0
    radius_min: float = 1.0  # pixels
    radius_max: float = 16.0  # pixels
    num_train: int = 50_000
    num_heldout: int = 2_000
    seed: int = 0  # training and held-out patches use different random streams

    def __post_init__(self):
        if self.size < 1:
            raise UserError(f"data.size: {self.size} pixels; must be at least 1")
        if not 0 < self.radius_min < self.radius_max:
            raise UserError(
                f"data.radius_min: {self.radius_min} must be above 0 and below data.radius_max={self.radius_max}"
            )
        self._check_counts()

    @property
    def space(self) -> Space:
        # The marginal of every pixel is U(-1/2, 255 + 1/2).
        return Space("points", (self.size, self.size, 1), shift=127.5, scale=256 / 12**0.5)

    def _draw(self, n: int, stream: int) -> Examples:
        generator = random(self.seed, stream, field="data.seed")
        x = np.empty((n, self.size, self.size, 1), np.float32)
        for first in range(0, n, TOGETHER):
            patches = x[first : first + TOGETHER, ..., 0]
            patches[...] = self._fallen(generator, len(patches))
        return in_memory(x, np.zeros(n))

    def _fallen(self, generator: np.random.RandomState, n: int) -> np.ndarray:
        """Draws grey values [n, size, size], from the topmost disc down, until every pixel is covered."""
        centres = np.arange(self.size) + 0.5
        grey, covered = np.zeros((n, self.size, self.size)), np.zeros((n, self.size, self.size), bool)
        uncovered = np.arange(n)
        while len(uncovered):
            radius = self._radii(generator, len(uncovered))[:, None, None]
            # Uniform over all centres from which a disc may touch the image; `_radii` weights radii accordingly.
            x, y = (generator.uniform(-radius, self.size + radius) for _ in range(2))
            disc_grey = generator.randint(256, size=len(uncovered))[:, None, None]
            inside = (centres - x) ** 2 + (centres[:, None] - y) ** 2 <= radius**2
            grey[uncovered] = np.where(inside & ~covered[uncovered], disc_grey, grey[uncovered])
            covered[uncovered] |= inside
            uncovered = uncovered[~covered[uncovered].all(axis=(1, 2))]
        return grey + generator.uniform(-0.5, 0.5, size=grey.shape)

    def _radii(self, generator: np.random.RandomState, n: int) -> np.ndarray:
        """Draws radii [n] of discs that may touch the image: density r^-exponent (size + 2 r)^2, a 3-part mixture."""
        powers = -self.exponent + np.arange(3)
        weights = np.array([self.size**2, 4 * self.size, 4]) * [self._integral(power) for power in powers]
        power = powers[np.searchsorted(np.cumsum(weights) / weights.sum(), generator.uniform(size=n), side="right")]
        u, low, high = generator.uniform(size=n), self.radius_min, self.radius_max
        is_log = np.abs(power + 1) < 1e-9  # the integral of r^-1 is a logarithm
        p = np.where(is_log, 1.0, power + 1)
        return np.where(is_log, low * (high / low) ** u, (low**p + u * (high**p - low**p)) ** (1 / p))

    def _integral(self, power: float) -> float:
        """The integral of r^power between the bounds."""
        low, high, p = self.radius_min, self.radius_max, power + 1
        return float(np.log(high / low)) if abs(p) < 1e-9 else (high**p - low**p) / p
