"""What can be measured of a trained experiment. Each metric is a function of `Evidence`, which draws the samples once.

It answers with scores: a value, beside the one that a perfect sampler, or real data, would get, and the protocol. Those
that compare images do it by what a feature network sees, which stands after a colon ("kid:pixels"), or is what
`eval.features` says; "fid" is "frechet:inception".

contract   what a metric is given, and what it answers
images, neighbours, classes, points, words, likelihood, calls   the metrics
names      what those of images, and their scores, are called
table      all of them: what they are for, and what their scores are called
possible   what forbids one before anything is embedded
choice     metrics chosen by name, with the networks and the judge that they need
evidence   a trained experiment, judged;   files: anyone's images, compared;   named: these, read
labels     by which labels samples were drawn, as protocols and folders of samples say it
report     scores computed, written down, and shown;   side_by_side: those of several evaluations
beware     what few images do to a score
"""

from diffjax.measures.choice import by_features, choose, extractors, find, judge, judge_of
from diffjax.measures.contract import Choice, Score
from diffjax.measures.evidence import Evidence
from diffjax.measures.table import METRICS

__all__ = ["METRICS", "Choice", "Evidence", "Score", "by_features", "choose", "extractors", "find", "judge", "judge_of"]
