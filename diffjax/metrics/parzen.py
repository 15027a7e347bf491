"""Log likelihood by a Parzen window: what a density of Gaussians around samples says of real examples.

Breuleux et al. 2011, in the form of Goodfellow et al. 2014: the Gaussians' width is the one that is best on a
validation set. A poor judge in many dimensions, which real images themselves do not win (Theis et al. 2016, section
3.2); it is here for the tables that were made with it.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Float64

from diffjax.errors import UserError
from diffjax.metrics.arrays import blocks, checked_features, checked_pair
from diffjax.metrics.progress import OnProgress, silent

SIGMAS = tuple(np.logspace(-2, 0, 21))  # candidates, in units of the data; Goodfellow et al. try 10 from 0.1 to 1
AT_ONCE = 256  # examples: beside 10,000 samples 20 MB of distances


class Parzen(NamedTuple):
    """nats an example, in the units of the data."""

    log_likelihood: float  # the mean over the test examples
    standard_error: float  # over them
    sigma: float  # the width chosen
    at_an_end: bool  # whether no wider, or no narrower, one was tried


def parzen(
    samples: Float[ArrayLike, "n d"],
    validation: Float[ArrayLike, "v d"],
    test: Float[ArrayLike, "m d"],
    sigmas: tuple[float, ...] = SIGMAS,
    progress: OnProgress = silent,
) -> Parzen:
    """Mean over `test` of log 1/n sum_i N(x; sample_i, sigma^2 I), sigma the best of `sigmas` on `validation`.

    Float64, O(n (v + m) d) time, in chunks: memory stays small. Raises UserError unless all is finite, of as many
    dimensions, there are two test examples, and the widths are positive.
    """
    samples, validation = checked_pair(samples, validation, ("samples", "validation"))
    test = checked_pair(samples, checked_features("test", test, 2), ("samples", "test"))[1]
    widths = np.sort(np.asarray(sigmas, np.float64))
    if not len(widths) or not (np.isfinite(widths) & (widths > 0)).all():
        raise UserError("sigmas: the widths of a Parzen window are positive; some of these are not, or there are none")
    total = len(validation) + len(test)
    by_sigma = _log_density(samples, validation, widths, progress, 0, total).mean(axis=0)
    best = int(np.argmax(by_sigma))
    values = _log_density(samples, test, widths[[best]], progress, len(validation), total)[:, 0]
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Parzen(float(values.mean()), error, float(widths[best]), best in (0, len(widths) - 1))


def _log_density(
    samples: np.ndarray, x: np.ndarray, sigmas: Float64[np.ndarray, "k"], progress: OnProgress, before: int, total: int
) -> Float64[np.ndarray, "m k"]:
    """That of each example, by each width."""
    samples = np.asarray(samples, np.float64)
    n, d = samples.shape
    squares, out = np.sum(samples**2, axis=1), np.empty((len(x), len(sigmas)))
    for rows, part in blocks(x, AT_ONCE):
        distance = np.maximum(np.sum(part**2, axis=1)[:, None] + squares - 2 * part @ samples.T, 0.0)
        nearest = distance.min(axis=1, keepdims=True)
        beyond = distance - nearest  # the nearest sample's part is taken out: what is left cannot underflow
        for k, sigma in enumerate(sigmas):
            share = np.log(np.mean(np.exp(-0.5 * beyond / sigma**2), axis=1))
            out[rows, k] = share - 0.5 * nearest[:, 0] / sigma**2 - 0.5 * d * np.log(2 * np.pi * sigma**2)
        progress(before + rows.stop, total)
    return out
