"""How far generated images are from real ones, by what a feature network sees in both.

Beside a value stands what as many real images get that are not the reference's: no sampler of the truth does better in
the mean, but one that knows the reference by heart does. Where there are no others, what theory says of as many.
"""

from collections.abc import Callable

import numpy as np

from diffjax import metrics as m
from diffjax.embedding import Embedded
from diffjax.measures.contract import BY_HASH, Score, Sets
from diffjax.measures.names import score_names

SEED = 2020  # of KID's subsets, torch-fidelity's; in the protocol, as another takes others of the same images
SPLITS = 10  # of the Inception Score, as published
OTHERS = "real images that are not in the reference"


def frechet(e: Sets, features: str) -> list[Score]:
    """Frechet distance of the features of samples and reference (Heusel et al. 2017), and its ratio to the floor."""
    samples, reference, others = (e.embedded(features, which) for which in ("samples", "reference", "others"))
    name, ratio_name = score_names("frechet", features)
    value = m.frechet_distance(samples.moments, reference.moments)
    protocol = e.describe(features)
    warning = m.small_sample_warning(min(len(samples), len(reference)), samples.features.shape[1])
    if others is None:
        at_best, means = None, "0 for equal moments"
        if not warning:  # the theory is of first order in d / n
            at_best = sum(m.expected_frechet_bias(reference.moments, len(images)) for images in (samples, reference))
            means = "as many Gaussian features with the reference's moments have it, to first order"
        return [Score(name, value, at_best, means, protocol, warning)]
    floor = m.frechet_distance(others.moments, reference.moments)
    as_many = samples.at_most(len(others))
    like = value if as_many is samples else m.frechet_distance(as_many.moments, reference.moments)
    ratio = like / floor if floor else np.inf
    said = f"{len(others)} other real images against the same reference"
    floor_protocol = protocol | {"generated": len(others), "floor": len(others), "floor_hash": others.content}
    floor_protocol |= {} if as_many is samples else BY_HASH
    closest = f"{len(others)} samples as close to the reference as {len(others)} other real images are"
    return [
        Score(name, value, floor if as_many is samples else None, said, protocol, warning),
        Score(ratio_name, ratio, 1.0, closest, floor_protocol),
    ]


def frechet_infinity(e: Sets, features: str) -> list[Score]:
    """The Frechet distance of infinitely many samples, extrapolated (Chong & Forsyth 2020)."""
    samples, reference, others = (e.embedded(features, which) for which in ("samples", "reference", "others"))
    smallest = m.smallest_subset(len(samples))

    def extrapolated(images: Embedded) -> m.Extrapolation:
        progress = e.progress(f"frechet_infinity:{features}")
        return m.frechet_infinity(_ordered(images), reference.moments, smallest, progress=progress)

    found = extrapolated(samples)
    enough = others is not None and len(others) >= 2 * smallest
    floor, means = (extrapolated(others).value, OTHERS) if enough else (None, "unknown")
    name, error = score_names("frechet_infinity", features)
    protocol = e.describe(features) | {"smallest": smallest, "points": len(found.sizes)} | BY_HASH
    fit = "of the line's intercept, from its residuals"
    return [
        Score(name, found.value, floor, means, protocol),
        Score(error, found.standard_error, 0.0, fit, protocol),
    ]


def kid(e: Sets, features: str) -> list[Score]:
    """Kernel distance over random subsets, as tables print it (Binkowski et al. 2018); unbiased, so it may be < 0."""
    samples, reference = (e.embedded(features, which) for which in ("samples", "reference"))
    size = min(1_000, len(samples), len(reference))
    how = {"subsets": 100, "subset_size": size, "seed": SEED}
    name, error = score_names("kid", features)
    against = _ordered(reference)

    def measured(images: Embedded) -> m.SubsetKID:
        return m.kid_of_subsets(_ordered(images), against, **how, progress=e.progress(f"kid:{features}"))

    found = measured(samples)
    protocol = e.describe(features) | how | BY_HASH
    best, means = _kernel_floor(e, features, size, lambda others: measured(others).mean)
    warning = ""
    if np.isnan(found.standard_error):
        warning = f"every subset is all {size} images, so they have no spread; kid_all_pairs knows its error"
    return [
        Score(name, found.mean, best, means, protocol),
        Score(error, found.standard_error, 0.0, "over subsets of these images", protocol, warning),
    ]


def kid_all_pairs(e: Sets, features: str) -> list[Score]:
    """Kernel distance from all pairs of images, and its standard error over draws of the images."""
    samples, reference = (e.embedded(features, which) for which in ("samples", "reference"))
    name, error = score_names("kid_all_pairs", features)

    def measured(images: Embedded) -> m.AllPairsKID:
        return m.kid_of_all_pairs(images.features, reference.features, progress=e.progress(f"kid_all_pairs:{features}"))

    found = measured(samples)
    protocol = e.describe(features) | {"pairs": "all"}
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


def inception_score(e: Sets, features: str) -> list[Score]:
    """exp of the mutual information of image and class, by a network that names classes (Salimans et al. 2016)."""
    samples, others = (e.embedded(features, which) for which in ("samples", "others"))

    def measured(images: Embedded) -> m.InceptionScore:
        return m.inception_score(images.logits[images.order], SPLITS)

    found = measured(samples)
    best, means = None, "unknown"
    if as_many(others, samples):
        best, means = measured(others).mean, OTHERS
    name, deviation = score_names("inception_score", features)
    protocol = e.describe(features, against="") | {"splits": SPLITS} | BY_HASH
    return [
        Score(name, found.mean, best, means, protocol),
        Score(deviation, found.std, 0.0, "over the splits", protocol),
    ]


def as_many(others: Embedded | None, samples: Embedded) -> bool:
    """Whether there are as many: what depends on the number of images is not shown beside fewer."""
    return others is not None and len(others) == len(samples)


def _ordered(images: Embedded) -> np.ndarray:
    """The features of a set, in an order that is the set's own."""
    return images.features[images.order]
