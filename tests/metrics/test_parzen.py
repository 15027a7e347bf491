"""The Parzen window: SciPy's density of Gaussians, its width chosen where it should be, honest about its limits."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from diffjax.errors import UserError
from diffjax.metrics import parzen


def test_it_is_the_mean_log_density_of_gaussians_around_the_samples():
    rng = np.random.default_rng(0)
    samples, validation, test = (rng.normal(size=(n, 3)) for n in (7, 5, 4))
    found = parzen(samples, validation, test, sigmas=(0.5,))
    each = [[multivariate_normal.logpdf(x, sample, 0.25) for sample in samples] for x in test]
    expected = logsumexp(each, axis=1) - np.log(7)
    assert found.log_likelihood == pytest.approx(expected.mean(), rel=1e-12)
    assert found.standard_error == pytest.approx(expected.std(ddof=1) / 2, rel=1e-12)
    assert found.sigma == 0.5 and found.at_an_end


def test_the_width_is_the_one_that_is_best_on_the_validation_set_and_not_on_the_test_set():
    """One sample at 0: the best width is the root mean square of whatever it is chosen on."""
    sigmas = tuple(np.logspace(-1, 1, 201))
    found = parzen(np.zeros((1, 2)), np.full((3, 2), 0.5), np.full((3, 2), 4.0), sigmas)
    assert found.sigma == sigmas[np.argmin(np.abs(np.log(np.asarray(sigmas) / 0.5)))] and not found.at_an_end


def test_of_many_samples_in_one_dimension_it_is_minus_the_entropy():
    rng = np.random.default_rng(1)
    samples, validation, test = (rng.normal(0, 2, size=(n, 1)) for n in (4_000, 400, 4_000))
    found = parzen(samples, validation, test, sigmas=tuple(np.logspace(-2, 0, 11)))
    entropy = 0.5 * np.log(2 * np.pi * np.e * 4)
    assert abs(found.log_likelihood + entropy) < 4 * found.standard_error


def test_what_lies_far_from_every_sample_has_a_finite_logarithm():
    found = parzen(np.zeros((2, 2)), np.zeros((2, 2)), np.full((2, 2), 1e3), sigmas=(0.01,))
    assert np.isfinite(found.log_likelihood) and found.log_likelihood < -9e9


def test_more_than_a_chunk_of_examples_is_told_of_and_the_same():
    rng = np.random.default_rng(2)
    samples, validation, test = (rng.normal(size=(n, 2)) for n in (50, 10, 600))
    said = []
    whole = parzen(samples, validation, test, progress=lambda done, total: said.append((done, total)))
    assert said[-1] == (610, 610) and len(said) == 4
    first, second = (parzen(samples, validation, part, (whole.sigma,)) for part in (test[:300], test[300:]))
    assert whole.log_likelihood == pytest.approx((first.log_likelihood + second.log_likelihood) / 2, rel=1e-12)


def test_what_cannot_be_measured_is_said():
    x = np.zeros((3, 2))
    with pytest.raises(UserError, match="1 images; must be at least 2"):
        parzen(x, x, x[:1])
    with pytest.raises(UserError, match="NaN or infinite"):
        parzen(x + np.nan, x, x)
    with pytest.raises(UserError, match="must be one or more finite, positive widths"):
        parzen(x, x, x, (0.1, 0.0))
