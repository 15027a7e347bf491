"""How far generated images are from real ones, by what a feature network sees in both.

Beside a value stands what as many real images get that are not the reference's: no sampler of the truth does better in
the mean, but one that knows the reference by heart does. Where there are no others, what theory says of as many.
"""

from collections.abc import Callable

import numpy as np

from diffjax import metrics as m
from diffjax import pictures
from diffjax.embedding import Embedded
from diffjax.measures.contract import Score, Sets

SHOWN = 16  # samples beside their nearest training images
SHUFFLE = 2020  # the seed of torch-fidelity, which shuffles before it splits
SPLITS = 10  # of the Inception Score, as published
OTHERS = "real images that are not in the reference"
SHORT = {  # what everyone calls a metric by certain features, and its score
    "fid": "frechet:inception",
    "fid_clean": "frechet:inception_clean",
    "fid_torch": "frechet:inception_torch",
    "fid_infinity": "frechet_infinity:inception",
    "fd_dinov2": "frechet:dinov2",
    "frechet_pixels": "frechet:pixels",
    "is": "inception_score:inception",
}
PRDC = {  # the convention and the number that each score is
    "precision": ("kynkaanniemi", "precision"),
    "recall": ("kynkaanniemi", "recall"),
    "precision_naeem": ("naeem", "precision"),
    "recall_naeem": ("naeem", "recall"),
    "density": ("naeem", "density"),
    "coverage": ("naeem", "coverage"),
}


def names(metric: str, features: str) -> tuple[str, ...]:
    """What the scores are called that a metric by these features may give."""
    frechet = next((short for short, full in SHORT.items() if full == f"frechet:{features}"), f"frechet_{features}")
    inception_score = "inception_score" if features == "inception" else f"inception_score_{features}"
    return {
        "frechet": (frechet, f"{frechet}_ratio"),
        "frechet_infinity": (f"{frechet}_infinity", f"{frechet}_infinity_standard_error"),
        "kid": (f"kid_{features}", f"kid_{features}_standard_error"),
        "kid_all_pairs": (f"kid_all_pairs_{features}", f"kid_all_pairs_{features}_standard_error"),
        "prdc": tuple(f"{number}_{features}" for number in PRDC),
        "inception_score": (inception_score, f"{inception_score}_std"),
        "memorisation": tuple(f"{number}_{features}" for number in ("auth_pct", "copied_pct", "excess_copies")),
    }[metric]


def frechet(e: Sets, features: str) -> list[Score]:
    """Frechet distance of the features of samples and reference (Heusel et al. 2017), and its ratio to the floor."""
    samples, reference, others = (e.embedded(features, which) for which in ("samples", "reference", "others"))
    value, (name, ratio_name) = m.frechet_distance(samples.moments, reference.moments), names("frechet", features)
    protocol, fewest, d = e.describe(features), min(len(samples), len(reference)), samples.features.shape[1]
    warning = m.small_sample_warning(fewest, d)
    if others is None:
        at_best, means = None, "0 for equal moments"
        if not warning:  # the theory is of first order in d / n
            at_best = sum(m.expected_frechet_bias(reference.moments, len(images)) for images in (samples, reference))
            means = "as many Gaussian features with the reference's moments have it, to first order"
        return [Score(name, value, at_best, means, protocol, warning)]
    floor, as_many = m.frechet_distance(others.moments, reference.moments), samples.evenly(len(others))
    like = value if as_many is samples else m.frechet_distance(as_many.moments, reference.moments)
    ratio = like / floor if floor else np.inf
    said = f"{len(others)} other real images against the same reference"
    closest = f"{len(others)} samples as close to the reference as {len(others)} other real images are"
    return [
        Score(name, value, floor if as_many is samples else None, said, protocol, warning),
        Score(ratio_name, ratio, 1.0, closest, protocol | {"generated": len(others), "floor": len(others)}),
    ]


def frechet_infinity(e: Sets, features: str) -> list[Score]:
    """The Frechet distance of infinitely many samples, extrapolated (Chong & Forsyth 2020)."""
    samples, reference, others = (e.embedded(features, which) for which in ("samples", "reference", "others"))
    smallest = m.smallest_subset(len(samples))

    def extrapolated(images: Embedded) -> m.Extrapolation:
        told = e.told(f"frechet_infinity:{features}")
        return m.frechet_infinity(images.features, reference.moments, smallest, told=told)

    found, enough = extrapolated(samples), others is not None and len(others) >= 2 * smallest
    floor, means = (extrapolated(others).value, OTHERS) if enough else (None, "unknown")
    name, error = names("frechet_infinity", features)
    protocol = e.describe(features) | {"smallest": smallest, "points": len(found.sizes)}
    fit = "of the line's intercept, from its residuals"
    return [
        Score(name, found.value, floor, means, protocol),
        Score(error, found.standard_error, 0.0, fit, protocol),
    ]


