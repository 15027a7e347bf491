"""Which images a sample is near to: those of the reference, as precision and its like count, and those trained on."""

import numpy as np

from diffjax import metrics as m
from diffjax import pictures
from diffjax.embedding import Embedded
from diffjax.measures.contract import BY_HASH, Score, Sets
from diffjax.measures.images import OTHERS, as_many
from diffjax.measures.names import PRDC, score_names

SHOWN = 16  # samples beside their nearest training images


def prdc(e: Sets, features: str) -> list[Score]:
    """Precision and recall by both conventions, density and coverage, of samples and as many reference images."""
    samples, reference, others = (e.embedded(features, which) for which in ("samples", "reference", "others"))
    alike = reference.at_most(len(samples))
    chosen = BY_HASH if len(alike) < len(reference) else {}

    def measured(images: Embedded) -> dict[str, m.PRDC]:
        return m.prdc(images.features, alike.features, progress=e.progress(f"prdc:{features}"))

    found = measured(samples)
    best = measured(others) if as_many(others, samples) else None
    scores = []
    for name, (convention, number) in zip(score_names("prdc", features), PRDC.values(), strict=True):
        k, closed = m.CONVENTIONS[convention]
        protocol = e.describe(features) | {"k": k, "ball": "closed" if closed else "open"} | chosen
        protocol |= {"reference": len(alike)}
        at_best, means = None, "unknown"
        if best is not None:
            at_best, means = getattr(best[convention], number), OTHERS
        elif number in ("density", "coverage"):
            expected = {"density": 1.0, "coverage": m.expected_coverage(len(samples), len(alike), k)}
            at_best, means = expected[number], "as many draws from the same distribution, in the mean"
        value, by = getattr(found[convention], number), f"by {convention.title()} et al., k = {k}"
        scores.append(Score(name, value, at_best, f"{means}; {by}", protocol))
    return scores


def memorisation(e: Sets, features: str) -> list[Score]:
    """Whether samples are copies of training images: AuthPct (Alaa et al. 2022), and the nearest ones in a picture."""
    samples, train, heldout = (e.embedded(features, which) for which in ("samples", "train", "heldout"))

    def measured(images: Embedded) -> m.Memorisation:
        return m.memorisation(images.features, train.features, progress=e.progress(f"memorisation:{features}"))

    found = measured(samples)
    known = None if heldout is None else measured(heldout)
    protocol = e.describe(features, against="train")
    authentic, copied, excess = score_names("memorisation", features)
    held = "unknown" if known is None else f"{len(heldout)} held-out images"
    best = (None, None) if known is None else (known.auth_pct, known.copied_pct)
    farther = f"{held}; % farther from their nearest than it is from others"
    nearer = f"{held}; % three times nearer to one than to any other"
    scores = [
        Score(authentic, found.auth_pct, best[0], farther, protocol),
        Score(copied, found.copied_pct, best[1], nearer, protocol),
    ]
    if known is not None:
        warning = ""
        if m.is_memorised(found, known):
            warning = "samples are nearer to training images than new ones: memorised, or blurred; look at the picture"
        beside = protocol | {"heldout": len(heldout), "heldout_hash": heldout.content}
        means = "standard errors below held-out images; from 4 on it is no chance"
        scores.append(Score(excess, m.excess_copies(found, known), 0.0, means, beside, warning))
    likest = np.argsort(found.ratio, kind="stable")[:SHOWN]
    e.pictures[f"nearest_{features}"] = _beside(e.images("samples", likest), e.images("train", found.index[likest]))
    return scores


def _beside(samples: np.ndarray, nearest: np.ndarray, columns: int = 8) -> np.ndarray:
    """Rows of samples, below each the training images nearest to them."""
    columns = min(columns, len(samples))
    rows = [rows for first in range(0, len(samples) - columns + 1, columns)
            for rows in (samples[first : first + columns], nearest[first : first + columns])]  # fmt: skip
    return pictures.grid(np.concatenate(rows), columns=columns, rows=("samples", "nearest") * (len(rows) // 2))
