"""All scores are known by name without an experiment, so that a misspelt one is found before anything is trained."""

import pytest

from diffjax.evaluation.choice import find
from diffjax.evaluation.table import METRICS, possible_scores
from diffjax.experiment import Experiment
from tests import tiny


@pytest.mark.parametrize("config", [tiny.digits, tiny.points, tiny.ring, tiny.shapes])
def test_a_metric_gives_no_score_that_is_not_said_to_be_possible(config):
    experiment = Experiment.of(config())
    for name, measure in METRICS.items():
        if measure.fits(experiment):
            for full, measuring in find([name], experiment).items():
                assert set(measuring.names) <= set(possible_scores(*full.partition(":")[::2])), full


@pytest.mark.parametrize(
    ("metric", "scores"),
    [
        (("frechet", "inception"), {"fid", "fid_ratio"}),
        (("alignment",), {"alignment_exact", "alignment_relation", "alignment_exact_heldout"}),
        (("bound",), {"bound", "K", "K_gain", "L_null"}),
        (("K",), {"K", "log_likelihood"}),
        (("modes",), {"modes", "high_quality", "reverse_kl"}),
    ],
)
def test_possible_scores_are_those_of_the_experiment_with_the_most(metric, scores):
    assert scores <= set(possible_scores(*metric))
