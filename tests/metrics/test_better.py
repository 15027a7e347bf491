"""Which way a score is better."""

import fnmatch

import pytest

from diffjax.evaluation.names import score_names
from diffjax.evaluation.table import BY_FEATURES, METRICS, possible_scores
from diffjax.metrics.better import ERRORS, GREATEST, LEAST, better, is_error
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
        (("high_quality", "confidence", "confidence_ratio"), ""),
    ],
)
def test_which_way_it_is(names, way):
    assert {name: better(name) for name in names} == dict.fromkeys(names, way)


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
