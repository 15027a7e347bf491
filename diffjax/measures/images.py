"""How far generated images are from real ones, by what a feature network sees in both.

Beside a value stands what as many real images get that are not the reference's: no sampler of the truth does better in
the mean, but one that knows the reference by heart does.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from diffjax import metrics as m
from diffjax import pictures
from diffjax.embedding import Seen
from diffjax.errors import UserError
from diffjax.measures.evidence import Score, Sets

SHOWN = 16  # samples beside their nearest training images
SHUFFLE = 2020  # the seed of torch-fidelity, which shuffles before it splits
OTHERS = "real images that are not in the reference"
FRECHET = {  # what everyone calls it; of other features it is frechet_FEATURES
    "inception": "fid",
    "inception_clean": "fid_clean",
    "inception_torch": "fid_torch",
    "dinov2": "fd_dinov2",
}


def frechet(e: Sets, features: str) -> list[Score]:
    """Frechet distance of the features of samples and reference (Heusel et al. 2017), and its ratio to the floor."""
    samples, reference, others = _sets(e, features)
    value, name = m.frechet_distance(samples.moments, reference.moments), FRECHET.get(features, f"frechet_{features}")
    protocol = e.describe(features)
    warning = m.small_sample_warning(min(len(samples), len(reference)), samples.features.shape[1])
    if others is None:
        return [Score(name, value, None, "0 for equal moments", protocol, warning)]
    floor, as_many = m.frechet_distance(others.moments, reference.moments), samples.some(len(others))
    like = value if as_many is samples else m.frechet_distance(as_many.moments, reference.moments)
    ratio = like / floor if floor else np.inf
    said = f"{len(others)} other real images against the same reference"
    closest = f"{len(others)} samples as close to the reference as {len(others)} other real images are"
    return [
        Score(name, value, floor if as_many is samples else None, said, protocol, warning),
        Score(f"{name}_ratio", ratio, 1.0, closest, protocol | {"generated": len(others), "floor": len(others)}),
    ]


def frechet_infinity(e: Sets, features: str) -> list[Score]:
    """The Frechet distance of infinitely many samples, extrapolated (Chong & Forsyth 2020)."""
    samples, reference, others = _sets(e, features)
    smallest = min(5_000, len(samples) // 2)
    found = m.frechet_infinity(samples.features, reference.moments, smallest)
    floor = None if others is None else _if_enough(others, reference, smallest)
    name, protocol = f"{FRECHET.get(features, f'frechet_{features}')}_infinity", e.describe(features)
    protocol |= {"smallest": smallest, "points": len(found.sizes)}
    fit = "of the line's intercept, from its residuals"
    return [
        Score(name, found.value, floor, "unknown" if floor is None else OTHERS, protocol),
        Score(f"{name}_standard_error", found.standard_error, 0.0, fit, protocol),
    ]


def _if_enough(others: Seen, reference: Seen, smallest: int) -> float | None:
    if len(others) < 2 * smallest:
        return None
    return m.frechet_infinity(others.features, reference.moments, smallest).value


def kid(e: Sets, features: str) -> list[Score]:
    """Kernel distance over random subsets, as tables print it (Binkowski et al. 2018); unbiased, so it may be < 0."""
    samples, reference, _ = _sets(e, features)
    chosen = {"subsets": 100, "subset_size": min(1_000, len(samples), len(reference)), "seed": SHUFFLE}

    def measure(images: Seen) -> tuple[float, float]:
        found = m.kid_of_subsets(images.features, reference.features, **chosen)
        return found.mean, found.standard_error

    return _kid(e, features, "kid", measure, chosen["subset_size"], chosen, "over subsets of these images")


def kid_all_pairs(e: Sets, features: str) -> list[Score]:
    """Kernel distance from all pairs of images, and its standard error over draws of the images."""
    _, reference, _ = _sets(e, features)

    def measure(images: Seen) -> tuple[float, float]:
        return m.kid_of_all_pairs(images.features, reference.features)

    return _kid(e, features, "kid_all_pairs", measure, 4, {"pairs": "all"}, "over draws of images")


def _kid(
    e: Sets,
    features: str,
    name: str,
    measure: Callable[[Seen], tuple[float, float]],
    least: int,
    how: dict[str, Any],
    over: str,
) -> list[Score]:
    """A kernel distance and its error; beside it that of other real images, if there are `least` of them."""
    samples, _, others = _sets(e, features)
    (value, error), enough = measure(samples), others is not None and len(others) >= least
    best, means = (measure(others)[0], f"{OTHERS}; 0 in the mean") if enough else (0.0, "0 for the same distribution")
    protocol = e.describe(features) | how
    return [
        Score(f"{name}_{features}", value, best, means, protocol),
        Score(f"{name}_{features}_standard_error", error, 0.0, over, protocol),
    ]


def prdc(e: Sets, features: str) -> list[Score]:
    """Precision and recall by both conventions, density and coverage, of samples and as many reference images."""
    samples, reference, others = _sets(e, features)
    alike = reference.some(len(samples)).features
    found = m.prdc(samples.features, alike)
    best = m.prdc(others.features, alike) if _as_many(others, samples) else None
    scores = []
    for convention, numbers in (("kynkaanniemi", ("precision", "recall")), ("naeem", m.PRDC._fields)):
        k, closed = m.CONVENTIONS[convention]
        protocol = e.describe(features) | {"k": k, "ball": "closed" if closed else "open"}
        protocol |= {"reference": min(len(samples), len(reference))}
        ours = "" if convention == "kynkaanniemi" or "precision" not in numbers else "_naeem"
        for number in numbers:
            name = f"{number}{ours if number in ('precision', 'recall') else ''}_{features}"
            at_best = None if best is None else getattr(best[convention], number)
            means = f"{'unknown' if best is None else OTHERS}; by {convention.title()} et al., k = {k}"
            scores.append(Score(name, getattr(found[convention], number), at_best, means, protocol))
    return scores


def inception_score(e: Sets, features: str) -> list[Score]:
    """exp of the mutual information of image and class, by a network that names classes (Salimans et al. 2016)."""
    samples, _, others = _sets(e, features)
    if samples.logits is None:
        raise UserError(f"inception_score: {features!r} names no classes; take inception or classifier")
    found = m.inception_score(_shuffled(samples.logits))
    best = m.inception_score(_shuffled(others.logits)).mean if _as_many(others, samples) else None
    name = "inception_score" if features == "inception" else f"inception_score_{features}"
    protocol = e.describe(features, against="") | {"splits": 10, "shuffled": SHUFFLE}
    return [
        Score(name, found.mean, best, "unknown" if best is None else OTHERS, protocol),
        Score(f"{name}_std", found.std, 0.0, "over the splits", protocol),
    ]


def _as_many(others: Seen | None, samples: Seen) -> bool:
    """Whether there are as many: what depends on the number of images is not shown beside fewer."""
    return others is not None and len(others) == len(samples)


def _shuffled(logits: np.ndarray) -> np.ndarray:
    return logits[np.random.RandomState(SHUFFLE).permutation(len(logits))]


def memorisation(e: Sets, features: str) -> list[Score]:
    """Whether samples are copies of training images: AuthPct (Alaa et al. 2022), and the nearest ones in a picture."""
    samples, train, heldout = (e.seen(features, which) for which in ("samples", "train", "heldout"))
    found = m.memorisation(samples.features, train.features)
    known = None if heldout is None else m.memorisation(heldout.features, train.features)
    protocol = e.describe(features, against="train")
    held = "unknown" if known is None else f"{len(heldout)} held-out images"
    authentic, copied = (None, None) if known is None else (known.auth_pct, known.copied_pct)
    farther = f"{held}; % farther from their nearest than it is from others"
    nearer = f"{held}; % three times nearer to one than to any other"
    scores = [
        Score(f"auth_pct_{features}", found.auth_pct, authentic, farther, protocol),
        Score(f"copied_pct_{features}", found.copied_pct, copied, nearer, protocol),
    ]
    if known is not None:
        excess, warning = m.excess_copies(found, known), ""
        if m.is_memorised(found, known):
            warning = "samples are nearer to training images than new ones: memorised, or blurred; look at the picture"
        beside = protocol | {"heldout": len(heldout)}
        means = "standard errors below held-out images; from 4 on it is no chance"
        scores.append(Score(f"excess_copies_{features}", excess, 0.0, means, beside, warning))
    likest = np.argsort(found.ratio, kind="stable")[:SHOWN]
    e.pictures[f"nearest_{features}"] = _beside(e.images("samples", likest), e.images("train", found.index[likest]))
    return scores


def _beside(samples: np.ndarray, nearest: np.ndarray, columns: int = 8) -> np.ndarray:
    """Rows of samples, below each the training images nearest to them."""
    columns = min(columns, len(samples))
    rows = [rows for first in range(0, len(samples) - columns + 1, columns)
            for rows in (samples[first : first + columns], nearest[first : first + columns])]  # fmt: skip
    return pictures.grid(np.concatenate(rows), columns=columns, rows=("samples", "nearest") * (len(rows) // 2))


def _sets(e: Sets, features: str) -> tuple[Seen, Seen, Seen | None]:
    return tuple(e.seen(features, which) for which in ("samples", "reference", "others"))
