import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.metrics import CONVENTIONS, Convention, expected_coverage, prdc

RNG = np.random.default_rng
CLOSED, OPEN = Convention(3, True), Convention(3, False)


def four(samples, reference, convention, chunk=2048):
    return prdc(samples, reference, {"it": convention}, chunk)["it"]


def brute_force(samples, reference, convention):
    def distances(x, y):
        return np.square(x[:, None] - y[None]).sum(axis=-1)

    def radii(x):  # the 0-th in order is itself
        return np.sort(distances(x, x), axis=1)[:, convention.k]

    between = distances(reference, samples)
    inside = np.less_equal if convention.closed else np.less
    of_reference, of_samples = inside(between, radii(reference)[:, None]), inside(between, radii(samples)[None])
    return (
        of_reference.any(axis=0).mean(),
        of_samples.any(axis=1).mean(),
        of_reference.sum(axis=0).mean() / convention.k,
        of_reference.any(axis=1).mean(),
    )


@pytest.mark.parametrize("chunk", [1, 7, 2048])
@pytest.mark.parametrize("integers", [False, True])
def test_they_are_those_of_brute_force_ties_included(chunk, integers):
    samples, reference = RNG(0).normal(0.3, 2, size=(25, 3)), RNG(1).normal(0, 2, size=(32, 3))
    if integers:  # distances of which many are equal
        samples, reference = np.round(samples), np.round(reference)
    conventions = CONVENTIONS | {"open": OPEN, "one": Convention(1, True)}
    found = prdc(samples, reference, conventions, chunk)
    assert list(found) == list(conventions)
    for name, convention in conventions.items():
        np.testing.assert_allclose(found[name], brute_force(samples, reference, convention), rtol=1e-14)
    if integers:
        assert found["kynkaanniemi"] != found["open"]


def test_precision_is_of_the_samples_and_recall_of_the_reference():
    modes = np.array([[0.0, 0], [100, 0]])
    reference = np.concatenate([RNG(i).normal(mode, 1, size=(100, 2)) for i, mode in enumerate(modes)])
    one_mode = RNG(5).normal(modes[0], 0.5, size=(200, 2))  # good samples, of half of the data
    there, back = prdc(one_mode, reference), prdc(reference, one_mode)
    for name, numbers in there.items():
        assert numbers.precision > 0.9 and 0.3 < numbers.recall < 0.5 and 0.3 < numbers.coverage < 0.5
        assert (back[name].precision, back[name].recall) == (numbers.recall, numbers.precision)


def test_sets_far_apart_share_nothing():
    for numbers in prdc(RNG(0).normal(size=(50, 4)), RNG(1).normal(1000, 1, size=(60, 4))).values():
        assert numbers == (0, 0, 0, 0)


def test_samples_where_many_balls_overlap_have_a_density_above_one():
    near = np.concatenate([np.eye(10), -np.eye(10)])
    reference = np.concatenate([near, 100 * near])  # the third neighbour of all forty is beyond the centre
    centre = np.zeros((4, 10))
    for convention in (CLOSED, OPEN):
        numbers = four(centre, reference, convention)
        assert numbers.density == pytest.approx(40 / 3) and numbers.precision == numbers.coverage == 1
        assert numbers.recall == 0  # four equal samples: balls of radius zero


def test_one_outlier_in_the_reference_lifts_precision_and_hardly_density():
    reference = RNG(0).normal(size=(200, 2))
    outlier = np.concatenate([reference, [[60.0, 60.0]]])
    noise = RNG(1).normal(40, 3, size=(100, 2))
    clean, lifted = (four(noise, reference, Convention(5, False)) for reference in (reference, outlier))
    assert clean.precision == 0 and lifted.precision == 1
    assert lifted.density == pytest.approx(1 / 5) and lifted.coverage == pytest.approx(1 / 201)


@pytest.mark.parametrize("k", [1, 4])
def test_a_perfect_copy_tells_open_balls_from_closed_ones(k):
    """In every ball are itself and its neighbours before the k-th; the k-th is on the surface."""
    x = RNG(0).normal(size=(40, 3))
    assert four(x, x, Convention(k, closed=False)) == pytest.approx((1, 1, 1, 1), rel=1e-14)
    assert four(x, x, Convention(k, closed=True)) == pytest.approx((1, 1, (k + 1) / k, 1), rel=1e-14)


def test_balls_of_radius_zero_hold_copies_only_if_closed():
    x = np.repeat(RNG(0).normal(size=(5, 2)), 4, axis=0)  # each image four times: the third neighbour is a twin
    assert four(x, x, CLOSED) == pytest.approx((1, 1, 4 / 3, 1), rel=1e-14)
    assert four(x, x, OPEN) == (0, 0, 0, 0)


@pytest.mark.parametrize("n, m, k", [(20, 20, 5), (10, 30, 3), (40, 12, 2)])
def test_of_equal_distributions_density_is_one_and_coverage_known_on_average(n, m, k):
    found = np.array(
        [
            four(RNG([seed, 0]).normal(size=(n, 2)), RNG([seed, 1]).normal(size=(m, 2)), Convention(k, False))
            for seed in range(250)
        ]
    )
    error = found.std(axis=0) / np.sqrt(len(found))
    assert abs(found[:, 2].mean() - 1) < 3.5 * error[2]
    assert abs(found[:, 3].mean() - expected_coverage(n, m, k)) < 3.5 * error[3]


def test_the_coverage_to_expect_is_that_of_drawing_without_replacement():
    assert expected_coverage(1, 2, 1) == pytest.approx(1 / 2)
    assert expected_coverage(10_000, 10_000, 5) == pytest.approx(1 - 2**-5, abs=1e-3)
    assert expected_coverage(10_000, 10_000, 4) < 0.95 < expected_coverage(10_000, 10_000, 5)


def test_it_does_not_change_when_everything_is_moved_far_away():
    samples, reference = RNG(0).integers(0, 9, size=(30, 3)), RNG(1).integers(0, 9, size=(30, 3))
    near = prdc(samples.astype(float), reference.astype(float))
    assert prdc(samples + 2.0**30, reference + 2.0**30) == near


def test_unusable_arguments_are_refused():
    x = RNG(0).normal(size=(10, 2))
    with pytest.raises(UserError, match="k: 5 neighbours of 5 samples; must be from 1 to 4"):
        prdc(x[:5], x)
    with pytest.raises(UserError, match="k: 5 neighbours of 4 reference"):
        prdc(x, x[:4])
    with pytest.raises(UserError, match="k: 0"):
        four(x, x, Convention(0, True))
    with pytest.raises(UserError, match="2 against 1"):
        prdc(x, x[:, :1])
    with pytest.raises(UserError, match="samples: the features of 1 images"):
        prdc(np.where(np.arange(10)[:, None] == 0, np.inf, x), x)
