"""The motion of ink, forward and backward, and what is measured of it: densities, entropies, and distances of drops."""

from itertools import pairwise
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter

from diffjax.data.gaussians import Mixture
from diffjax.errors import UserError
from experiments.figures.entropy import density, entropy_of_points, plane, total_variation

TIMES = np.linspace(0, 1, 41) ** 2  # at which it is looked at, either way: denser where a drop still has a shape
SAMPLES = 10_000  # that entropies are estimated from, forward and backward
MOVES, TRAILS = 12, 3  # places between two of TIMES at which particles are followed, and how many particles are
FINE = 180  # cells a side, in which samples are counted
MAXIMUM = float(np.log2(2 * np.pi * np.e))  # bits, of N(0, I) in the plane


class Motion(NamedTuple):
    """Particles at TIMES: where they are, and the entropy of all of them, estimated."""

    x: np.ndarray  # [times, SAMPLES, 2]
    bits: np.ndarray  # [times]
    ways: list[np.ndarray]  # of the first TRAILS from each of TIMES to the next, [places, TRAILS, 2] with both ends


def moments(process, t: float) -> tuple[float, float]:
    """alpha and sigma at t."""
    return float(process.alpha(jnp.float32(t))), float(process.sigma(jnp.float32(t)))


def spread(mixture: Mixture, process) -> list[np.ndarray]:
    """The exact density of x_t on `plane()`, at TIMES."""
    points, _ = plane()
    return [density(mixture.noised(*moments(process, t)), points) for t in TIMES]


def brownian(mixture: Mixture, process, seed: int | tuple[int, ...]) -> Motion:
    """One path for each particle, in MOVES moves from each time to the next, each by the exact transition."""
    generator = np.random.RandomState(seed)
    x, ways = [mixture.sample(generator, SAMPLES)], []
    for start, end in pairwise(np.sqrt(TIMES)):
        places, times = [x[-1]], np.linspace(start, end, MOVES + 1) ** 2
        for s, t in pairwise(times):
            factor, variance = (float(a) for a in process.transition(jnp.float32(s), jnp.float32(t)))
            places.append(factor * places[-1] + max(variance, 0.0) ** 0.5 * generator.standard_normal(x[0].shape))
        x.append(places[-1])
        ways.append(np.stack(places)[:, :TRAILS])
    return measured(np.stack(x), ways)


def backward(run, seed: int) -> Motion:
    """The model's samples on their way from noise to the drop, at the moments nearest to TIMES."""
    spec = run.experiment.sampler
    drawn = run.sample(SAMPLES, seed, trajectory=True)
    if drawn.x_t is None:
        raise UserError(f"sampler.name: {run.experiment.config.sampler.name!r} goes no way that could be shown")
    times = np.asarray(spec.grid(run.process, spec.steps))
    x_t = np.concatenate([drawn.x_t, drawn.x[None]])
    index = [int(np.abs(times - t).argmin()) for t in TIMES]
    ways = [x_t[later : earlier + 1][::-1, :TRAILS] for earlier, later in pairwise(index)]
    return measured(x_t[index], ways)


def measured(x: np.ndarray, ways: list[np.ndarray]) -> Motion:
    return Motion(x, np.array([entropy_of_points(x_t) for x_t in x]), ways)


def blur(sigma: float) -> float:
    """By how much samples of x_t are blurred: a fifth of sigma_t, at least 0.05. 10,000 then make a smooth picture."""
    return float(np.hypot(0.05, 0.2 * sigma))


def of_samples(x: np.ndarray, sigma: float) -> np.ndarray:
    """The density of samples of x_t on `plane(count=FINE)`: their histogram, blurred."""
    points, area = plane(count=FINE)
    width = area**0.5
    edges = np.append(points[0, :, 0] - width / 2, points[0, -1, 0] + width / 2)
    counts = np.histogram2d(x[:, 1], x[:, 0], bins=[edges, edges])[0]
    return gaussian_filter(counts / (len(x) * area), blur(sigma) / width)


def from_drop(estimates: list[np.ndarray], mixture: Mixture, process) -> np.ndarray:
    """The total variation distance, at TIMES, of densities of samples from that of the drop, as blurred as they are."""
    points, area = plane(count=FINE)
    found = []
    for p, t in zip(estimates, TIMES, strict=True):
        alpha, sigma = moments(process, t)
        exact = density(mixture.noised(alpha, np.hypot(sigma, blur(sigma))), points)
        found.append(total_variation(p, exact, area))
    return np.array(found)
