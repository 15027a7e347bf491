"""Classes that a classifier sees in samples: number, balance, and confidence relative to real held-out images.

The classifier is part of the protocol (its hash, its accuracy), as its errors add classes. At 99.5 % accuracy, 100 true
modes out of 1000 are counted as some 380 by single hits; hence the minimum number of hits.
Pass probabilities as their logarithm: log p is a valid set of logits of p.
"""

import math

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Float64, Int, Int64

from diffjax.errors import UserError
from diffjax.metrics.modes import kl_to_uniform


def class_counts(logits: Float[ArrayLike, "n k"]) -> Int64[np.ndarray, " k"]:
    """The number of samples in each class (the argmax): [n, k] -> [k]. Raises UserError on NaN."""
    logits = checked_logits(logits)
    return np.bincount(logits.argmax(axis=1), minlength=logits.shape[1])


def mean_confidence(logits: Float[ArrayLike, "n k"]) -> float:
    """The mean over samples of max_k softmax(logits)_k, in [1/k, 1]."""
    logits = checked_logits(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float((1 / np.exp(shifted).sum(axis=1)).mean())


def class_report(logits: Float[ArrayLike, "n k"], real_logits: Float[ArrayLike, "m k"]) -> dict[str, float]:
    """Compares samples [n, k] with real held-out images [m, k], by the same classifier.

    classes: number of classes with samples. class_kl: KL(class histogram || uniform), in nats, biased upwards by about
    (k - 1) / 2n if classes are drawn at random. confidence, real_confidence: mean largest probability.
    confidence_ratio: the first over the second; 1 is as confident as on real images, above 1 the samples are more
    typical than the data.
    """
    counts = class_counts(logits)
    confidence, real_confidence = mean_confidence(logits), mean_confidence(real_logits)
    return {
        "classes": float((counts > 0).sum()),
        "class_kl": kl_to_uniform(counts),
        "confidence": confidence,
        "real_confidence": real_confidence,
        "confidence_ratio": confidence / real_confidence,
    }


def stacked_report(digits: Int[ArrayLike, "n 3"], min_hits: int = 1) -> dict[str, float]:
    """Coverage of stacked MNIST's thousand modes 100 a + 10 b + c, by samples whose channels were read as (a, b, c).

    modes: number of modes with at least `min_hits` samples. modes_single_hit: with at least one, as papers count. kl:
    KL(histogram of all samples || uniform) in nats. Its bias from finite n is `expected_kl_to_uniform(1000, n)`, about
    (K - 1) / 2n = 0.019 at 26,000; MNIST, whose classes are not quite balanced, adds 3 x 0.0014.
    """
    if min_hits < 1:
        raise UserError(f"min_hits: {min_hits} would count modes without samples; must be at least 1")
    digits = np.asarray(digits)
    if not len(digits):
        raise UserError("digits: no samples; must be at least 1")
    if digits.min() < 0 or digits.max() > 9:
        raise UserError(f"digits: from {digits.min()} to {digits.max()}; must be from 0 to 9")
    counts = np.bincount(digits @ [100, 10, 1], minlength=1000)
    return {
        "modes": float((counts >= min_hits).sum()),
        "modes_single_hit": float((counts >= 1).sum()),
        "kl": kl_to_uniform(counts),
    }


def fair_min_hits(n: int, k: int) -> int:
    """The hits from which a mode counts: a quarter of its fair share, ceil(n / 4k); 7 for n = 26,000, k = 1000.

    Let n samples cover j of k modes, and let the classifier misread a digit with probability e, uniformly. An absent
    mode then gets some 3 e n / k hits, as 27 j / k of its 27 neighbours are present with n / j hits each: 0.03 of a
    fair share at 99 % accuracy, 0.1 if a digit is always misread as the same other. A perfect sampler of MNIST gives
    its rarest mode 0.7 of a fair share. A quarter lies between the two, nearer the first, to be fair to samplers whose
    modes are unequal.

    docs/evaluation.md has simulations, and two cases where this is not enough.
    """
    return max(1, math.ceil(n / (4 * k)))


def checked_logits(logits: Float[ArrayLike, "n k"]) -> Float64[np.ndarray, "n k"]:
    """The logits in float64. Raises UserError if there are none, or some are NaN or +inf; -inf is allowed."""
    logits = np.asarray(logits, np.float64)
    if not len(logits):
        raise UserError("logits: no samples; must be at least 1")
    if not np.isfinite(logits.max(axis=1)).all():  # -inf is the logit of probability zero; NaN and +inf are invalid
        raise UserError("logits: some are NaN or infinite; must be finite, or -inf for a probability of zero")
    return logits
