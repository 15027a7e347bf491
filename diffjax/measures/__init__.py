"""Metrics of a trained experiment. Each is a function of `Evidence`, which draws the samples once.

A metric returns scores: a value, the value that a perfect sampler or real data would get, and the protocol. Metrics
that compare images use the features of a network, named after a colon ("kid:pixels") or by `eval.features`; "fid" is
short for "frechet:inception".

To add a metric, write it as a function of `Evidence` in the file of its kind, add its line to `table`, and test it.

contract      the input and output types of a metric
images, neighbours, classes, points, words, likelihood, calls   the metrics
names         names of the image metrics and of their scores
table         all metrics: which experiments they apply to, and the names of their scores
possible      checks that need no embedding: does a metric work with this network and this many images?
choice        looks up metrics by name, with the feature networks and the classifier that they need
evidence      a trained experiment and its samples
files         two user-supplied sets of images;   named: reads them
labels        which labels samples were drawn for, as recorded in protocols and in folders of samples
report        computes, records and prints scores;   side_by_side: compares several evaluations
beware        warnings about scores of too few images
"""

from diffjax.measures.choice import by_features, choose, extractors, find, judge, judge_of
from diffjax.measures.contract import Choice, Score
from diffjax.measures.evidence import Evidence
from diffjax.measures.table import METRICS

__all__ = ["METRICS", "Choice", "Evidence", "Score", "by_features", "choose", "extractors", "find", "judge", "judge_of"]
