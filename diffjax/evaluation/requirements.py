"""Checks, before anything is drawn or embedded, that metrics work with a network and a number of images."""

from collections import Counter
from collections.abc import Sequence

from diffjax import metrics as m
from diffjax.errors import UserError
from diffjax.evaluation.contract import Counts
from diffjax.evaluation.images import SPLITS
from diffjax.metrics.features import Extractor

OF_MOMENTS = ("frechet", "frechet_infinity")  # metrics that accept a file of statistics as the reference
K = max(convention.k for convention in m.CONVENTIONS.values())
LEAST = {  # metric -> (minimum of samples, minimum of images that they are compared with, reason)
    "frechet": (2, 2, "one image has no covariance"),
    "kid": (2, 2, "an image is never paired with itself"),
    "kid_all_pairs": (4, 4, "its error has no unbiased estimate below"),
    "prdc": (K + 1, K + 1, f"balls reach to the neighbour k = {K}"),
    "inception_score": (SPLITS, 0, f"the samples are split into {SPLITS}"),
    "memorisation": (1, 2, "each is measured by its nearest other one"),
}


def check(metric: str, network: Extractor, counts: Counts) -> None:
    """Raises UserError if a metric ("kid:inception") does not work with this network and this many images."""
    name, _, features = metric.partition(":")
    if name == "inception_score" and not network.classes:
        raise UserError(f"{metric}: {features!r} has no class logits; must be inception or classifier")
    if name in OF_MOMENTS:
        m.check_dimensions(network.dimensions)
    elif counts.statistics and name != "inception_score":
        raise UserError(f"{metric}: {counts.statistics} has only moments, for Frechet distances; must be images")
    min_samples, min_compared, reason = _extrapolation(metric, network) if name == "frechet_infinity" else LEAST[name]
    of_training = name == "memorisation" and counts.train is not None
    compared, num_compared = ("train", counts.train) if of_training else ("reference", counts.reference)
    for set_name, num, minimum in (("samples", counts.samples, min_samples), (compared, num_compared, min_compared)):
        if num < minimum:
            raise UserError(f"{set_name}: {num} images; must be at least {minimum} for {metric}, as {reason}")


def check_prompts(num: int, prompts: Sequence[str]) -> None:
    """Raises UserError unless `num` samples, cycling through `prompts`, give two prompts two samples each.

    The metric 'variety' needs that.
    """
    samples_of = Counter(prompts[i % len(prompts)] for i in range(num))
    num_repeated = sum(samples > 1 for samples in samples_of.values())
    if num_repeated < 2:
        problem = (
            f"of {num} samples, of {len(prompts)} prompts in turn, {num_repeated} prompts have two,"
            " and 'variety' needs two"
        )
        raise UserError(f"eval.num: {problem} that have; take {len(prompts) + 2} or more")


def _extrapolation(metric: str, network: Extractor) -> tuple[int, int, str]:
    d = network.dimensions
    if d >= m.SMALLEST_SUBSET:
        problem = f"its subsets begin at {m.SMALLEST_SUBSET:,} images"
        raise UserError(f"{metric}: {d:,} features; {problem}, which must be more than there are features")
    return 2 * (d + 1), 2, f"its smallest subset is half of them, and must be more than the {d} features"
