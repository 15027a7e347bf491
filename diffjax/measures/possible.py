"""What forbids a metric of images, as far as it is known before anything is drawn or embedded."""

from collections import Counter
from collections.abc import Sequence

from diffjax import metrics as m
from diffjax.errors import UserError
from diffjax.measures.contract import Counts
from diffjax.measures.images import SPLITS
from diffjax.metrics.features import Extractor

OF_MOMENTS = ("frechet", "frechet_infinity")  # for which a file of statistics stands for the reference
K = max(convention.k for convention in m.CONVENTIONS.values())
LEAST = {  # the fewest samples, the fewest images of what they are compared with, and why
    "frechet": (2, 2, "one image has no covariance"),
    "kid": (2, 2, "an image is never paired with itself"),
    "kid_all_pairs": (4, 4, "its error has no unbiased estimate below"),
    "prdc": (K + 1, K + 1, f"balls reach to the neighbour k = {K}"),
    "inception_score": (SPLITS, 0, f"the samples are split into {SPLITS}"),
    "memorisation": (1, 2, "each is measured by its nearest other one"),
}


def check(metric: str, network: Extractor, counts: Counts) -> None:
    """Raises UserError if a metric ("kid:inception") by this network cannot be had of so many images."""
    name, _, features = metric.partition(":")
    if name == "inception_score" and not network.classes:
        raise UserError(f"{metric}: {features!r} names no classes; take inception or classifier")
    if name in OF_MOMENTS:
        m.check_dimensions(network.dimensions)
    elif counts.statistics and name != "inception_score":
        raise UserError(f"{counts.statistics} has only moments, for Frechet distances; {metric} needs the images")
    samples, others, why = _extrapolation(metric, network) if name == "frechet_infinity" else LEAST[name]
    of_training = name == "memorisation" and counts.train is not None
    against, there = ("train", counts.train) if of_training else ("reference", counts.reference)
    for which, given, least in (("samples", counts.samples, samples), (against, there, others)):
        if given < least:
            raise UserError(f"{which}: {given} images; {metric} needs at least {least}, as {why}")


def check_prompts(num: int, prompts: Sequence[str]) -> None:
    """Raises UserError unless two prompts have two of so many samples, of each prompt in turn, as 'variety' needs."""
    samples_of = Counter(prompts[i % len(prompts)] for i in range(num))
    twice = sum(samples > 1 for samples in samples_of.values())
    if twice < 2:
        said = f"of {num} samples, of {len(prompts)} prompts in turn, {twice} prompts have two, and 'variety' needs two"
        raise UserError(f"eval.num: {said} that have; take {len(prompts) + 2} or more")


def _extrapolation(metric: str, network: Extractor) -> tuple[int, int, str]:
    d = network.dimensions
    if d >= m.SMALLEST_SUBSET:
        subsets = f"its subsets begin at {m.SMALLEST_SUBSET:,} images"
        raise UserError(f"{metric}: {d:,} features; {subsets}, which must be more than there are features")
    return 2 * (d + 1), 2, f"its smallest subset is half of them, and must be more than the {d} features"
