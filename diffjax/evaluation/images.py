"""Distances between generated and real images, in the features of a network.

`at_best` is the value of as many real images that are not in the reference: on average, a perfect sampler does no
better, but one that has memorised the reference does. Without such images it is the theoretical expectation.
"""

from collections.abc import Callable

import numpy as np

from diffjax import metrics as m
from diffjax.evaluation.contract import BY_HASH, Score, Sets
from diffjax.evaluation.names import score_names
from diffjax.inference.embedding import Embedded

SEED = 2020  # of KID's subsets, as in torch-fidelity; part of the protocol, as another seed gives other subsets
SPLITS = 10  # of the Inception Score, as in the paper
OTHERS = "real images that are not in the reference"


def frechet(e: Sets, features: str) -> list[Score]:
    """Frechet distance between samples and reference (Heusel et al. 2017), and its ratio to that of real images."""
    samples, reference, others = (e.embedded(features, set_name) for set_name in ("samples", "reference", "others"))
    name, ratio_name = score_names("frechet", features)
    value = m.frechet_distance(samples.moments, reference.moments)
    protocol = e.describe(features)
    warning = m.small_sample_warning(min(len(samples), len(reference)), samples.features.shape[1])
    if others is None:
        at_best, meaning = None, "0 for equal moments"
        if not warning:  # the theory holds to first order in d / n
            at_best = sum(m.expected_frechet_bias(reference.moments, len(images)) for images in (samples, reference))
            meaning = "as many Gaussian features with the reference's moments have it, to first order"
        return [Score(name, value, at_best, meaning, protocol, warning)]
    floor = m.frechet_distance(others.moments, reference.moments)
    subset = samples.at_most(len(others))
    numerator = value if subset is samples else m.frechet_distance(subset.moments, reference.moments)
    ratio = numerator / floor if floor else np.inf
    floor_meaning = f"{len(others)} other real images against the same reference"
    floor_protocol = protocol | {"generated": len(others), "floor": len(others), "floor_hash": others.content}
    floor_protocol |= {} if subset is samples else BY_HASH
    ratio_meaning = f"{len(others)} samples as close to the reference as {len(others)} other real images are"
    return [
        Score(name, value, floor if subset is samples else None, floor_meaning, protocol, warning),
        Score(ratio_name, ratio, 1.0, ratio_meaning, floor_protocol),
    ]


def frechet_infinity(e: Sets, features: str) -> list[Score]:
    """Frechet distance extrapolated to infinitely many samples (Chong & Forsyth 2020)."""
    samples, reference, others = (e.embedded(features, set_name) for set_name in ("samples", "reference", "others"))
    smallest = m.smallest_subset(len(samples))

    def extrapolate(images: Embedded) -> m.Extrapolation:
        progress = e.progress(f"frechet_infinity:{features}")
        return m.frechet_infinity(_ordered(images), reference.moments, smallest, progress=progress)

    extrapolation = extrapolate(samples)
    has_floor = others is not None and len(others) >= 2 * smallest
    floor, meaning = (extrapolate(others).value, OTHERS) if has_floor else (None, "unknown")
    name, error_name = score_names("frechet_infinity", features)
    protocol = e.describe(features) | {"smallest": smallest, "points": len(extrapolation.sizes)} | BY_HASH
    error_meaning = "of the line's intercept, from its residuals"
    return [
        Score(name, extrapolation.value, floor, meaning, protocol),
        Score(error_name, extrapolation.standard_error, 0.0, error_meaning, protocol),
    ]


def kid(e: Sets, features: str) -> list[Score]:
    """Kernel distance over random subsets, as papers report it (Binkowski et al. 2018); unbiased, so it may be < 0."""
    samples, reference = (e.embedded(features, set_name) for set_name in ("samples", "reference"))
    subset_size = min(1_000, len(samples), len(reference))
    settings = {"subsets": 100, "subset_size": subset_size, "seed": SEED}
    name, error_name = score_names("kid", features)
    ordered_reference = _ordered(reference)

    def measure(images: Embedded) -> m.SubsetKID:
        return m.kid_of_subsets(_ordered(images), ordered_reference, **settings, progress=e.progress(f"kid:{features}"))

    result = measure(samples)
    protocol = e.describe(features) | settings | BY_HASH
    at_best, meaning = _kernel_floor(e, features, subset_size, lambda others: measure(others).mean)
    warning = ""
    if np.isnan(result.standard_error):
        warning = f"every subset is all {subset_size} images, so they have no spread; kid_all_pairs knows its error"
    return [
        Score(name, result.mean, at_best, meaning, protocol),
        Score(error_name, result.standard_error, 0.0, "over subsets of these images", protocol, warning),
    ]


def kid_all_pairs(e: Sets, features: str) -> list[Score]:
    """Kernel distance over all pairs of images, and its standard error over draws of the images."""
    samples, reference = (e.embedded(features, set_name) for set_name in ("samples", "reference"))
    name, error_name = score_names("kid_all_pairs", features)

    def measure(images: Embedded) -> m.AllPairsKID:
        return m.kid_of_all_pairs(images.features, reference.features, progress=e.progress(f"kid_all_pairs:{features}"))

    result = measure(samples)
    protocol = e.describe(features) | {"pairs": "all"}
    at_best, meaning = _kernel_floor(e, features, 4, lambda others: measure(others).value)
    return [
        Score(name, result.value, at_best, meaning, protocol),
        Score(error_name, result.standard_error, 0.0, "over draws of images", protocol),
    ]


def _kernel_floor(e: Sets, features: str, least: int, value: Callable[[Embedded], float]) -> tuple[float, str]:
    """The kernel distance of other real images, if there are `least` of them, and its meaning."""
    others = e.embedded(features, "others")
    has_floor = others is not None and len(others) >= least
    return (value(others), f"{OTHERS}; 0 in the mean") if has_floor else (0.0, "0 for the same distribution")


def inception_score(e: Sets, features: str) -> list[Score]:
    """exp of the mutual information of image and class, by a network with class logits (Salimans et al. 2016)."""
    samples, others = (e.embedded(features, set_name) for set_name in ("samples", "others"))

    def measure(images: Embedded) -> m.InceptionScore:
        return m.inception_score(images.logits[images.order], SPLITS)

    result = measure(samples)
    at_best, meaning = None, "unknown"
    if as_many(others, samples):
        at_best, meaning = measure(others).mean, OTHERS
    name, std_name = score_names("inception_score", features)
    protocol = e.describe(features, against="") | {"splits": SPLITS} | BY_HASH
    return [
        Score(name, result.mean, at_best, meaning, protocol),
        Score(std_name, result.std, 0.0, "over the splits", protocol),
    ]


def as_many(others: Embedded | None, samples: Embedded) -> bool:
    """Whether both sets have the same size, so that a metric that depends on the number of images is comparable."""
    return others is not None and len(others) == len(samples)


def _ordered(images: Embedded) -> np.ndarray:
    """The features of a set, sorted by image hash."""
    return images.features[images.order]
