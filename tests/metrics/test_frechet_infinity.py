import numpy as np
import pytest
import scipy.stats

from diffjax.errors import UserError
from diffjax.metrics import Moments, expected_frechet_bias, frechet_distance, frechet_infinity, small_sample_warning

RNG = np.random.default_rng
N = 1000
SPREAD = np.array([2.0, 1.0, 1.0, 0.5, 0.1])
REFERENCE = Moments(N, np.zeros(5), np.diag(SPREAD**2) * (N - 1))  # exactly N(0, diag(SPREAD^2))


def draw(seed, n, shift=0.0):
    return shift + SPREAD * RNG(seed).normal(size=(n, 5))


def test_the_intercept_and_its_error_are_those_of_the_line_in_one_over_n():
    found = frechet_infinity(draw(0, 400), REFERENCE, smallest=40, points=7)
    line = scipy.stats.linregress(1 / found.sizes, found.distances)
    assert found.value == pytest.approx(line.intercept, rel=1e-10)
    assert found.standard_error == pytest.approx(line.intercept_stderr, rel=1e-10)
    assert found.slope == pytest.approx(line.slope, rel=1e-10)


def test_subsets_are_of_evenly_spaced_sizes_and_the_last_is_everything():
    x = draw(1, 400)
    found = frechet_infinity(x, REFERENCE, smallest=40, points=7)
    np.testing.assert_array_equal(found.sizes, [40, 100, 160, 220, 280, 340, 400])
    assert found.distances[-1] == pytest.approx(frechet_distance(Moments.of(x), REFERENCE), rel=1e-9)
    same = frechet_infinity(x, REFERENCE, smallest=40, points=7)
    np.testing.assert_array_equal(found.distances, same.distances)
    other = frechet_infinity(x, REFERENCE, smallest=40, points=7, seed=1)
    assert (found.distances != other.distances)[:-1].all()


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_bias_of_the_number_of_samples_goes(shift):
    plain, infinite = [], []
    for seed in range(60):
        x = draw([2, seed], 240, shift)
        plain.append(frechet_distance(Moments.of(x), REFERENCE))
        infinite.append(frechet_infinity(x, REFERENCE, smallest=40, points=8, seed=seed).value)
    truth, floor = 5 * shift**2, expected_frechet_bias(REFERENCE, 240)
    error = np.std(infinite) / np.sqrt(60)
    assert np.mean(plain) - truth > 0.7 * floor > 5 * np.std(plain) / np.sqrt(60) * (shift == 0)
    assert abs(np.mean(infinite) - truth) < 3.5 * error + 0.03 * floor  # a term in 1 / N^2 stays


def test_the_floor_of_equal_variances_is_their_trace_times_d_plus_5_over_4n():
    for d, variance in ((1, 4.0), (7, 0.3)):
        moments = Moments(N, np.zeros(d), np.eye(d) * variance * (N - 1))
        assert expected_frechet_bias(moments, 50) == pytest.approx(d * variance * (d + 5) / 200, rel=1e-12)


def test_the_floor_is_what_perfect_samplers_reach():
    values = [frechet_distance(Moments.of(draw([3, seed], 500)), REFERENCE) for seed in range(300)]
    expected = expected_frechet_bias(REFERENCE, 500)
    assert abs(np.mean(values) - expected) < 3.5 * np.std(values) / np.sqrt(300) + 0.02 * expected


def test_directions_without_variance_add_nothing_to_the_floor():
    padded = Moments(N, np.zeros(7), np.diag(np.concatenate([SPREAD**2, [0, 0]])) * (N - 1))
    assert expected_frechet_bias(padded, 100) == pytest.approx(expected_frechet_bias(REFERENCE, 100), rel=1e-12)


def test_few_samples_are_warned_of_in_one_line():
    assert "span at most 2047 of 2048 dimensions" in small_sample_warning(2048, 2048)
    assert "5000 images are few for 2048 features" in small_sample_warning(5000, 2048)
    assert "at least 10240" in small_sample_warning(5000, 2048)
    assert small_sample_warning(10_240, 2048) == small_sample_warning(50_000, 2048) == ""
    assert "\n" not in small_sample_warning(3, 10) + small_sample_warning(20, 10)


def test_unusable_arguments_are_refused():
    x = draw(0, 100)
    with pytest.raises(UserError, match="smallest: subsets of 5 images with 5 features"):
        frechet_infinity(x, REFERENCE, smallest=5)
    with pytest.raises(UserError, match="samples: 100 images, for subsets of 60 upwards; must be at least 120"):
        frechet_infinity(x, REFERENCE, smallest=60)
    with pytest.raises(UserError, match="points: 2"):
        frechet_infinity(x, REFERENCE, smallest=20, points=2)
    with pytest.raises(UserError, match="6 against 5 dimensions"):
        frechet_infinity(np.ones((100, 6)), REFERENCE, smallest=20)
    with pytest.raises(UserError, match="samples: the features of 100"):
        frechet_infinity(x * np.nan, REFERENCE, smallest=20)
