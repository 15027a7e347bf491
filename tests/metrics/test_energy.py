import math

import numpy as np
import pytest
import scipy.stats

from diffjax.errors import UserError
from diffjax.metrics import energy, energy_distance


def test_two_point_masses_are_at_twice_their_distance():
    assert energy_distance(np.zeros((4, 2)), np.tile([3.0, 4.0], (5, 1))) == pytest.approx(10.0, rel=1e-15)


def test_it_is_the_double_loop_over_distinct_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 2)), rng.normal(1, 2, size=(5, 2))
    between = np.mean([math.dist(a, b) for a in x for b in y])
    within = [np.mean([math.dist(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]) for z in (x, y)]
    assert energy_distance(x, y) == pytest.approx(2 * between - sum(within), rel=1e-13)


def test_with_the_pairs_of_a_point_and_itself_it_is_scipys_squared():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 1)), rng.normal(0.5, 2, size=(20, 1))
    self_pairs = sum(np.abs(z - z.T).sum() / (len(z) - 1) / len(z) ** 2 for z in (x, y))
    reference = scipy.stats.energy_distance(x[:, 0], y[:, 0]) ** 2  # a V-statistic, and its root
    assert energy_distance(x, y) + self_pairs == pytest.approx(reference, rel=1e-12)


def test_one_dimensional_gaussians_have_their_known_distance():
    rng = np.random.default_rng(2)
    mean = 0.7
    spread = 2 / math.sqrt(math.pi)  # E|X - X'|, as X - X' is N(0, 2)
    across = spread * math.exp(-(mean**2) / 4) + mean * math.erf(mean / 2)
    values = [energy_distance(rng.normal(size=(200, 1)), rng.normal(mean, 1, size=(300, 1))) for _ in range(100)]
    assert abs(np.mean(values) - (2 * across - 2 * spread)) < 4 * np.std(values) / math.sqrt(len(values))


def test_it_has_mean_zero_for_equal_distributions():
    rng = np.random.default_rng(3)
    values = [energy_distance(rng.normal(size=(20, 2)), rng.normal(size=(30, 2))) for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(len(values))
    assert min(values) < 0 < max(values)


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(50, 2)), rng.normal(size=(33, 2))
    whole = energy_distance(x, y)
    monkeypatch.setattr(energy, "PAIRS_AT_ONCE", 100)
    assert energy_distance(x, y) == pytest.approx(whole, rel=1e-13)
    assert energy_distance(y, x) == pytest.approx(whole, rel=1e-13)


def test_unusable_points_are_refused():
    with pytest.raises(UserError, match="points: 1 and 3"):
        energy_distance(np.zeros((1, 2)), np.zeros((3, 2)))
    with pytest.raises(UserError, match="finite"):
        energy_distance(np.full((3, 2), np.nan), np.zeros((3, 2)))
