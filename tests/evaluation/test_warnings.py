"""What to beware of where images are few."""

import numpy as np
import pytest

from diffjax.evaluation.contract import Score
from diffjax.evaluation.warnings import with_warning


def warning(name, value=1.0, warned="", **protocol):
    return with_warning(Score(name, value, None, "", protocol, warned)).warning


def test_an_inception_score_of_few_samples_says_what_bounds_it():
    assert "of 20 samples, biased downwards and at most 2, " in warning("inception_score", generated=20, splits=10)
    assert not warning("inception_score_classifier", generated=50_000, splits=10)


@pytest.mark.parametrize("name", ["precision_pixels", "recall_naeem_dinov2", "coverage_pixels"])
def test_neighbours_among_few_are_far(name):
    assert "of 300 images: the fewer, the wider" in warning(name, generated=10_000, reference=300, k=5)
    assert not warning(name, generated=10_000, reference=10_000, k=5)


def test_subsets_that_are_most_of_a_set_do_not_tell_the_error():
    how = {"generated": 5_000, "subset_size": 1_000}
    assert "subsets of 1,000 of 1,200 images overlap" in warning("kid_pixels_standard_error", reference=1_200, **how)
    assert not warning("kid_pixels_standard_error", reference=5_000, **how)
    assert not warning("kid_pixels", reference=1_200, **how), "the mean is unbiased all the same"
    assert not warning("kid_pixels_standard_error", np.nan, reference=1_000, **how), "it has a warning of its own"


def test_what_is_said_already_stays():
    assert warning("frechet_pixels", warned="one") == "one"
    assert with_warning(Score("fid", 1.0, None, "", {}, "one"), "", "two").warning == "one; two"
