"""Dead leaves: the radii, the greys and the occlusion are those that are stated, at every size."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest

from diffjax.data import DeadLeaves
from diffjax.errors import UserError


def patches(split="train", **options):
    return DeadLeaves(**{"num_train": 4_000, "num_heldout": 100} | options).split(split).arrays()["x"][..., 0]


def test_every_pixel_is_uniform_over_the_256_bins_and_so_of_unit_variance_to_a_model():
    source = DeadLeaves(num_train=4_000)
    x = source.split("train").arrays()["x"]
    assert x.shape == (4_000, 8, 8, 1) and x.dtype == np.float32 and source.space.kind == "points"
    for row, column in ((0, 0), (3, 5)):  # one pixel at a time: neighbours are not independent
        assert kstest((x[:, row, column, 0] + 0.5) / 256, "uniform").pvalue > 1e-3
    np.testing.assert_allclose(source.space.to_model(x).std(), 1, atol=0.03)


@pytest.mark.parametrize("exponent", [2.0, 3.0, 3.5])
def test_radii_of_discs_that_may_touch_the_image_are_a_power_law_times_the_area_they_may_touch_it_from(exponent):
    source = DeadLeaves(exponent=exponent)

    def density(r):
        return r**-exponent * (8 + 2 * r) ** 2

    radii = source._radii(np.random.RandomState(0), 4_000)
    whole = quad(density, 1, 16)[0]
    assert kstest(radii, np.vectorize(lambda r: quad(density, 1, r)[0] / whole)).pvalue > 1e-3


def test_two_pixels_lie_on_one_disc_as_often_as_geometry_says():
    """P = I / (2 A - I), A = E pi r^2 and I the mean overlap of two discs: the first disc over either is over both."""
    source = DeadLeaves(size=5, radius_min=1.0, radius_max=4.0)

    def overlap(r, d):
        return 2 * r**2 * np.arccos(d / (2 * r)) - d / 2 * np.sqrt(4 * r**2 - d**2) if d < 2 * r else 0.0

    def mean(of):
        return quad(lambda r: r**-source.exponent * of(r), 1, 4)[0]

    x = np.round(patches(size=5, radius_min=1.0, radius_max=4.0, num_train=20_000))
    for distance in (1, 3):
        both, one = mean(lambda r, d=distance: overlap(r, d)), mean(lambda r: np.pi * r**2)
        same = both / (2 * one - both)
        expected = same + (1 - same) / 256  # two discs may have one grey
        found = np.mean(x[:, 2, 0] == x[:, 2, distance])
        assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / len(x))


def test_train_and_heldout_are_different_draws_and_the_seed_repeats_both():
    train, heldout = patches(num_heldout=4_000), patches("heldout", num_heldout=4_000)
    assert not np.array_equal(train, heldout)
    np.testing.assert_array_equal(patches(), train)
    assert not np.array_equal(patches(seed=1), train)


@pytest.mark.parametrize(
    ("options", "field"),
    [({"size": 0}, "data.size"), ({"radius_min": 0.0}, "data.radius_min"), ({"radius_max": 0.5}, "data.radius_min"),
     ({"num_heldout": 0}, "data.num_heldout"), ({"seed": -1}, "data.seed")],
)  # fmt: skip
def test_a_wrong_hyper_parameter_is_named(options, field):
    with pytest.raises(UserError, match=field):
        DeadLeaves(**options)
