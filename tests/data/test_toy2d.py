"""The plane's distributions: their geometry, moments and noise are what the docstrings state."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from diffjax.data import Toy2D
from diffjax.data.toy2d import KINDS
from diffjax.errors import UserError

NUMBER = 100_000


def points(kind, split="train", **options):
    return Toy2D(kind, **options).split(split).arrays()["x"]


def test_the_ring_has_eight_modes_at_radius_one_and_the_grid_twenty_five_two_apart():
    ring, grid = Toy2D("ring").modes, Toy2D("grid").modes
    np.testing.assert_allclose(np.hypot(*ring.T), 1)
    np.testing.assert_allclose(np.diff(np.unwrap(np.arctan2(ring[:, 1], ring[:, 0]))), 2 * np.pi / 8)
    assert {tuple(mode) for mode in grid} == {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}


@pytest.mark.parametrize(("kind", "modes", "sigma"), [("ring", 8, 0.01), ("grid", 25, 0.05)])
def test_a_mixture_is_equally_likely_gaussians_around_its_modes(kind, modes, sigma):
    source = Toy2D(kind, labelled=True)
    data = source.split("train").arrays()
    assert source.space.num_classes == modes and source.sigma == sigma
    count = np.bincount(data["label"], minlength=modes)
    chi_squared = np.sum((count - NUMBER / modes) ** 2) / (NUMBER / modes)
    assert chi_squared < modes - 1 + 4 * np.sqrt(2 * (modes - 1))
    offset = (data["x"] - source.modes[data["label"]]) / sigma
    np.testing.assert_allclose(offset.mean(0), 0, atol=4 / np.sqrt(NUMBER))
    np.testing.assert_allclose(np.cov(offset.T), np.eye(2), atol=4 * np.sqrt(2 / NUMBER))
    within = np.mean(np.hypot(*offset.T) <= 3)  # what a perfect sampler's "high quality" rate is: 98.89 %
    np.testing.assert_allclose(within, 1 - np.exp(-4.5), atol=4 * np.sqrt(0.0111 / NUMBER))


@pytest.mark.parametrize("kind", KINDS)
def test_model_units_have_mean_zero_and_variance_one_exactly_in_the_limit(kind):
    source = Toy2D(kind)
    x = points(kind).astype(np.float64) / source.space.scale
    assert source.space.shift == 0 and source.space.shape == (2,) and source.space.kind == "points"
    deviations = 4 / np.sqrt(NUMBER)
    np.testing.assert_allclose(x.mean(0), 0, atol=deviations * x.std(0).max())
    np.testing.assert_allclose(np.mean(x**2), 1, atol=deviations * np.std(np.mean(x**2, 1)))


def test_the_swiss_roll_is_scikit_learns_spiral_and_the_noise_lies_around_it():
    x = points("swiss_roll", noise=1e-6) + [2, 2 / (3 * np.pi)]
    radius = np.hypot(*x.T)  # is t
    np.testing.assert_allclose(np.stack([radius * np.cos(radius), radius * np.sin(radius)], -1), x, atol=1e-4)
    assert radius.min() >= 1.5 * np.pi - 1e-4 and radius.max() <= 4.5 * np.pi + 1e-4
    np.testing.assert_allclose(np.quantile(radius, [0.25, 0.5, 0.75]), np.pi * np.array([2.25, 3, 3.75]), atol=0.1)


def test_the_moons_are_two_half_circles_of_radius_one():
    data = Toy2D("moons", noise=1e-6, labelled=True).split("train").arrays()
    x, inner = data["x"] + [0.5, 0.25], data["label"]
    centre = np.array([[0, 0], [1, 0.5]])[inner]
    np.testing.assert_allclose(np.hypot(*(x - centre).T), 1, atol=1e-4)
    assert np.all((x - centre)[:, 1] * (1 - 2 * inner) > -1e-4)  # the outer one opens downwards, the inner one upwards
    np.testing.assert_allclose(inner.mean(), 0.5, atol=4 * 0.5 / np.sqrt(NUMBER))


def test_train_and_heldout_points_are_different_draws_and_the_seed_repeats_both():
    train, heldout = points("ring", num_heldout=NUMBER), points("ring", "heldout", num_heldout=NUMBER)
    assert len(np.intersect1d(train[:, 0], heldout[:, 0])) < 0.05 * NUMBER  # float32 has few values near +-0.7071
    np.testing.assert_array_equal(points("ring"), train)
    assert not np.array_equal(points("ring", seed=1), train)


def test_unlabelled_points_are_the_labelled_ones_without_their_labels():
    np.testing.assert_array_equal(points("grid"), points("grid", labelled=True))
    assert Toy2D("grid").space.num_classes == 0 and not Toy2D("grid").split("train").arrays()["label"].any()


@pytest.mark.parametrize(
    ("kind", "options", "field"),
    [
        ("rings", {}, "data.name"),
        ("ring", {"num_train": 0}, "data.num_train"),
        ("ring", {"noise": -1.0}, "data.noise"),
        ("ring", {"seed": -1}, "data.seed"),
        ("swiss_roll", {"labelled": True}, "data.labelled"),
    ],
)
def test_a_wrong_hyper_parameter_is_named(kind, options, field):
    with pytest.raises(UserError, match=field):
        Toy2D(kind, **options)


def test_a_curve_has_no_modes():
    with pytest.raises(UserError, match="toy2d:ring"):
        _ = Toy2D("moons").modes


def test_a_mixtures_log_density_is_that_of_its_gaussians():
    source, x = Toy2D("ring", noise=0.3), np.random.RandomState(1).uniform(-2, 2, (700, 2))
    exact = np.mean([multivariate_normal.pdf(x, mode, 0.09 * np.eye(2)) for mode in source.modes], axis=0)
    np.testing.assert_allclose(source.log_density(x), np.log(exact), rtol=1e-12)
    assert np.isfinite(source.log_density(np.full((1, 2), 1e3))).all()


@pytest.mark.parametrize("kind", ["moons", "swiss_roll"])
def test_the_density_around_a_curve_integrates_to_one(kind):
    source = Toy2D(kind, noise=0.15 * Toy2D(kind).space.scale)
    reach = 3 * source.space.scale
    axis = np.linspace(-reach, reach, 201)
    x = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    np.testing.assert_allclose(np.exp(source.log_density(x)).sum() * (axis[1] - axis[0]) ** 2, 1, rtol=1e-4)


def test_a_finer_rule_along_the_roll_changes_nothing_where_its_points_are():
    source, coarse = Toy2D("swiss_roll", num_heldout=200), Toy2D("swiss_roll", noise=0.025)
    x = source.split("heldout").arrays()["x"]
    u = (np.arange(200_000) + 0.5) / 200_000
    t = 1.5 * np.pi * (1 + 2 * u)
    curve = np.stack([t * np.cos(t) - 2, t * np.sin(t) - 2 / (3 * np.pi)], -1)
    exact = [np.mean(np.exp(-0.5 * np.sum((curve - point) ** 2, axis=1) / 0.025**2)) for point in x]
    np.testing.assert_allclose(coarse.log_density(x), np.log(exact) - np.log(2 * np.pi * 0.025**2), atol=1e-2)
    np.testing.assert_allclose(np.mean(coarse.log_density(x) - np.log(exact)), -np.log(2 * np.pi * 0.025**2), atol=1e-4)


def test_the_entropy_of_the_roll_is_that_of_a_thin_tube_along_it():
    """E log(ds / du) + log(2 pi e sigma^2) / 2: the noise is small beside the radius, and the turns far apart."""
    source = Toy2D("swiss_roll", num_heldout=4000)
    log_p = source.log_density(source.split("heldout").arrays()["x"])
    t = 1.5 * np.pi * (1 + 2 * (np.arange(10_000) + 0.5) / 10_000)
    tube = np.mean(np.log(3 * np.pi * np.sqrt(1 + t**2))) + 0.5 * np.log(2 * np.pi * np.e * source.sigma**2)
    assert abs(log_p.mean() + tube) < 4 * log_p.std() / 4000**0.5 < 0.06
