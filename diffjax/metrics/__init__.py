"""How good samples are: numbers computed from arrays alone, each with the protocol under which it may be compared.

frechet          distance between two Gaussians fitted to features; its moments stream, in float64; extrapolated in N
kid              squared MMD of features, unbiased: the mean over subsets that tables print; all pairs and their error
inception_score  of a classifier's logits
prdc             precision, recall, density and coverage, by each convention in use
memorisation     nearest training images, AuthPct, the verdict next to held-out images
modes            coverage of a mixture whose modes are known (ring, grid), with the row a perfect sampler gets
energy           energy distance of two sets of points
parzen           log likelihood by Gaussians around samples
classes          what a classifier sees in samples: classes, balance, confidence; stacked MNIST's thousand modes
alignment        whether scenes of shapes show what their captions say; imported by itself, as it knows their grammar
protocol         Metric = number + protocol + provenance; which numbers may be compared; stable identifiers
nearest, arrays  below them: k nearest neighbours, exact; features checked, and taken block by block
progress         below them: who waits is told how far a long computation is

A metric takes arrays (features, logits, points) and gives plain floats. Whatever makes features of images (pixels, a
classifier, Inception, DINOv2) is one function `images uint8 [n, h, w, c] -> features [n, d]`, and serves every metric.
"""

from diffjax.metrics.classes import class_counts, class_report, fair_min_hits, mean_confidence, stacked_report
from diffjax.metrics.energy import energy_distance
from diffjax.metrics.frechet import (
    SMALLEST_SUBSET,
    Extrapolation,
    Moments,
    check_dimensions,
    expected_frechet_bias,
    frechet_distance,
    frechet_infinity,
    small_sample_warning,
    smallest_subset,
)
from diffjax.metrics.inception_score import InceptionScore, inception_score
from diffjax.metrics.kid import AllPairsKID, SubsetKID, kid_of_all_pairs, kid_of_subsets
from diffjax.metrics.memorisation import Memorisation, excess_copies, is_memorised, memorisation
from diffjax.metrics.modes import expected_kl_to_uniform, kl_to_uniform, mode_report, oracle_row
from diffjax.metrics.nearest import Neighbours, nearest, neighbours_within
from diffjax.metrics.parzen import SIGMAS, Parzen, parzen
from diffjax.metrics.prdc import CONVENTIONS, PRDC, Convention, expected_coverage, prdc
from diffjax.metrics.protocol import Average, Metric, average, check_comparable, fingerprint
from diffjax.metrics.statistics import is_statistics, load_statistics, save_statistics

__all__ = [
    "CONVENTIONS",
    "PRDC",
    "SIGMAS",
    "SMALLEST_SUBSET",
    "AllPairsKID",
    "Average",
    "Convention",
    "Extrapolation",
    "InceptionScore",
    "Memorisation",
    "Metric",
    "Moments",
    "Neighbours",
    "Parzen",
    "SubsetKID",
    "average",
    "check_comparable",
    "check_dimensions",
    "class_counts",
    "class_report",
    "energy_distance",
    "excess_copies",
    "expected_coverage",
    "expected_frechet_bias",
    "expected_kl_to_uniform",
    "fair_min_hits",
    "fingerprint",
    "frechet_distance",
    "frechet_infinity",
    "inception_score",
    "is_memorised",
    "is_statistics",
    "kid_of_all_pairs",
    "kid_of_subsets",
    "kl_to_uniform",
    "mean_confidence",
    "memorisation",
    "load_statistics",
    "mode_report",
    "nearest",
    "neighbours_within",
    "oracle_row",
    "parzen",
    "prdc",
    "save_statistics",
    "small_sample_warning",
    "smallest_subset",
    "stacked_report",
]
