"""Log likelihood of real examples under Parzen windows: a mixture of Gaussians centred at samples.

Breuleux et al. 2011, in the form of Goodfellow et al. 2014: the width of the Gaussians is the best on a validation set.
It is a poor measure in many dimensions, where models can beat real images (Theis et al. 2016, section 3.2); it is here
to reproduce tables that report it.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Float64

from diffjax.errors import UserError
from diffjax.host.progress import OnProgress, silent
from diffjax.metrics.arrays import blocks, checked_features, checked_pair

SIGMAS = tuple(np.logspace(-2, 0, 21))  # candidates, in data units; Goodfellow et al. try 10 from 0.1 to 1
AT_ONCE = 256  # examples per block: 20 MB of distances to 10,000 samples


class Parzen(NamedTuple):
    """Log likelihood in nats per example, for densities in data units."""

    log_likelihood: float  # mean over the test examples
    standard_error: float  # over the test examples
    sigma: float  # the chosen width
    at_an_end: bool  # whether it is the smallest or the largest candidate


def parzen(
    samples: Float[ArrayLike, "n d"],
    validation: Float[ArrayLike, "v d"],
    test: Float[ArrayLike, "m d"],
    sigmas: tuple[float, ...] = SIGMAS,
    progress: OnProgress = silent,
) -> Parzen:
    """Mean over `test` of log 1/n sum_i N(x; sample_i, sigma^2 I), with the best of `sigmas` on `validation`.

    Float64, O(n (v + m) d) time, in chunks that keep memory small. Raises UserError unless everything is finite,
    dimensions agree, there are at least two test examples, and the widths are positive.
    """
    samples, validation = checked_pair(samples, validation, ("samples", "validation"))
    test = checked_pair(samples, checked_features("test", test, 2), ("samples", "test"))[1]
    widths = np.sort(np.asarray(sigmas, np.float64))
    if not len(widths) or not (np.isfinite(widths) & (widths > 0)).all():
        raise UserError(f"sigmas: {sigmas}; must be one or more finite, positive widths")
    total = len(validation) + len(test)
    mean_by_sigma = _log_density(samples, validation, widths, progress, 0, total).mean(axis=0)
    best = int(np.argmax(mean_by_sigma))
    values = _log_density(samples, test, widths[[best]], progress, len(validation), total)[:, 0]
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Parzen(float(values.mean()), error, float(widths[best]), best in (0, len(widths) - 1))


def _log_density(
    samples: np.ndarray, x: np.ndarray, sigmas: Float64[np.ndarray, "k"], progress: OnProgress, before: int, total: int
) -> Float64[np.ndarray, "m k"]:
    """The log density of each example, for each width."""
    samples = np.asarray(samples, np.float64)
    n, d = samples.shape
    squares, log_density = np.sum(samples**2, axis=1), np.empty((len(x), len(sigmas)))
    for rows, block in blocks(x, AT_ONCE):
        distance = np.maximum(np.sum(block**2, axis=1)[:, None] + squares - 2 * block @ samples.T, 0.0)
        nearest = distance.min(axis=1, keepdims=True)
        excess = distance - nearest  # log-sum-exp: factor out the nearest sample, so that nothing underflows
        for k, sigma in enumerate(sigmas):
            log_sum = np.log(np.mean(np.exp(-0.5 * excess / sigma**2), axis=1))
            log_density[rows, k] = log_sum - 0.5 * nearest[:, 0] / sigma**2 - 0.5 * d * np.log(2 * np.pi * sigma**2)
        progress(before + rows.stop, total)
    return log_density
