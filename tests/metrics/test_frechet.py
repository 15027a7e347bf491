import numpy as np
import pytest
import scipy.linalg

from diffjax.errors import UserError
from diffjax.metrics import Moments, frechet_distance
from diffjax.metrics.features.pixels import pixels

RNG = np.random.default_rng


def gaussian(mean, covariance, n=1000):
    """Moments that have exactly this mean and covariance."""
    return Moments(n, np.asarray(mean, float), np.asarray(covariance, float) * (n - 1))


def random_covariance(rng, d):
    factor = rng.normal(size=(d, 2 * d))
    return factor @ factor.T / (2 * d)


@pytest.mark.parametrize("sizes", [(50,), (1, 49), (10,) * 5, (3, 0, 17, 30), (1,) * 50])
def test_moments_are_those_of_numpy_however_the_samples_are_split(sizes):
    x = RNG(0).normal(size=(50, 4)) * [1, 10, 0.1, 3] + [1e6, 0, -5, 2]  # a far mean: sums of raw squares would fail
    moments, seen = Moments.empty(4), 0
    for size in sizes:
        moments, seen = moments.update(x[seen : seen + size]), seen + size
    assert moments.n == 50
    np.testing.assert_allclose(moments.mean, x.mean(axis=0), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(moments.covariance, np.cov(x, rowvar=False), rtol=1e-8, atol=1e-10)


def test_merging_is_symmetric_and_associative():
    parts = [Moments.of(RNG(i).normal(i, 1 + i, size=(5 + 7 * i, 3))) for i in range(3)]
    left, right = parts[0].merge(parts[1]).merge(parts[2]), parts[2].merge(parts[1].merge(parts[0]))
    np.testing.assert_allclose(left.scatter, right.scatter, rtol=1e-13)
    np.testing.assert_allclose(left.mean, right.mean, rtol=1e-13)


def test_float32_features_are_summed_in_float64():
    x = (1000 + RNG(0).normal(size=(4096, 2))).astype(np.float32)
    np.testing.assert_allclose(Moments.of(x).covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-12)


def test_with_equal_covariances_the_distance_is_that_of_the_means():
    rng = RNG(0)
    covariance, mean = random_covariance(rng, 6), rng.normal(size=6)
    distance = frechet_distance(gaussian(np.zeros(6), covariance), gaussian(mean, covariance))
    assert distance == pytest.approx(mean @ mean, rel=1e-12)


def test_with_diagonal_covariances_it_is_the_distance_of_the_standard_deviations():
    a, b = np.array([0.0, 0.3, 1.0, 4.0]), np.array([2.0, 0.0, 1.5, 4.0])
    distance = frechet_distance(gaussian(np.zeros(4), np.diag(a**2)), gaussian(np.ones(4), np.diag(b**2)))
    assert distance == pytest.approx(4 + ((a - b) ** 2).sum(), rel=1e-12)


def test_with_commuting_covariances_it_is_the_frobenius_distance_of_their_roots():
    rng = RNG(1)
    basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    a, b = rng.uniform(0.1, 2, 5), rng.uniform(0.1, 2, 5)
    distance = frechet_distance(
        gaussian(np.zeros(5), basis * a**2 @ basis.T), gaussian(np.zeros(5), basis * b**2 @ basis.T)
    )
    assert distance == pytest.approx(((a - b) ** 2).sum(), rel=1e-11)


def test_it_is_symmetric_and_scales_with_the_square_of_the_features():
    a, b = RNG(0).normal(size=(60, 8)), RNG(1).normal(0.3, 2, size=(40, 8))
    distance = frechet_distance(Moments.of(a), Moments.of(b))
    assert frechet_distance(Moments.of(b), Moments.of(a)) == pytest.approx(distance, rel=1e-12)
    assert frechet_distance(Moments.of(7 * a), Moments.of(7 * b)) == pytest.approx(49 * distance, rel=1e-12)


def test_it_does_not_change_when_the_features_are_rotated_and_shifted():
    a, b = RNG(0).normal(size=(20, 30)), RNG(1).normal(0.3, 2, size=(15, 30))  # both covariances are singular
    rotation = np.linalg.qr(RNG(2).normal(size=(30, 30)))[0]
    moved = [Moments.of(x @ rotation + 5) for x in (a, b)]
    assert frechet_distance(*moved) == pytest.approx(frechet_distance(Moments.of(a), Moments.of(b)), rel=1e-10)


@pytest.mark.parametrize("n, d", [(200, 10), (10, 64), (2, 50)])
def test_identical_sets_are_at_distance_zero_even_with_fewer_samples_than_dimensions(n, d):
    moments = Moments.of(RNG(0).normal(size=(n, d)) ** 3)
    assert frechet_distance(moments, moments) <= 1e-10 * np.trace(moments.covariance)


def test_constant_dimensions_change_nothing():
    a, b = RNG(0).normal(size=(30, 3)), RNG(1).normal(1, 2, size=(30, 3))
    padded = [Moments.of(np.concatenate([np.full((30, 4), 0.1), x], axis=1)) for x in (a, b)]
    assert frechet_distance(*padded) == pytest.approx(frechet_distance(Moments.of(a), Moments.of(b)), rel=1e-10)


def test_a_point_mass_is_at_its_mean_distance_plus_the_variance():
    cloud = RNG(0).normal(size=(100, 5))
    point = Moments.of(np.ones((10, 5)))
    expected = ((cloud.mean(axis=0) - 1) ** 2).sum() + cloud.var(axis=0, ddof=1).sum()
    assert frechet_distance(Moments.of(cloud), point) == pytest.approx(expected, rel=1e-12)


def test_on_well_conditioned_covariances_it_agrees_with_scipys_matrix_root():
    rng = RNG(3)
    for d in (2, 16, 48):
        a, b, mean = random_covariance(rng, d), random_covariance(rng, d), rng.normal(size=d)
        reference = mean @ mean + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
        assert frechet_distance(gaussian(np.zeros(d), a), gaussian(mean, b)) == pytest.approx(reference, rel=1e-10)


def test_pixels_as_features_are_the_pixels_over_255():
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4, 1)
    network = pixels((3, 4, 1))
    features = network(images)
    assert features.shape == (2, network.dimensions)
    np.testing.assert_allclose(features, images.reshape(2, 12) / 255, rtol=1e-7)
    with pytest.raises(UserError, match="float32"):
        network(images.astype(np.float32))


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e200])
def test_moments_that_are_no_numbers_have_no_distance_least_of_all_zero(broken):
    good, bad = gaussian(np.zeros(2), np.eye(2)), gaussian([0.0, broken], np.eye(2))
    spread = gaussian(np.zeros(2), np.diag([1.0, broken]))
    for one, other in ((good, bad), (bad, good)):
        with pytest.raises(UserError, match="moments: their Frechet distance is (nan|inf); must be finite"):
            frechet_distance(one, other)
    if not np.isfinite(broken):
        with pytest.raises(UserError, match="moments: some covariances are not finite"):
            frechet_distance(good, spread)


