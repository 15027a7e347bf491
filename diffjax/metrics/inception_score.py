"""Inception Score (Salimans et al. 2016): the certainty of a classifier about samples, and their diversity."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from diffjax.errors import UserError
from diffjax.metrics.classes import checked_logits


class InceptionScore(NamedTuple):
    mean: float  # over the splits
    std: float  # over the splits, ddof 0, as in the paper


def inception_score(logits: Float[ArrayLike, "n k"], splits: int = 10) -> InceptionScore:
    """IS = exp(mean over x of KL(p(y|x) || p(y))) for each split of the samples; p = softmax(logits).

    It ranges from 1 (all predictions equal) to k (all certain, classes balanced). It grows with n / splits, so the
    numbers of samples and of splits are part of the protocol.

    Split i has the rows [i n // splits, (i + 1) n // splits) in the order GIVEN. torch-fidelity shuffles first by
    default (`samples_shuffle`): logits[np.random.RandomState(2020).permutation(n)] reproduces its number. Shuffle
    samples that are sorted by class, whose order matters most. In float64. Raises UserError on unusable logits, or
    fewer samples than splits.
    """
    logits = checked_logits(logits)
    n = len(logits)
    if not 1 <= splits <= n:
        raise UserError(f"splits: {splits} of {n} samples; must be from 1 to {n}")
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    scores = []
    for i in range(splits):
        log_p_split = log_p[i * n // splits : (i + 1) * n // splits]
        p = np.exp(log_p_split)
        marginal = np.broadcast_to(p.mean(axis=0), p.shape)
        positive = p > 0  # p log p = 0 at p = 0; p > 0 implies marginal > 0
        scores.append(np.exp((p[positive] * (log_p_split[positive] - np.log(marginal[positive]))).sum() / len(p)))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))
