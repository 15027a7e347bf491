"""Metrics of nearest neighbours: precision, recall, density and coverage; copies of training images."""

import numpy as np

from diffjax import metrics as m
from diffjax.drawing import pictures
from diffjax.evaluation.contract import BY_HASH, Score, Sets
from diffjax.evaluation.images import OTHERS, as_many
from diffjax.evaluation.names import PRDC, score_names
from diffjax.inference.embedding import Embedded

SHOWN = 16  # samples pictured with their nearest training images


def prdc(e: Sets, features: str) -> list[Score]:
    """Precision and recall by both conventions, density and coverage, against at most as many reference images."""
    samples, reference, others = (e.embedded(features, set_name) for set_name in ("samples", "reference", "others"))
    subset = reference.at_most(len(samples))
    order = BY_HASH if len(subset) < len(reference) else {}

    def measure(images: Embedded) -> dict[str, m.PRDC]:
        return m.prdc(images.features, subset.features, progress=e.progress(f"prdc:{features}"))

    result = measure(samples)
    best_result = measure(others) if as_many(others, samples) else None
    scores = []
    for name, (convention, quantity) in zip(score_names("prdc", features), PRDC.values(), strict=True):
        k, closed = m.CONVENTIONS[convention]
        protocol = e.describe(features) | {"k": k, "ball": "closed" if closed else "open"} | order
        protocol |= {"reference": len(subset)}
        at_best, meaning = None, "unknown"
        if best_result is not None:
            at_best, meaning = getattr(best_result[convention], quantity), OTHERS
        elif quantity in ("density", "coverage"):
            expected = {"density": 1.0, "coverage": m.expected_coverage(len(samples), len(subset), k)}
            at_best, meaning = expected[quantity], "as many draws from the same distribution, in the mean"
        value, convention_text = getattr(result[convention], quantity), f"by {convention.title()} et al., k = {k}"
        scores.append(Score(name, value, at_best, f"{meaning}; {convention_text}", protocol))
    return scores


def memorisation(e: Sets, features: str) -> list[Score]:
    """Whether samples copy training images: AuthPct (Alaa et al. 2022), and a picture of the nearest pairs."""
    samples, train, heldout = (e.embedded(features, set_name) for set_name in ("samples", "train", "heldout"))

    def measure(images: Embedded) -> m.Memorisation:
        return m.memorisation(images.features, train.features, progress=e.progress(f"memorisation:{features}"))

    result = measure(samples)
    heldout_result = None if heldout is None else measure(heldout)
    protocol = e.describe(features, against="train")
    auth_name, copied_name, excess_name = score_names("memorisation", features)
    heldout_meaning = "unknown" if heldout_result is None else f"{len(heldout)} held-out images"
    at_best = (None, None) if heldout_result is None else (heldout_result.auth_pct, heldout_result.copied_pct)
    auth_meaning = f"{heldout_meaning}; % farther from their nearest than it is from others"
    copied_meaning = f"{heldout_meaning}; % three times nearer to one than to any other"
    scores = [
        Score(auth_name, result.auth_pct, at_best[0], auth_meaning, protocol),
        Score(copied_name, result.copied_pct, at_best[1], copied_meaning, protocol),
    ]
    if heldout_result is not None:
        warning = ""
        if m.is_memorised(result, heldout_result):
            warning = "samples are nearer to training images than new ones: memorised, or blurred; look at the picture"
        excess_protocol = protocol | {"heldout": len(heldout), "heldout_hash": heldout.content}
        excess_meaning = "standard errors below held-out images; from 4 on it is no chance"
        scores.append(
            Score(excess_name, m.excess_copies(result, heldout_result), 0.0, excess_meaning, excess_protocol, warning)
        )
    closest = np.argsort(result.ratio, kind="stable")[:SHOWN]
    e.pictures[f"nearest_{features}"] = _beside(e.images("samples", closest), e.images("train", result.index[closest]))
    return scores


def _beside(samples: np.ndarray, nearest: np.ndarray, columns: int = 8) -> np.ndarray:
    """A picture: rows of samples, each above a row of the training images nearest to them."""
    columns = min(columns, len(samples))
    rows = [rows for first in range(0, len(samples) - columns + 1, columns)
            for rows in (samples[first : first + columns], nearest[first : first + columns])]  # fmt: skip
    return pictures.grid(np.concatenate(rows), columns=columns, rows=("samples", "nearest") * (len(rows) // 2))