def test_features_too_many_for_a_covariance_are_refused_before_it_is_made():
    with pytest.raises(UserError, match="features: 196,608 dimensions, whose covariance takes 309 GB; at most 16,384"):
        Moments.of(np.zeros((2, 196_608), np.float32))


def test_unusable_features_are_refused():
    with pytest.raises(UserError, match="1 samples of 1"):
        Moments.of(np.array([[0.0, np.nan]]))
    with pytest.raises(UserError, match="at least 2"):
        frechet_distance(Moments.of(np.ones((1, 2))), Moments.of(np.ones((1, 2))))
    with pytest.raises(UserError, match="2 against 3"):
        frechet_distance(Moments.of(np.ones((2, 2))), Moments.of(np.ones((2, 3))))
    with pytest.raises(UserError, match="3 dimensions, 2 before"):
        Moments.of(np.ones((2, 2))).update(np.ones((2, 3)))


def test_a_reference_is_taken_apart_once_for_all_that_is_measured_against_it(monkeypatch):
    a, b, reference = (Moments.of(np.random.default_rng(i).normal(size=(9, 3))) for i in range(3))
    taken, eigh = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: (taken.append(matrix), eigh(matrix))[1])
    distances = frechet_distance(a, reference), frechet_distance(b, reference)
    assert len(taken) == 3
    assert frechet_distance(reference, b) == pytest.approx(distances[1], rel=1e-12)
