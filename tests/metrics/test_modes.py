import math

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.metrics import expected_kl_to_uniform, kl_to_uniform, mode_report, oracle_row

ANGLES = 2 * np.pi * np.arange(8) / 8
RING, RING_STD = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), 0.01
GRID, GRID_STD = np.stack(np.meshgrid(*[np.arange(-4.0, 5.0, 2.0)] * 2), axis=-1).reshape(25, 2), 0.05


def exact_samples(rng, centres, std, n):
    return centres[rng.integers(len(centres), size=n)] + std * rng.normal(size=(n, 2))


def test_a_set_made_by_hand_is_counted_by_hand():
    east, north = RING[0], RING[2]
    samples = np.array([east, east + [0.029, 0], east + [0.031, 0], north - [0, 0.02], [0, 0.5]])  # 3rd and 5th miss
    report = mode_report(samples, RING, RING_STD)
    assert report["modes"] == 2 and report["high_quality"] == 3 / 5
    assert report["reverse_kl"] == pytest.approx(math.log(8) - (-2 / 3 * math.log(2 / 3) - 1 / 3 * math.log(1 / 3)))


def test_one_hit_covers_a_mode_and_a_miss_does_not():
    assert mode_report(GRID, GRID, GRID_STD) == {"modes": 25, "high_quality": 1, "reverse_kl": 0}
    missed = mode_report(GRID + [0.5, 0.0], GRID, GRID_STD)
    assert missed == {"modes": 0, "high_quality": 0, "reverse_kl": math.inf}


def test_a_sample_that_is_not_finite_is_nowhere():
    report = mode_report(np.array([RING[0], [np.nan, 0], [np.inf, 0], [0, -np.inf]]), RING, RING_STD)
    assert report["modes"] == 1 and report["high_quality"] == 0.25


@pytest.mark.parametrize("centres, std", [(RING, RING_STD), (GRID, GRID_STD)])
def test_exact_samples_reach_the_oracle_row_within_binomial_error(centres, std):
    n = 20_000
    report = mode_report(exact_samples(np.random.default_rng(0), centres, std, n), centres, std)
    oracle = oracle_row(len(centres), n)
    rate = oracle["high_quality"]
    assert rate == pytest.approx(0.98889, abs=1e-5)
    assert abs(report["high_quality"] - rate) < 4 * math.sqrt(rate * (1 - rate) / n)
    assert report["modes"] == round(oracle["modes"]) == len(centres)
    # 2 n KL is about chi-square with k - 1 degrees of freedom: its standard deviation is sqrt(2 (k - 1))
    assert abs(report["reverse_kl"] - oracle["reverse_kl"]) < 4 * math.sqrt(2 * (len(centres) - 1)) / (2 * n)


def test_the_oracle_covers_as_many_modes_as_few_samples_do_on_average():
    rng = np.random.default_rng(0)
    rows = [mode_report(exact_samples(rng, GRID, GRID_STD, 30), GRID, GRID_STD) for _ in range(500)]
    for name, expected in oracle_row(25, 30).items():
        values = np.array([row[name] for row in rows])
        # The row takes the KL at the mean number of high-quality samples: 1.5e-4 off, by the second-order term.
        assert abs(values.mean() - expected) < 4.5 * values.std() / math.sqrt(len(rows)) + 2e-4, name


def test_the_divergence_is_zero_when_balanced_and_log_k_when_collapsed():
    assert kl_to_uniform(np.array([7, 7, 7])) == 0
    assert kl_to_uniform(np.array([0, 9, 0, 0])) == pytest.approx(math.log(4))
    assert kl_to_uniform(np.array([1, 3])) == pytest.approx(math.log(2) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    with pytest.raises(UserError, match="empty"):
        kl_to_uniform(np.array([0, 0]))


def test_the_floor_of_the_divergence_is_its_exact_expectation():
    assert expected_kl_to_uniform(2, 1) == pytest.approx(math.log(2))
    assert expected_kl_to_uniform(2, 2) == pytest.approx(math.log(2) / 2)  # {2, 0}, {1, 1}, {0, 2} with 1/4, 1/2, 1/4
    assert expected_kl_to_uniform(1, 5) == 0
    assert expected_kl_to_uniform(1000, 26_000) == pytest.approx(999 / 52_000, rel=0.03)
    assert expected_kl_to_uniform(1000, 1_000_000) == pytest.approx(999 / 2_000_000, rel=1e-3)


def test_unusable_arguments_are_refused():
    with pytest.raises(UserError, match="samples"):
        mode_report(np.zeros((0, 2)), RING, RING_STD)
