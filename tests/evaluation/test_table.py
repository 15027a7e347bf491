"""All scores are known by name without an experiment, so that a misspelt one is found before anything is trained.

And every one has a direction in which it is better, or lacks it on purpose.
"""

import fnmatch

import pytest

from diffjax.evaluation.choice import find
from diffjax.evaluation.names import score_names
from diffjax.evaluation.table import BY_FEATURES, METRICS, possible_scores
from diffjax.experiment import Experiment
from diffjax.metrics.better import ERRORS, GREATEST, LEAST, better, is_error
from diffjax.metrics.features import FEATURES
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


def test_every_metric_by_features_has_a_score_that_a_checkpoint_can_be_chosen_by():
    for metric in BY_FEATURES:
        for features in (*FEATURES, "classifier"):
            first, *others = score_names(metric, features)
            assert better(first), first
            for name in others:
                assert bool(better(name)) is not name.endswith(("_standard_error", "_std")), name


def possible() -> set[str]:
    """The names of all scores of all metrics, by all feature networks."""
    networks = (*FEATURES, "classifier")
    chosen = [(name, features) for name in METRICS for features in (networks if name in BY_FEATURES else ("",))]
    return {score for name, features in chosen for score in possible_scores(name, features)}


def test_every_score_has_a_direction_or_lacks_it_on_purpose():
    assert {name for name in possible() if not better(name) and not is_error(name)} == {
        "high_quality", "confidence", "confidence_ratio", "variety",  # best as of real data
        "classifier_accuracy", "stacked_kl_bias", "log_likelihood", "L_null",  # of real data, or of a simple model
        *(f"stacked_modes{hits}_of_{modes}" for hits in ("", "_single_hit") for modes in (100, 700)),
        *(f"{bound}_{term}" for bound in ("vlb", "bound") for term in ("prior", "steps", "decoder")), "parzen_sigma",
    }  # fmt: skip


@pytest.mark.parametrize("pattern", [*LEAST, *GREATEST, *ERRORS])
def test_every_pattern_is_of_a_score_that_there_is(pattern):
    """So that a score whose name changes does not lose its direction unseen."""
    assert fnmatch.filter(possible(), pattern)
