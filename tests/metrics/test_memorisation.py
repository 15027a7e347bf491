import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.metrics import excess_copies, is_memorised, memorisation

RNG = np.random.default_rng
TRAIN, HELDOUT, FRESH = (RNG(i).normal(size=(n, 6)) for i, n in enumerate((300, 200, 250)))


def test_a_line_made_by_hand():
    train = np.array([[0.0], [1.0], [10.0]])
    samples = np.array([[0.2], [-3.0], [9.0], [10.0], [30.0]])
    found = memorisation(samples, train)
    np.testing.assert_array_equal(found.index, [0, 0, 2, 2, 2])
    np.testing.assert_array_equal(found.authentic, [False, True, False, False, True])  # farther than 1, 1, 9, 9, 9
    np.testing.assert_allclose(found.ratio, [0.25, 3 / 4, 1 / 8, 0, 20 / 29])
    assert found.auth_pct == pytest.approx(40) and found.copied_pct == pytest.approx(60)


def test_it_is_the_definition_by_brute_force():
    between = np.linalg.norm(FRESH[:, None] - TRAIN, axis=-1)
    within = np.linalg.norm(TRAIN[:, None] - TRAIN, axis=-1) + np.diag(np.full(len(TRAIN), np.inf))
    index = between.argmin(axis=1)
    found = memorisation(FRESH, TRAIN, chunk=64)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_array_equal(found.authentic, between.min(axis=1) > within.min(axis=1)[index])


def test_copies_are_never_authentic_and_are_their_own_nearest():
    order = RNG(3).permutation(300)[:100]
    found = memorisation(TRAIN[order], TRAIN)
    np.testing.assert_array_equal(found.index, order)
    assert not found.ratio.any()
    assert found.auth_pct == 0 and found.copied_pct == 100


def test_a_generator_that_repeats_its_training_set_is_flagged_and_a_fresh_one_is_not():
    heldout = memorisation(HELDOUT, TRAIN)
    noisy = TRAIN[RNG(4).integers(300, size=250)] + 0.05 * RNG(5).normal(size=(250, 6))
    assert is_memorised(memorisation(noisy, TRAIN), heldout)
    assert not is_memorised(memorisation(FRESH, TRAIN), heldout)
    assert not is_memorised(heldout, heldout) and excess_copies(heldout, heldout) == 0
    half = memorisation(np.concatenate([noisy[:125], FRESH[:125]]), TRAIN)
    assert is_memorised(half, heldout)
    assert half.copied_pct > 45 > 5 > memorisation(FRESH, TRAIN).copied_pct


def test_without_memory_the_excess_is_standard_normal():
    values = []
    for seed in range(200):
        rng = RNG([7, seed])
        train, heldout, samples = (rng.normal(size=(n, 3)) for n in (40, 50, 60))
        values.append(excess_copies(memorisation(samples, train), memorisation(heldout, train)))
    assert abs(np.mean(values)) < 3.5 / np.sqrt(200) and 0.85 < np.std(values) < 1.15


def test_twins_in_the_training_set_hide_a_copy_as_the_docstring_says():
    twins = np.array([[0.0], [0.0], [5.0]])
    found = memorisation(np.array([[0.1], [0.0]]), twins)
    np.testing.assert_array_equal(found.authentic, [True, False])  # 0.1 > 0; a copy is at 0, as is its twin
    np.testing.assert_array_equal(found.ratio, [1, 1])


def test_all_authentic_or_none_on_both_sides_is_no_excess():
    far = memorisation(np.array([[50.0], [60.0]]), np.array([[0.0], [1.0]]))
    assert far.auth_pct == 100 and excess_copies(far, far) == 0


def test_unusable_arguments_are_refused():
    with pytest.raises(UserError, match="train: 1 images; must be at least 2"):
        memorisation(FRESH, TRAIN[:1])
    with pytest.raises(UserError, match="train: the features of 300"):
        memorisation(FRESH, TRAIN * np.nan)
    with pytest.raises(UserError, match="5 against 6"):
        memorisation(FRESH[:, :5], TRAIN)
