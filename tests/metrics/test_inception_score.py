import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.metrics import inception_score


def test_identical_predictions_score_one_however_sure():
    for logits in (np.zeros((20, 5)), np.tile([9.0, 0, 0, -3, 1], (20, 1))):
        score = inception_score(logits)
        assert score.mean == pytest.approx(1, rel=1e-14) and score.std == pytest.approx(0, abs=1e-14)


def test_certain_predictions_of_every_class_alike_score_their_number():
    with np.errstate(divide="ignore"):
        logits = np.log(np.tile(np.eye(7), (10, 1)))  # probabilities of exactly 0 and 1
    assert inception_score(logits).mean == pytest.approx(7, rel=1e-14)
    assert inception_score(1e4 * np.tile(np.eye(7), (10, 1)) + 1e6).mean == pytest.approx(7, rel=1e-12)


def test_it_is_the_exponential_of_the_entropy_of_the_mean_less_the_mean_entropy():
    logits = np.random.default_rng(0).normal(size=(60, 9)) * 3
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = []
    for part in np.split(p, 3):
        marginal = part.mean(axis=0)
        scores.append(np.exp(-marginal @ np.log(marginal) + (part * np.log(part)).sum(axis=1).mean()))
    score = inception_score(logits, splits=3)
    assert score.mean == pytest.approx(np.mean(scores), rel=1e-13)
    assert score.std == pytest.approx(np.std(scores), rel=1e-12)


def test_splits_are_consecutive_rows_so_sorted_samples_score_one():
    logits = 50 * np.repeat(np.eye(10), 30, axis=0)
    assert inception_score(logits).mean == pytest.approx(1, rel=1e-12)
    assert inception_score(logits, splits=1).mean == pytest.approx(10, rel=1e-12)
    assert inception_score(np.random.default_rng(0).permutation(logits)).mean > 7


def test_every_row_is_in_one_split_when_they_do_not_divide():
    logits = np.zeros((11, 4))
    logits[10] = [90, 0, 0, 0]  # in the last of three splits: rows 7 to 10
    last = np.array([0.25] * 4) * 3 / 4 + np.array([1, 0, 0, 0]) / 4
    expected = np.exp(-last @ np.log(last) - 0.75 * np.log(4))
    assert inception_score(logits, splits=3).mean == pytest.approx((2 + expected) / 3, rel=1e-12)


def test_a_constant_added_to_an_image_s_logits_changes_nothing():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(50, 6))
    shifted = logits + 100 * rng.normal(size=(50, 1))
    np.testing.assert_allclose(inception_score(shifted), inception_score(logits), rtol=1e-11)


def test_unusable_arguments_are_refused():
    with pytest.raises(UserError, match="splits: 10 of 5 samples"):
        inception_score(np.zeros((5, 3)))
    with pytest.raises(UserError, match="splits: 0"):
        inception_score(np.zeros((5, 3)), splits=0)
    with pytest.raises(UserError, match="logits"):
        inception_score(np.full((20, 3), np.nan))
