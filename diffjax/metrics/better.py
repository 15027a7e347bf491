"""Whether a lower or a higher value of a score is better, by its name; used to choose the best checkpoint."""

from fnmatch import fnmatch
from typing import Literal

LEAST = (
    "fid*", "fd_dinov2*", "frechet_*", "kid_*", "copied_pct_*", "excess_copies_*", "class_kl", "stacked_kl",
    "reverse_kl", "energy_distance", "vlb", "likelihood_ode", "denoising_error_*", "nfe", "likelihood_ode_nfe",
)  # fmt: skip
GREATEST = (
    "inception_score*", "precision_*", "recall_*", "density_*", "coverage_*", "auth_pct_*", "modes", "accuracy",
    "classes", "stacked_modes", "stacked_modes_single_hit", "alignment_*", "parzen", "bound", "K", "K_gain",
)  # fmt: skip
ERRORS = ("*_standard_error", "*_std")


def better(score: str) -> Literal["least", "greatest", ""]:
    """Which value of a score is best; "" if neither.

    Neither is best of an error, a term of a sum, a score of real images, nor of a score whose best value is that of
    real data: a greater `high_quality` than theirs means a collapsed variance, a greater `confidence` samples that are
    more typical than they, a greater `variety` than 1 noise.
    """
    if is_error(score):
        return ""
    if any(fnmatch(score, pattern) for pattern in LEAST):
        return "least"
    return "greatest" if any(fnmatch(score, pattern) for pattern in GREATEST) else ""


def is_error(score: str) -> bool:
    """Whether a score is the uncertainty of another score."""
    return any(fnmatch(score, pattern) for pattern in ERRORS)
