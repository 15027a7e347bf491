"""What a classifier sees in samples: which classes, how balanced, how confident next to real held-out images.

The classifier is part of the protocol (its hash, its accuracy): its errors invent classes. At 99.5 % accuracy, 100 true
modes out of 1000 are counted as some 380 by single hits, hence the stated minimum number of hits.
Probabilities enter as their logarithm: log p is a set of logits of p.
"""

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int64

from diffjax.errors import UserError
from diffjax.metrics.modes import kl_to_uniform


def class_counts(logits: Float[ArrayLike, "n k"]) -> Int64[np.ndarray, " k"]:
    """How many samples the classifier gives to each class (its argmax): [n, k] -> [k]. Raises UserError on NaN."""
    logits = _checked(logits)
    return np.bincount(logits.argmax(axis=1), minlength=logits.shape[1])


def mean_confidence(logits: Float[ArrayLike, "n k"]) -> float:
    """The mean over the samples of max_k softmax(logits)_k, in [1/k, 1]."""
    logits = _checked(logits)
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


def _checked(logits: Float[ArrayLike, "n k"]) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    if not len(logits):
        raise UserError("logits: no samples; at least 1")
    if not np.isfinite(logits.max(axis=1)).all():  # -inf, a probability of zero, is a logit; NaN and inf are not
        raise UserError("logits: some are NaN or infinite; the classifier or its input is broken")
    return logits
