import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.metrics import kid_of_all_pairs, kid_of_subsets
from diffjax.metrics.kid import u_statistic

RNG = np.random.default_rng


def kernel(x, y):
    return (x @ y / len(x) + 1) ** 3


def double_loop(x, y):
    within = [np.mean([kernel(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]) for z in (x, y)]
    return sum(within) - 2 * np.mean([kernel(a, b) for a in x for b in y])


def true_mmd(mean, std, d):
    """Squared MMD of N(0, I) and N(mean, std^2 I) in d dimensions, from the moments of x.y (of degree 1 to 3)."""
    shift = mean * mean * d  # |mu|^2
    within_x = 1 + 3 / d  # E (x.x'/d)^2 = 1 / d; the odd moments are 0
    second = (std**4 * d + 2 * std**2 * shift + shift**2) / d**2  # E (y.y'/d)^2
    third = (shift**3 + 6 * std**2 * shift**2 + 3 * std**4 * (d + 2) * shift) / d**3  # E (y.y')^3
    within_y = 1 + 3 * shift / d + 3 * second + third
    across = 1 + 3 * (std**2 * d + shift) / d**2
    return within_x + within_y - 2 * across


def draw(seed, n, m, mean, std, d=3):
    return RNG([seed, 0]).normal(mean, std, size=(n, d)), RNG([seed, 1]).normal(size=(m, d))


@pytest.mark.parametrize("n, m", [(7, 5), (4, 9)])
def test_over_all_pairs_it_is_the_double_loop(n, m):
    x, y = draw(0, n, m, 0.5, 2.0)
    assert kid_of_all_pairs(x, y).value == pytest.approx(double_loop(x, y), rel=1e-12)
    assert kid_of_all_pairs(y, x).value == pytest.approx(double_loop(x, y), rel=1e-12)


def test_over_subsets_it_is_the_mean_of_double_loops():
    x, y = draw(0, 12, 9, 0.5, 2.0)
    found, random, loops = kid_of_subsets(x, y, subsets=6, subset_size=5, seed=3), np.random.RandomState(3), []
    for _ in range(6):
        loops.append(double_loop(*(z[random.choice(len(z), 5, replace=False)] for z in (x, y))))
    assert found.mean == pytest.approx(np.mean(loops), rel=1e-11)
    assert found.std == pytest.approx(np.std(loops), rel=1e-11)
    assert found.standard_error == pytest.approx(np.std(loops) / np.sqrt(6), rel=1e-11)
    assert kid_of_subsets(x, y, subsets=6, subset_size=5, seed=3) == found
    assert kid_of_subsets(x, y, subsets=6, subset_size=5, seed=4) != found


def test_the_subset_of_everything_is_the_double_loop_over_all():
    x, y = draw(1, 8, 8, 0.2, 1.5)
    done = []
    found = kid_of_subsets(x, y, subsets=2, subset_size=8, progress=lambda *so_far: done.append(so_far))
    assert found.mean == pytest.approx(double_loop(x, y), rel=1e-12)
    assert found.std == 0 and np.isnan(found.standard_error) and done == [(1, 1)]  # once is enough, and says no error
    more = kid_of_subsets(x, np.concatenate([y, y + 1]), subsets=3, subset_size=8)  # of other images of the reference
    assert more.std > 0 and more.standard_error > 0


@pytest.mark.parametrize("n, m", [(4, 4), (10, 6), (30, 50)])
@pytest.mark.parametrize("mean, std", [(0.0, 1.0), (0.5, 1.3)])
def test_both_are_unbiased_for_any_number_of_images(n, m, mean, std):
    pairs = [draw(seed, n, m, mean, std) for seed in range(200)]
    truth = true_mmd(mean, std, 3)
    for values in (
        [kid_of_all_pairs(x, y).value for x, y in pairs],
        [kid_of_subsets(x, y, subsets=3, subset_size=4).mean for x, y in pairs],
    ):
        assert abs(np.mean(values) - truth) < 3.5 * np.std(values) / np.sqrt(len(values))
        assert mean > 0 or min(values) < 0 < max(values)  # at zero it falls on both sides


def test_the_value_that_it_is_unbiased_for_is_that_of_the_moments():
    x, y = draw(0, 4000, 4000, 0.5, 1.3)
    found = kid_of_all_pairs(x, y)
    assert abs(found.value - true_mmd(0.5, 1.3, 3)) < 4 * found.standard_error
    assert found.standard_error < 0.1 * found.value


def spread_of_corners(shift, scale):
    """The parts of the variance where X is shift + scale c, Y is c, and c a corner of a cube: sums over eight each."""
    corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3), axis=-1).reshape(8, 3)
    x = shift + scale * corners
    xx, yy, xy = ((a @ b.T / 3 + 1) ** 3 for a, b in ((x, x), (corners, corners), (x, corners)))

    def centred(k):
        return np.mean((k - k.mean(axis=0) - k.mean(axis=1, keepdims=True) + k.mean()) ** 2)

    zetas = np.var(xx.mean(axis=1) - xy.mean(axis=1)), np.var(yy.mean(axis=1) - xy.mean(axis=0))
    return *zetas, centred(xx), centred(yy), centred(xy)


