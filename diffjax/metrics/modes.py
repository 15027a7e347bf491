"""Coverage of 2-D mixtures of equal, isotropic Gaussians (ring, grid): Srivastava et al. 2017; Lin et al. 2018, 4.1.

A sample is of HIGH QUALITY when it lies within 3 standard deviations of the nearest centre. A mode is COVERED by one
such sample. The REVERSE KL is KL(histogram of modes || uniform) in nats, with each sample assigned to its nearest
centre. The histogram has only the high-quality samples, as in PacGAN's released code.
"""

import math

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from diffjax.errors import UserError

RADIUS = 3.0  # standard deviations, as in all published tables


def mode_report(samples: Float[ArrayLike, "n 2"], centres: Float[ArrayLike, "k 2"], std: float) -> dict[str, float]:
    """`modes`, `high_quality` (a fraction) and `reverse_kl` (nats) of samples [n, 2], for N(centre, std^2 I).

    A sample with a non-finite coordinate belongs to no mode, and lowers `high_quality`. If no sample counts,
    `reverse_kl` is infinite. Raises UserError without samples.
    """
    samples, centres = np.asarray(samples, np.float64), np.asarray(centres, np.float64)
    if not len(samples):
        raise UserError("samples: there are none; must be at least 1")
    finite = np.isfinite(samples).all(axis=1)
    distances = np.linalg.norm(samples[finite, None] - centres, axis=-1)
    nearest = distances.argmin(axis=1)
    high_quality = distances.min(axis=1) <= RADIUS * std
    hits = np.bincount(nearest[high_quality], minlength=len(centres))
    return {
        "modes": float((hits > 0).sum()),
        "high_quality": float(high_quality.sum() / len(samples)),
        "reverse_kl": kl_to_uniform(hits) if hits.any() else math.inf,
    }


def oracle_row(num_modes: int, n: int) -> dict[str, float]:
    """The mean of `mode_report` over n exact samples of well-separated modes: a perfect sampler's values.

    high_quality = 1 - exp(-3^2 / 2) = 98.89 %, the mass of a 2-D Gaussian within 3 standard deviations. A higher rate
    means that the variance has collapsed. The KL of n samples is not zero: see `expected_kl_to_uniform`.
    """
    high_quality = -math.expm1(-(RADIUS**2) / 2)
    return {
        "modes": num_modes * (1 - (1 - high_quality / num_modes) ** n),
        "high_quality": high_quality,
        "reverse_kl": expected_kl_to_uniform(num_modes, round(n * high_quality)),
    }


def kl_to_uniform(counts: Int[ArrayLike, " k"]) -> float:
    """KL(counts / n || uniform) = log k - H(counts / n), in nats: 0 when balanced, log k when one bin has all.

    This is the plug-in estimate, as in papers: it is biased upwards by about (k - 1) / 2n. Raises UserError if all
    counts are zero.
    """
    counts = np.asarray(counts, np.float64)
    if not counts.sum() > 0:
        raise UserError("counts: all zero, an empty histogram; must have at least one positive count")
    p = counts[counts > 0] / counts.sum()
    return float(max(0.0, p @ np.log(p * len(counts))))  # negative values are rounding


def expected_kl_to_uniform(num_bins: int, n: int) -> float:
    """The mean of `kl_to_uniform` over n exactly uniform draws: about (num_bins - 1) / 2n for large n.

    Exact: each bin's count c is binomial(n, 1 / num_bins), and KL = sum over the bins of (c / n) log(c num_bins / n).
    """
    if num_bins == 1 or n < 1:
        return 0.0 if num_bins == 1 else math.inf
    c = np.arange(1, n + 1)
    log_factorial = np.concatenate([np.zeros(1), np.cumsum(np.log(c))])
    log_choose = log_factorial[n] - log_factorial[c] - log_factorial[n - c]
    probability = np.exp(log_choose - c * math.log(num_bins) + (n - c) * math.log1p(-1 / num_bins))
    return float(num_bins * (probability @ (c / n * np.log(c * num_bins / n))))
