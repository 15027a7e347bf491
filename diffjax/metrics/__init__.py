"""Metrics of samples, computed from arrays alone; each number carries the protocol that makes it comparable.

frechet          distance between Gaussians fitted to features; streaming float64 moments; extrapolation to infinite N
kid              unbiased squared MMD of features: mean over subsets, as papers report it; all pairs, with their error
inception_score  Inception Score of a classifier's logits
prdc             precision, recall, density and coverage, by each convention in use
memorisation     nearest training images, AuthPct, and a test against held-out images
modes            coverage of a mixture whose modes are known (ring, grid), and the values of a perfect sampler
energy           energy distance of two sets of points
parzen           log likelihood by Gaussians around samples
classes          classes that a classifier sees in samples, balance, confidence; stacked MNIST's thousand modes
alignment        whether scenes of shapes match their captions; imported separately, as it depends on their grammar
protocol         Metric = number + protocol + provenance; comparability; stable identifiers
nearest, arrays  helpers: exact k nearest neighbours; checks of features, and iteration in blocks

A metric takes arrays (features, logits, points) and returns plain floats. A feature network (pixels, a classifier,
Inception, DINOv2) is one function `images uint8 [n, h, w, c] -> features [n, d]` that serves every metric.
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
