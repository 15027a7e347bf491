"""Which way a score is better."""

import pytest

from diffjax.metrics.better import better


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
