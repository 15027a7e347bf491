"""How good samples are: numbers computed from arrays alone, each with the protocol under which it may be compared.

frechet   distance between two Gaussians fitted to features; its moments stream, in float64
modes     coverage of a mixture whose modes are known (ring, grid), with the row a perfect sampler gets
energy    energy distance of two sets of points
classes   what a classifier sees in the samples: classes, their balance, its confidence; stacked MNIST's thousand modes
protocol  Metric = number + protocol + provenance; which numbers may be compared; stable identifiers

A metric takes arrays (features, logits, points) and gives plain floats. Whatever makes features of images (pixels, a
classifier, Inception, DINOv2) is one function `images uint8 [n, h, w, c] -> features [n, d]`, and serves every metric.
"""

from diffjax.metrics.classes import class_counts, class_report, fair_min_hits, mean_confidence, stacked_report
from diffjax.metrics.energy import energy_distance
from diffjax.metrics.frechet import Moments, frechet_distance, pixel_features
from diffjax.metrics.modes import expected_kl_to_uniform, kl_to_uniform, mode_report, oracle_row
from diffjax.metrics.protocol import Metric, check_comparable, fingerprint

__all__ = [
    "Metric",
    "Moments",
    "check_comparable",
    "class_counts",
    "class_report",
    "energy_distance",
    "expected_kl_to_uniform",
    "fair_min_hits",
    "fingerprint",
    "frechet_distance",
    "kl_to_uniform",
    "mean_confidence",
    "mode_report",
    "oracle_row",
    "pixel_features",
    "stacked_report",
]
