"""Inception Score (Salimans et al. 2016): how sure a classifier is of each sample, and how varied the samples are."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from diffjax.errors import UserError
from diffjax.metrics.classes import checked_logits


class InceptionScore(NamedTuple):
    mean: float  # over the splits
    std: float  # over the splits, ddof 0, as published


def inception_score(logits: Float[ArrayLike, "n k"], splits: int = 10) -> InceptionScore:
    """IS = exp(mean over x of KL(p(y|x) || p(y))), of each split of the samples by itself; p = softmax(logits).

    From 1 (every prediction the same) to k (all certain, all classes alike). It grows with n / splits, so the number
    of samples and of splits belong to its protocol.

    Split i is the rows [i n // splits, (i + 1) n // splits) in the order GIVEN. torch-fidelity shuffles first, unless
    told not to (`samples_shuffle`): logits[np.random.RandomState(2020).permutation(n)] gives its number. In samples
    sorted by class the order is everything: shuffle those. In float64. Raises UserError on unusable logits, or fewer
    samples than splits.
    """
    logits = checked_logits(logits)
    n = len(logits)
    if not 1 <= splits <= n:
        raise UserError(f"splits: {splits} of {n} samples; from 1 to {n}")
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    scores = []
    for i in range(splits):
        log_part = log_p[i * n // splits : (i + 1) * n // splits]
        part = np.exp(log_part)
        marginal = np.broadcast_to(part.mean(axis=0), part.shape)
        seen = part > 0  # p log p = 0 at p = 0; where p > 0 the marginal is
        scores.append(np.exp((part[seen] * (log_part[seen] - np.log(marginal[seen]))).sum() / len(part)))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))
