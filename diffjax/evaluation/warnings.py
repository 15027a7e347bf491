"""Warnings about scores that are biased, or whose errors are too small, because there are too few images."""

import math

from diffjax.evaluation.contract import Score

PUBLISHED = {"inception_score": 50_000, "prdc": 10_000}  # numbers of samples used in papers
OVERLAP = 0.5  # subset size / set size above which subsets are too alike for an honest standard error
PRDC = ("precision", "recall", "density", "coverage")


def with_warning(score: Score, *more: str) -> Score:
    """The score with a warning derived from its protocol, and `more` warnings; empty strings are dropped."""
    return score._replace(warning="; ".join(filter(None, [score.warning, _of_few(score), *more])))


def _of_few(score: Score) -> str:
    """The effect of the number of images on this score; "" if it has none."""
    num_samples = score.protocol.get("generated", math.inf)
    if score.name.startswith("inception_score") and num_samples < PUBLISHED["inception_score"]:
        upper_bound = num_samples // score.protocol["splits"]
        return (
            f"of {num_samples:,} samples, biased downwards and at most {upper_bound:,}, the images of a split;"
            " papers take 50,000"
        )
    if score.name.startswith(PRDC) and "k" in score.protocol:
        smallest_set = min(num_samples, score.protocol["reference"])
        if smallest_set < PUBLISHED["prdc"]:
            return f"of {smallest_set:,} images: the fewer, the wider the balls to their neighbours; papers take 10,000"
    if score.name.startswith("kid_") and score.name.endswith("_standard_error") and "subset_size" in score.protocol:
        smallest_set, subset_size = min(num_samples, score.protocol["reference"]), score.protocol["subset_size"]
        if subset_size > OVERLAP * smallest_set and not math.isnan(score.value):
            return (
                f"subsets of {subset_size:,} of {smallest_set:,} images overlap and spread too little;"
                " kid_all_pairs knows better"
            )
    return ""