def kid(e: Sets, features: str) -> list[Score]:
    """Kernel distance over random subsets, as tables print it (Binkowski et al. 2018); unbiased, so it may be < 0."""
    samples, reference = (e.embedded(features, which) for which in ("samples", "reference"))
    size = min(1_000, len(samples), len(reference))
    how, (name, error) = {"subsets": 100, "subset_size": size, "seed": SHUFFLE}, names("kid", features)

    def measured(images: Embedded) -> m.SubsetKID:
        return m.kid_of_subsets(images.features, reference.features, **how, told=e.told(f"kid:{features}"))

    found, protocol, warning = measured(samples), e.describe(features) | how, ""
    best, means = _kernel_floor(e, features, size, lambda others: measured(others).mean)
    if np.isnan(found.standard_error):
        warning = f"every subset is all {size} images, so they have no spread; kid_all_pairs knows its error"
    return [
        Score(name, found.mean, best, means, protocol),
        Score(error, found.standard_error, 0.0, "over subsets of these images", protocol, warning),
    ]


def kid_all_pairs(e: Sets, features: str) -> list[Score]:
    """Kernel distance from all pairs of images, and its standard error over draws of the images."""
    samples, reference = (e.embedded(features, which) for which in ("samples", "reference"))
    name, error = names("kid_all_pairs", features)

    def measured(images: Embedded) -> m.AllPairsKID:
        return m.kid_of_all_pairs(images.features, reference.features, told=e.told(f"kid_all_pairs:{features}"))

    found, protocol = measured(samples), e.describe(features) | {"pairs": "all"}
    best, means = _kernel_floor(e, features, 4, lambda others: measured(others).value)
    return [
        Score(name, found.value, best, means, protocol),
        Score(error, found.standard_error, 0.0, "over draws of images", protocol),
    ]


def _kernel_floor(e: Sets, features: str, least: int, value: Callable[[Embedded], float]) -> tuple[float, str]:
    """A kernel distance of other real images, if there are `least` of them, and what it is."""
    others = e.embedded(features, "others")
    enough = others is not None and len(others) >= least
    return (value(others), f"{OTHERS}; 0 in the mean") if enough else (0.0, "0 for the same distribution")


def prdc(e: Sets, features: str) -> list[Score]:
    """Precision and recall by both conventions, density and coverage, of samples and as many reference images."""
    samples, reference, others = (e.embedded(features, which) for which in ("samples", "reference", "others"))
    alike = reference.evenly(len(samples))

    def measured(images: Embedded) -> dict[str, m.PRDC]:
        return m.prdc(images.features, alike.features, told=e.told(f"prdc:{features}"))

    found, best = measured(samples), measured(others) if _as_many(others, samples) else None
    scores = []
    for name, (convention, number) in zip(names("prdc", features), PRDC.values(), strict=True):
        k, closed = m.CONVENTIONS[convention]
        protocol = e.describe(features) | {"k": k, "ball": "closed" if closed else "open", "reference": len(alike)}
        at_best, means = None, "unknown"
        if best is not None:
            at_best, means = getattr(best[convention], number), OTHERS
        elif number in ("density", "coverage"):
            expected = {"density": 1.0, "coverage": m.expected_coverage(len(samples), len(alike), k)}
            at_best, means = expected[number], "as many draws from the same distribution, in the mean"
        value, by = getattr(found[convention], number), f"by {convention.title()} et al., k = {k}"
        scores.append(Score(name, value, at_best, f"{means}; {by}", protocol))
    return scores


def inception_score(e: Sets, features: str) -> list[Score]:
    """exp of the mutual information of image and class, by a network that names classes (Salimans et al. 2016)."""
    samples, others = (e.embedded(features, which) for which in ("samples", "others"))
    found = m.inception_score(_shuffled(samples.logits), SPLITS)
    enough = _as_many(others, samples)
    best, means = (m.inception_score(_shuffled(others.logits), SPLITS).mean, OTHERS) if enough else (None, "unknown")
    name, deviation = names("inception_score", features)
    protocol = e.describe(features, against="") | {"splits": SPLITS, "shuffled": SHUFFLE}
    return [
        Score(name, found.mean, best, means, protocol),
        Score(deviation, found.std, 0.0, "over the splits", protocol),
    ]


def _as_many(others: Embedded | None, samples: Embedded) -> bool:
    """Whether there are as many: what depends on the number of images is not shown beside fewer."""
    return others is not None and len(others) == len(samples)


def _shuffled(logits: np.ndarray) -> np.ndarray:
    return logits[np.random.RandomState(SHUFFLE).permutation(len(logits))]


def memorisation(e: Sets, features: str) -> list[Score]:
    """Whether samples are copies of training images: AuthPct (Alaa et al. 2022), and the nearest ones in a picture."""
    samples, train, heldout = (e.embedded(features, which) for which in ("samples", "train", "heldout"))

    def measured(images: Embedded) -> m.Memorisation:
        return m.memorisation(images.features, train.features, told=e.told(f"memorisation:{features}"))

    found, known = measured(samples), None if heldout is None else measured(heldout)
    protocol, (authentic, copied, excess) = e.describe(features, against="train"), names("memorisation", features)
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
        beside = protocol | {"heldout": len(heldout)}
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
