import math

import jax
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.metrics import (
    class_counts,
    class_report,
    expected_kl_to_uniform,
    fair_min_hits,
    mean_confidence,
    stacked_report,
)

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


def test_the_report_counts_classes_and_compares_confidence():
    logits, real = np.log(PROBABILITIES), np.log(np.tile([[0.8, 0.1, 0.1]], (2, 1)))
    report = class_report(logits, real)
    assert report["classes"] == 2
    assert report["class_kl"] == pytest.approx(math.log(3) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert report["confidence"] == pytest.approx(0.65) and report["real_confidence"] == pytest.approx(0.8)
    assert report["confidence_ratio"] == pytest.approx(0.65 / 0.8)


def test_real_images_against_themselves_have_ratio_one():
    logits = np.random.default_rng(0).normal(size=(100, 10))
    assert class_report(logits, logits)["confidence_ratio"] == 1


def test_unusable_logits_are_refused():
    for logits in (np.full((2, 3), np.nan), np.zeros((0, 3)), np.full((1, 3), -np.inf), np.full((1, 3), np.inf)):
        with pytest.raises(UserError, match="logits"):
            mean_confidence(logits)


def stacks(rng, modes, n):
    """n exact samples of these modes, as digits [n, 3]."""
    mode = modes[rng.integers(len(modes), size=n)]
    return np.stack([mode // 100, mode // 10 % 10, mode % 10], axis=1)


def misread(rng, digits, accuracy):
    """What a classifier of that accuracy reads, any other digit being as likely as the next."""
    wrong = rng.random(digits.shape) > accuracy
    return np.where(wrong, (digits + rng.integers(1, 10, digits.shape)) % 10, digits)


def test_stacked_modes_made_by_hand_are_counted_by_hand():
    digits = np.array([[0, 0, 7]] * 3 + [[7, 0, 0]] * 2 + [[9, 9, 9]])
    report = stacked_report(digits, min_hits=2)
    assert report["modes"] == 2 and report["modes_single_hit"] == 3
    assert report["kl"] == pytest.approx(math.log(1000) + 0.5 * math.log(1 / 2) + math.log(1 / 3) / 3 - math.log(6) / 6)


def test_a_perfect_sampler_keeps_its_modes_and_its_divergence_is_the_bias():
    n, rng = 26_000, np.random.default_rng(0)
    report = stacked_report(stacks(rng, np.arange(1000), n), fair_min_hits(n, 1000))
    assert report["modes"] == report["modes_single_hit"] == 1000
    assert abs(report["kl"] - expected_kl_to_uniform(1000, n)) < 4 * math.sqrt(2 * 999) / (2 * n)
    few = stacked_report(stacks(rng, np.arange(0, 1000, 10), n), fair_min_hits(n, 1000))
    assert few["modes"] == few["modes_single_hit"] == 100
    assert abs(few["kl"] - math.log(10) - expected_kl_to_uniform(100, n)) < 4 * math.sqrt(2 * 99) / (2 * n)


@pytest.mark.parametrize("accuracy, single_100, single_700", [(0.99, 551, 862), (0.995, 378, 791), (0.999, 167, 722)])
def test_mistakes_of_the_classifier_invent_modes_from_single_hits_and_not_by_the_rule(accuracy, single_100, single_700):
    n, rng = 26_000, np.random.default_rng(0)
    for true, single in ((100, single_100), (700, single_700)):
        modes = rng.permutation(1000)[:true]
        report = stacked_report(misread(rng, stacks(rng, modes, n), accuracy), fair_min_hits(n, 1000))
        assert report["modes_single_hit"] == pytest.approx(single, abs=45)
        assert true <= report["modes"] <= true + 3
    everything = stacked_report(misread(rng, stacks(rng, np.arange(1000), n), accuracy), fair_min_hits(n, 1000))
    assert everything["modes"] >= 999


def test_a_mode_counts_from_a_quarter_of_its_fair_share():
    assert [fair_min_hits(n, 1000) for n in (10, 4_000, 4_001, 26_000, 50_000)] == [1, 1, 2, 7, 13]
    assert fair_min_hits(100, 10) == 3


def test_unusable_digits_are_refused():
    with pytest.raises(UserError, match="min_hits: 0"):
        stacked_report(np.zeros((2, 3), int), min_hits=0)
    with pytest.raises(UserError, match="digits: no samples"):
        stacked_report(np.zeros((0, 3), int))
    with pytest.raises(UserError, match="digits: from 0 to 10"):
        stacked_report(np.array([[0, 10, 3]]))
