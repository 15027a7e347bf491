import numpy as np
import pytest
from scipy.stats import norm

from diffjax.data.gaussians import DROPS, Mixture
from diffjax.errors import UserError
from experiments.figures.entropy import density, entropy, entropy_of_points, plane, total_variation


def gaussian(mean, covariance):
    return Mixture(np.ones(1), np.array([mean]), np.array([covariance]))


ROUND = gaussian([0.4, -0.3], [[0.09, 0.0], [0.0, 0.09]])
OBLIQUE = gaussian([0.4, -0.3], [[0.3, 0.2], [0.2, 0.5]])


@pytest.mark.parametrize("mixture", [ROUND, OBLIQUE])
def test_the_entropy_of_a_gaussian_is_its_closed_form(mixture):
    points, area = plane()
    exact = 0.5 * np.log2(np.linalg.det(2 * np.pi * np.e * mixture.covariances[0]))
    np.testing.assert_allclose(entropy(density(mixture, points), area), exact, atol=1e-9)


def test_separate_blobs_have_their_own_entropies_and_that_of_the_choice():
    """Far apart, H = sum_k w_k (H_k - log2 w_k)."""
    points, area = plane()
    variances = np.array([0.04, 0.01])
    covariances = variances[:, None, None] * np.eye(2)
    blobs = Mixture(np.array([0.75, 0.25]), np.array([[-2.0, 0.0], [2.0, 0.0]]), covariances)
    own = np.log2(2 * np.pi * np.e * variances)
    exact = sum(w * (h - np.log2(w)) for w, h in zip(blobs.weights, own, strict=True))
    np.testing.assert_allclose(entropy(density(blobs, points), area), exact, atol=1e-6)


def test_the_total_variation_of_two_equal_gaussians_is_two_phi_less_one():
    points, area = plane()
    other = gaussian([0.7, 0.1], [[0.09, 0.0], [0.0, 0.09]])  # 0.5 away, which is 5 / 3 deviations
    found = total_variation(density(ROUND, points), density(other, points), area)
    np.testing.assert_allclose(found, 2 * norm.cdf(0.5 * 5 / 3) - 1, atol=1e-4)


@pytest.mark.parametrize("mixture", [OBLIQUE, DROPS["splash"]])
def test_neighbours_tell_the_entropy(mixture):
    """To four standard errors: of 4,000 points, -log p has a deviation of about 1.5 bits, and psi(4) adds little."""
    points, area = plane()
    x = mixture.sample(np.random.RandomState(0), 4_000)
    exact = entropy(density(mixture, points), area)
    assert abs(entropy_of_points(x) - exact) < 4 * 1.7 / 4_000**0.5 < 0.11


def test_what_has_no_density_has_no_entropy():
    with pytest.raises(UserError, match="more than 4 coincide"):
        entropy_of_points(np.zeros((10, 2)))
    with pytest.raises(UserError, match="points: 3 are too few"):
        entropy_of_points(np.zeros((3, 2)))
