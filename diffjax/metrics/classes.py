"""What a classifier sees in samples: which classes, how balanced, how confident next to real held-out images.

The classifier is part of the protocol (its hash, its accuracy): its errors invent classes. At 99.5 % accuracy, 100 true
modes out of 1000 are counted as some 380 by single hits, hence the stated minimum number of hits.
Probabilities enter as their logarithm: log p is a set of logits of p.
"""

import math

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Float64, Int, Int64

from diffjax.errors import UserError
from diffjax.metrics.modes import kl_to_uniform


def class_counts(logits: Float[ArrayLike, "n k"]) -> Int64[np.ndarray, " k"]:
    """How many samples the classifier gives to each class (its argmax): [n, k] -> [k]. Raises UserError on NaN."""
    logits = checked_logits(logits)
    return np.bincount(logits.argmax(axis=1), minlength=logits.shape[1])


def mean_confidence(logits: Float[ArrayLike, "n k"]) -> float:
    """The mean over the samples of max_k softmax(logits)_k, in [1/k, 1]."""
    logits = checked_logits(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float((1 / np.exp(shifted).sum(axis=1)).mean())


def class_report(
    logits: Float[ArrayLike, "n k"], real_logits: Float[ArrayLike, "m k"], min_hits: int = 1
) -> dict[str, float]:
    """Samples [n, k] against real held-out images [m, k], by the same classifier.

    classes: classes with at least `min_hits` samples. class_kl: KL(class histogram || uniform), in nats, biased
    upwards by about (k - 1) / 2n. confidence, real_confidence: mean largest probability. confidence_ratio: the first
    over the second; 1 is as sure as on real images, and more than 1 means samples more typical than the data.
    """
    if min_hits < 1:
        raise UserError(f"min_hits: {min_hits} would count classes never seen; at least 1")
    counts = class_counts(logits)
    confidence, real_confidence = mean_confidence(logits), mean_confidence(real_logits)
    return {
        "classes": float((counts >= min_hits).sum()),
        "class_kl": kl_to_uniform(counts),
        "confidence": confidence,
        "real_confidence": real_confidence,
        "confidence_ratio": confidence / real_confidence,
    }


def stacked_report(digits: Int[ArrayLike, "n 3"], min_hits: int = 1) -> dict[str, float]:
    """Coverage of stacked MNIST's thousand modes 100 a + 10 b + c, by samples whose channels were read as (a, b, c).

    modes: those with at least `min_hits` samples. modes_single_hit: those with one, as papers count. kl: KL(histogram
    of all samples || uniform) in nats. `expected_kl_to_uniform(1000, n)` is the share of it that n alone makes,
    (K - 1) / 2n = 0.019 at 26,000; MNIST, whose classes are not quite equal, adds 3 x 0.0014.
    """
    if min_hits < 1:
        raise UserError(f"min_hits: {min_hits} would count modes never seen; at least 1")
    digits = np.asarray(digits)
    if not len(digits):
        raise UserError("digits: no samples; at least 1")
    if digits.min() < 0 or digits.max() > 9:
        raise UserError(f"digits: from {digits.min()} to {digits.max()}; a classifier of digits has the classes 0 to 9")
    counts = np.bincount(digits @ [100, 10, 1], minlength=1000)
    return {
        "modes": float((counts >= min_hits).sum()),
        "modes_single_hit": float((counts >= 1).sum()),
        "kl": kl_to_uniform(counts),
    }


def fair_min_hits(n: int, k: int) -> int:
    """From how many hits a mode should count: a quarter of its fair share, ceil(n / 4k); 7 for 26,000 samples of 1000.

    Of n samples with j of k modes, a digit misread with probability e, evenly, brings an absent mode some 3 e n / k
    hits, since its 27 neighbours each have n / j hits, and 27 j / k of them are there: 0.03 of a fair share at
    99 % accuracy, 0.1 if all the mistakes of a digit lead to one other. A perfect sampler of MNIST gives its rarest
    mode 0.7. A quarter is between the two, nearer the first, to be fair to samplers whose modes are unequal.

    docs/evaluation.md has simulations, and two cases where this is not enough.
    """
    return max(1, math.ceil(n / (4 * k)))


def checked_logits(logits: Float[ArrayLike, "n k"]) -> Float64[np.ndarray, "n k"]:
    """The logits in float64. Raises UserError if there are none, or some are NaN or infinite; -inf is a logit."""
    logits = np.asarray(logits, np.float64)
    if not len(logits):
        raise UserError("logits: no samples; at least 1")
    if not np.isfinite(logits.max(axis=1)).all():  # -inf, a probability of zero, is a logit; NaN and inf are not
        raise UserError("logits: some are NaN or infinite; the classifier or its input is broken")
    return logits
