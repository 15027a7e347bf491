import math

import jax
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.metrics import class_counts, class_report, mean_confidence

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.5, 0.3, 0.2]])


def test_a_sample_belongs_to_its_most_probable_class():
    np.testing.assert_array_equal(class_counts(np.log(PROBABILITIES)), [3, 0, 1])


def test_confidence_is_the_mean_of_the_largest_probabilities():
    assert mean_confidence(np.log(PROBABILITIES)) == pytest.approx(PROBABILITIES.max(axis=1).mean(), rel=1e-14)
    assert mean_confidence(np.log(PROBABILITIES) + 1000) == pytest.approx(
        0.65, rel=1e-12
    )  # any logits, without overflow
    assert mean_confidence(np.zeros((5, 10))) == pytest.approx(0.1)
    with np.errstate(divide="ignore"):
        assert mean_confidence(np.log(np.eye(4))) == 1


def test_it_is_the_softmax_of_jax():
    logits = jax.random.normal(jax.random.key(0), (50, 7)) * 4
    assert mean_confidence(logits) == pytest.approx(float(jax.nn.softmax(logits).max(axis=1).mean()), rel=1e-5)


def test_the_report_counts_classes_from_the_stated_number_of_hits():
    logits, real = np.log(PROBABILITIES), np.log(np.tile([[0.8, 0.1, 0.1]], (2, 1)))
    report = class_report(logits, real)
    assert report["classes"] == 2
    assert report["class_kl"] == pytest.approx(math.log(3) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert report["confidence"] == pytest.approx(0.65) and report["real_confidence"] == pytest.approx(0.8)
    assert report["confidence_ratio"] == pytest.approx(0.65 / 0.8)
    assert class_report(logits, real, min_hits=2)["classes"] == 1


def test_real_images_against_themselves_have_ratio_one():
    logits = np.random.default_rng(0).normal(size=(100, 10))
    assert class_report(logits, logits)["confidence_ratio"] == 1


def test_unusable_logits_are_refused():
    for logits in (np.full((2, 3), np.nan), np.zeros((0, 3)), np.full((1, 3), -np.inf), np.full((1, 3), np.inf)):
        with pytest.raises(UserError, match="logits"):
            mean_confidence(logits)
    with pytest.raises(UserError, match="min_hits: 0"):
        class_report(np.zeros((2, 3)), np.zeros((2, 3)), min_hits=0)
