import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from diffjax.augment.colour import recolour
from diffjax.errors import UserError

X = np.random.default_rng(0).normal(size=(5, 4, 3))
GREY = np.ones(3) / np.sqrt(3)
ONTO_GREY = np.outer(GREY, GREY)
CROSS = np.array([[0, -GREY[2], GREY[1]], [GREY[2], 0, -GREY[0]], [-GREY[1], GREY[0], 0]])


def test_colours_are_moved_by_the_papers_matrices(x64):
    b, c, hue, s = 0.3, 1.4, 2.1, 0.6
    rotation = expm(hue * CROSS)  # about the grey axis, by the right-hand rule
    saturation = ONTO_GREY + s * (np.eye(3) - ONTO_GREY)
    matrix = saturation @ rotation @ (np.eye(3) - 2 * ONTO_GREY) * c
    np.testing.assert_allclose(recolour(jnp.asarray(X), b, c, 1, hue, s), (X + b) @ matrix.T, atol=1e-14)


def test_hue_rotation_is_orthogonal_and_leaves_luma(x64):
    turned = recolour(jnp.asarray(X), hue=1.1)
    np.testing.assert_allclose(turned.mean(-1), X.mean(-1), atol=1e-15)
    np.testing.assert_allclose(np.sum(turned**2, -1), np.sum(X**2, -1), rtol=1e-13)
    np.testing.assert_allclose(recolour(turned, hue=-1.1), X, atol=1e-15)
    third = recolour(jnp.asarray(X), hue=2 * np.pi / 3)  # a third of a circle takes red to green
    np.testing.assert_allclose(third, np.roll(X, 1, -1), atol=1e-14)


def test_a_luma_flip_is_a_reflection_and_saturation_leaves_luma(x64):
    flipped = recolour(jnp.asarray(X), luma_flip=1)
    np.testing.assert_allclose(flipped.mean(-1), -X.mean(-1), atol=1e-15)
    np.testing.assert_allclose(recolour(flipped, luma_flip=1), X, atol=1e-15)
    np.testing.assert_allclose(recolour(jnp.asarray(X), saturation=0.0), X.mean(-1, keepdims=True) + 0 * X, atol=1e-15)


def test_one_channel_is_all_luma(x64):
    grey = jnp.asarray(X[..., :1])
    np.testing.assert_array_equal(recolour(grey, hue=1.0, saturation=3.0), grey)
    np.testing.assert_allclose(recolour(grey, 0.2, 1.5, 1, 1.0, 3.0), -1.5 * (grey + 0.2), atol=1e-15)


def test_colours_of_other_channels_are_an_error():
    with pytest.raises(UserError, match="colour transformations need 1 or 3 channels, not 2"):
        recolour(jnp.zeros((4, 4, 2)))
