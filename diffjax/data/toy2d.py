"""Two-dimensional distributions with known properties: two mixtures with modes to count, and two curves.

Each is a set of points plus Gaussian noise, centred by definition; by default models see it divided by its exact
standard deviation.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from diffjax.data.source import Examples, Synthetic, in_memory, random
from diffjax.data.space import Space
from diffjax.errors import UserError


@dataclass(frozen=True)
class _Kind:
    draw: Callable  # (generator, n) -> points [n, 2] before the noise, with mean zero; component [n]
    variance: float  # of the points before the noise, averaged over both coordinates
    sigma: float  # standard deviation of the noise, in stored units
    components: int  # number of classes if `labelled`
    modes: tuple[tuple[float, float], ...] = ()
    curves: tuple[Callable, ...] = ()  # equally likely; each maps u [n], uniform in [0, 1], to points [n, 2]


def _mixture(modes: np.ndarray, sigma: float) -> _Kind:
    """A mixture of equally likely Gaussians; `modes` [k, 2] have mean zero."""

    def draw(generator, n):
        component = generator.randint(len(modes), size=n)
        return modes[component], component

    return _Kind(draw, float(np.mean(modes**2)), sigma, len(modes), tuple(map(tuple, modes)))


def _swiss_roll(generator, n):
    return _spiral(generator.uniform(size=n)), np.zeros(n)


def _spiral(u):
    """scikit-learn's swiss roll from above: (t cos t, t sin t), t uniform in [3 pi/2, 9 pi/2], minus its mean."""
    t = 1.5 * np.pi * (1 + 2 * u)
    return np.stack([t * np.cos(t) - 2, t * np.sin(t) - 2 / (3 * np.pi)], -1)


def _moons(generator, n):
    """Draws both moons with independent uniform angles."""
    u, inner = generator.uniform(size=n), generator.randint(2, size=n)
    return _half_circle(u, inner), inner


def _half_circle(u, inner):
    """scikit-learn's two moons, the outer (`inner` 0) and the inner (1), minus their mean (1/2, 1/4)."""
    angle, sign = np.pi * u, 1 - 2 * inner
    return np.stack([sign * np.cos(angle) + inner - 0.5, sign * np.sin(angle) + 0.5 * inner - 0.25], -1)


_angles = 2 * np.pi * np.arange(8) / 8
_lattice = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
KINDS = {
    # PacGAN (Lin et al. 2018), two-dimensional mixtures
    "ring": _mixture(np.stack([np.cos(_angles), np.sin(_angles)], -1), sigma=0.01),
    "grid": _mixture(np.stack(np.meshgrid(_lattice, _lattice, indexing="ij"), -1).reshape(-1, 2), sigma=0.05),
    # Sohl-Dickstein et al. 2015 do not state their noise. With sigma = 0.025 the entropy after scaling to unit variance
    # is -2.38 bits, so that their K of 2.35 bits is just attainable, up to the loss of K at its first step (0.05 bits
    # in configs/sohl_dickstein.py); with more noise it would not be.
    "swiss_roll": _Kind(
        _swiss_roll,
        variance=(9.75 * np.pi**2 - 4 - 4 / (9 * np.pi**2)) / 2,
        sigma=0.025,
        components=1,
        curves=(_spiral,),
    ),
    "moons": _Kind(
        _moons,
        variance=(0.75 + 0.625 - 1 / np.pi - 0.0625) / 2,  # E x^2 = 1, E y^2 = 5/8 - 1/pi before centring
        sigma=0.05,
        components=2,
        curves=(partial(_half_circle, inner=0), partial(_half_circle, inner=1)),
    ),
}


@dataclass(frozen=True)
class Toy2D(Synthetic):
    """Points [2] float32 of one `kind`: "ring", "grid", "swiss_roll" or "moons". Raises UserError for any other."""

    kind: str
    num_train: int = 100_000  # an epoch in PacGAN
    num_heldout: int = 10_000
    seed: int = 0  # training and held-out points use different random streams
    noise: float = 0.0  # standard deviation in stored units; 0: 0.01 ring, 0.05 grid, 0.025 swiss_roll, 0.05 moons
    labelled: bool = False  # the label is the mixture component (8 ring, 25 grid) or the moon (2)
    standardised: bool = True  # models see unit variance; False: stored units

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UserError(f"data.name: 'toy2d:{self.kind}' is unknown; must be one of toy2d:{', toy2d:'.join(KINDS)}")
        self._check_counts()
        if self.noise < 0:
            raise UserError(
                f"data.noise: {self.noise}; must be positive, or 0 for the default of {KINDS[self.kind].sigma}"
            )
        if self.labelled and KINDS[self.kind].components == 1:
            raise UserError(f"data.labelled: 'toy2d:{self.kind}' has a single component; must be False")

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise, in stored units."""
        return self.noise or KINDS[self.kind].sigma

    @property
    def modes(self) -> np.ndarray:
        """Means of the mixture, [k, 2], in stored units; label i is mode i. Raises UserError for a curve."""
        modes = KINDS[self.kind].modes
        if not modes:
            raise UserError(f"data.name: 'toy2d:{self.kind}' has no modes; must be toy2d:ring or toy2d:grid")
        return np.array(modes)

    def log_density(self, x: np.ndarray, at_once: int = 64) -> np.ndarray:
        """log p(x) [n] in nats and stored units: exact for the mixtures, by quadrature for the curves.

        Its negative mean over held-out points is the entropy.
        """
        centres, log_sums = self._centres, []
        for block in np.split(np.asarray(x, np.float64), range(at_once, len(x), at_once)):
            dx, dy = ((block[:, None, i] - centres[None, :, i]) / self.sigma for i in (0, 1))
            exponent = -0.5 * (dx**2 + dy**2)
            maximum = exponent.max(axis=1, keepdims=True)  # log-sum-exp, finite far from all centres
            log_sums.append(maximum[:, 0] + np.log(np.mean(np.exp(exponent - maximum), axis=1)))
        return np.concatenate(log_sums) - np.log(2 * np.pi * self.sigma**2)

    def blurred(self, std: float) -> "Toy2D":
        """The distribution of x + std eps, eps ~ N(0, I), in stored units."""
        return replace(self, noise=float(np.hypot(self.sigma, std)))

    @property
    def _centres(self) -> np.ndarray:
        """Equally likely centres of the noise, [k, 2]: the modes, or the nodes of a midpoint rule along the curves.

        Nodes are at most half a standard deviation apart, so that the relative error of the density is 1e-6, and below
        1e-2 near the ends of a curve, where the integrand has an edge.
        """
        curves = KINDS[self.kind].curves
        if not curves:
            return self.modes
        grid = np.linspace(0, 1, 1001)
        max_speed = max(np.linalg.norm(np.diff(curve(grid), axis=0), axis=1).max() for curve in curves) * 1000
        count = int(np.ceil(2 * max_speed / self.sigma))
        return np.concatenate([curve((np.arange(count) + 0.5) / count) for curve in curves])

    @property
    def space(self) -> Space:
        kind = KINDS[self.kind]
        scale = (kind.variance + self.sigma**2) ** 0.5 if self.standardised else 1.0
        return Space("points", (2,), num_classes=kind.components if self.labelled else 0, shift=0.0, scale=scale)

    def _draw(self, n: int, stream: int) -> Examples:
        generator = random(self.seed, stream, field="data.seed")
        points, component = KINDS[self.kind].draw(generator, n)
        x = points + self.sigma * generator.standard_normal((n, 2))
        return in_memory(x.astype(np.float32), component if self.labelled else np.zeros(n))
