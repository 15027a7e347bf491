"""Evaluates trained experiments. A metric is a function of `Evidence`, which draws the samples once.

A metric returns scores: a value, the value that a perfect sampler or real data would get, and the protocol. Metrics
that compare images use the features of a network, named after a colon ("kid:pixels") or by `eval.features`; "fid" is
short for "frechet:inception".

To add a metric, write it as a function of `Evidence` in the file of its kind, add its line to `table`, and test it.

evaluate      computes the chosen metrics of a run and records them;   periodic: does so while it trains
compare       measures one set of images against another, without a run
contract      the input and output types of a metric
images, neighbours, classes, points, words, likelihood, nfe   the metrics
names         names of the image metrics and of their scores
table         all metrics: which experiments they apply to, and the names of their scores
requirements  checks that need no embedding: does a metric work with this network and this many images?
choice        looks up metrics by name, with the feature networks and the classifier that they need
evidence      a trained experiment and its samples
densities     bounds, likelihoods and denoising errors of examples, in compiled batches over all devices
image_sets    reads a user-supplied set of images;   files: two of them, as metrics see them
report        computes, records and prints scores;   side_by_side: compares several evaluations
warnings      warnings about scores of too few images
"""

from diffjax.evaluation.choice import by_features, choose, extractors, find, judge_of, load_classifier
from diffjax.evaluation.contract import Choice, Score
from diffjax.evaluation.evidence import Evidence
from diffjax.evaluation.table import METRICS

__all__ = [
    "METRICS", "Choice", "Evidence", "Score", "by_features", "choose", "extractors", "find", "judge_of",
    "load_classifier",
]  # fmt: skip
