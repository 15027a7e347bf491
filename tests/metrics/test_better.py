"""Which way a score is better."""

import pytest

from diffjax.evaluation.names import score_names
from diffjax.evaluation.table import BY_FEATURES, METRICS
from diffjax.metrics.better import better
from diffjax.metrics.features import FEATURES


def test_every_metric_by_features_has_a_score_that_a_checkpoint_can_be_chosen_by():
    for metric in BY_FEATURES:
        for features in (*FEATURES, "classifier"):
            first, *others = score_names(metric, features)
            assert better(first), first
            for name in others:
                assert bool(better(name)) is not name.endswith(("_standard_error", "_std")), name


@pytest.mark.parametrize(
    ("names", "way"),
    [
        (
            ("fid", "fid_clean_ratio", "fd_dinov2", "kid_all_pairs_dinov2", "copied_pct_pixels"),
            "least",
        ),
        (("vlb", "likelihood_ode", "denoising_error_0.5", "reverse_kl", "stacked_kl", "energy_distance"), "least"),
        (
            ("inception_score", "precision_dinov2", "recall_naeem_pixels", "coverage_pixels", "auth_pct_pixels"),
            "greatest",
        ),
        (("accuracy", "modes", "stacked_modes", "alignment_exact_heldout", "parzen", "K", "bound"), "greatest"),
        (("kid_pixels_standard_error", "inception_score_std", "L_null", "vlb_prior", "stacked_modes_of_100"), ""),
    ],
)
def test_which_way_it_is(names, way):
    assert {name: better(name) for name in names} == dict.fromkeys(names, way)


def test_patterns_are_of_metrics_that_there_are():
    """So that a score whose name changes does not lose its direction unseen."""
    known = {"modes", "high_quality", "reverse_kl", "energy_distance", "nfe", "accuracy", "vlb", "parzen"}
    simple = {name for metric in METRICS.values() for name in _names(metric)}
    assert known <= {name for name in simple if better(name)}


def _names(metric):
    try:
        return metric.names(None)
    except AttributeError:  # depends on the experiment
        return ()
