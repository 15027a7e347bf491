"""What to beware of in a score, by its name and its protocol: too few images say too much."""

import math

from diffjax.measures.contract import Score

PUBLISHED = {"inception_score": 50_000, "prdc": 10_000}  # how many samples papers take
OVERLAP = 0.5  # of a set in a subset, from which on subsets of it are much the same
PRDC = ("precision", "recall", "density", "coverage")


def with_warning(score: Score, *more: str) -> Score:
    """The score, warned of what its protocol shows, and of what else is said ("": nothing)."""
    return score._replace(warning="; ".join(filter(None, [score.warning, _of_few(score), *more])))


def _of_few(score: Score) -> str:
    """What the number of images does to this score; "" where it does nothing."""
    given = score.protocol.get("generated", math.inf)
    if score.name.startswith("inception_score") and given < PUBLISHED["inception_score"]:
        most = given // score.protocol["splits"]
        return f"of {given:,} samples, biased downwards and at most {most:,}, the images of a split; papers take 50,000"
    if score.name.startswith(PRDC) and "k" in score.protocol:
        fewest = min(given, score.protocol["reference"])
        if fewest < PUBLISHED["prdc"]:
            return f"of {fewest:,} images: the fewer, the wider the balls to their neighbours; papers take 10,000"
    if score.name.startswith("kid_") and score.name.endswith("_standard_error") and "subset_size" in score.protocol:
        fewest, size = min(given, score.protocol["reference"]), score.protocol["subset_size"]
        if size > OVERLAP * fewest and not math.isnan(score.value):
            return f"subsets of {size:,} of {fewest:,} images overlap and spread too little; kid_all_pairs knows better"
    return ""