@pytest.mark.parametrize("n, m, shift, scale", [(5, 7, 0.0, 1.0), (4, 4, 0.5, 1.5)])
def test_the_variance_and_its_parts_are_right_on_average_for_any_number_of_images(n, m, shift, scale):
    found = []
    for seed in range(3000):
        x, y = (RNG([seed, i]).choice([-1.0, 1.0], size=(k, 3)) for i, k in enumerate((n, m)))
        value, spread = u_statistic(shift + scale * x, y)
        found.append((value, spread.variance(n, m), *spread))
    value, variance, *parts = np.array(found).T
    excess = (value - value.mean()) ** 2 - variance
    wanted = [0.0, *spread_of_corners(shift, scale)]
    for name, part, expected in zip(("variance", *spread._fields), (excess, *parts), wanted, strict=True):
        assert abs(part.mean() - expected) < 3.5 * part.std() / np.sqrt(len(part)), name


@pytest.mark.parametrize("mean, std, n, m, d", [(0.0, 1.0, 40, 60, 6), (0.4, 1.0, 60, 40, 6), (0.0, 1.4, 50, 50, 6)])
def test_its_standard_error_is_the_spread_over_draws_of_the_images(mean, std, n, m, d):
    """Where the distributions are equal the cut at zero makes the variance 1.38 times too large, and nothing else."""
    pairs = [draw(seed, n, m, mean, std, d) for seed in range(1000)]
    values, errors = np.array([kid_of_all_pairs(*pair) for pair in pairs]).T
    low, high = (1.25, 1.5) if mean == 0 and std == 1 else (0.88, 1.12)
    assert low < np.mean(errors**2) / np.var(values) < high
    uncut = np.array([u_statistic(*pair)[1].variance(n, m) for pair in pairs])
    assert 0.88 < uncut.mean() / np.var(values) < 1.12
    assert 0.08 < np.mean(uncut < 0) < 0.15 if (low, high) == (1.25, 1.5) else np.mean(uncut < 0) < 0.08


def test_chunks_change_nothing():
    x, y = draw(2, 33, 21, 0.3, 1.2)
    whole = kid_of_all_pairs(x, y)
    for chunk in (1, 8, 20):
        np.testing.assert_allclose(kid_of_all_pairs(x, y, chunk), whole, rtol=1e-11)


def test_float32_features_are_compared_in_float64():
    x, y = (z.astype(np.float32) for z in draw(3, 30, 30, 0.1, 1.0))
    exact = kid_of_all_pairs(x.astype(float), y.astype(float))
    assert kid_of_all_pairs(x, y) == exact
    assert kid_of_subsets(x, y, 2, 30).mean == pytest.approx(exact.value, rel=1e-10)


def test_unusable_arguments_are_refused():
    x = RNG(0).normal(size=(10, 2))
    with pytest.raises(UserError, match="subset_size: 1000 of 10 images"):
        kid_of_subsets(x, x)
    with pytest.raises(UserError, match="subsets: 0"):
        kid_of_subsets(x, x, 0, 5)
    with pytest.raises(UserError, match="reference: 3 images; must be at least 4"):
        kid_of_all_pairs(x, x[:3])
    with pytest.raises(UserError, match="samples: the features of 10"):
        kid_of_all_pairs(x * np.nan, x)
    with pytest.raises(UserError, match="2 against 1 dimensions"):
        kid_of_subsets(x, x[:, :1], 1, 5)
