import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.augment import EdmAugment
from diffjax.augment.warp import warp
from diffjax.errors import UserError

KEYS = jax.random.split(jax.random.key(5), 3000)


SIZE = 8
edm = jax.jit(EdmAugment())


def images(n, size=SIZE, dtype=jnp.float32):
    return jax.random.uniform(jax.random.key(n), (n, size, size, 3), dtype, -1, 1)


warps = jax.jit(jax.vmap(warp))


def inverse_of(label, sign):
    """The inverse of the map that a label describes, by the paper's formulas; `sign` is that of a2."""
    _, _, a0, cos, sin, u, v, a4, a5 = np.float64(label)
    size, aspect, axis = 2 ** (0.2 * a0), 2 ** (0.2 * sign * np.hypot(u, v)), np.arctan2(v, u)
    turn = np.array([[1 + cos, sin], [-sin, 1 + cos]])  # of the picture, v downwards: anticlockwise
    along = np.array([[np.cos(axis), np.sin(axis)], [-np.sin(axis), np.cos(axis)]])
    forward = along @ np.diag([aspect, 1 / aspect]) @ along.T @ turn * size
    inverse = np.eye(3)
    inverse[:2, :2] = np.linalg.inv(forward)
    inverse[:2, 2] = -inverse[:2, :2] @ (np.array([a4, a5]) * SIZE / 8)
    return inverse


def test_the_labels_say_what_was_done_to_the_image(x64):
    x = images(24, dtype="float64")
    y, labels = jax.jit(EdmAugment(p=0.7))(x, KEYS[:24])
    assert y.dtype == "float64" and labels.shape == (24, EdmAugment.labels) and labels.dtype == "float32"
    labels = np.asarray(labels)
    flipped = np.where(labels[:, 0, None, None, None] == 1, x[:, :, ::-1], x)
    flipped = np.where(labels[:, 1, None, None, None] == 1, flipped[:, ::-1], flipped)
    error = [
        abs(warps(flipped, np.stack([inverse_of(label, sign) for label in labels])) - y).max((1, 2, 3))
        for sign in (1, -1)
    ]
    np.testing.assert_allclose(np.minimum(*error), 0, atol=2e-5)


def test_labels_of_zero_mean_that_nothing_was_done_to_the_bit():
    x = images(3000, 4)
    y, labels = edm(x, KEYS)
    untouched = ~np.any(np.asarray(labels) != 0, axis=1)
    np.testing.assert_array_equal(np.all(np.asarray(x == y), axis=(1, 2, 3)), untouched)
    share = 0.5 * 0.94 * 0.88**4  # half are not x-flipped, 0.94 not y-flipped, 0.88^4 not warped
    assert abs(untouched.mean() - share) < 4 * np.sqrt(share * (1 - share) / 3000)


def test_p_0_is_the_identity():
    x = images(20, 4, "bfloat16")
    y, labels = jax.jit(EdmAugment(p=0.0))(x, KEYS[:20])
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(labels, np.zeros((20, 9)))


def test_without_a_mirror_nothing_is_flipped_and_all_else_is_as_with_one(x64):
    x = images(24, dtype="float64")
    _, labels = jax.jit(EdmAugment(p=0.7))(x, KEYS[:24])
    y, without = jax.jit(EdmAugment(p=0.7, mirror=False))(x, KEYS[:24])
    np.testing.assert_array_equal(without[:, :2], 0)
    np.testing.assert_array_equal(without[:, 2:], labels[:, 2:])
    assert np.any(np.asarray(labels[:, :2]) != 0, axis=0).all() and np.any(np.asarray(y) != np.asarray(x))


def test_each_label_is_drawn_as_often_and_as_far_as_the_paper_says():
    n, p = 3000, 0.12
    _, labels = edm(images(n, 4), KEYS)
    labels = np.asarray(labels)
    shares = (0.5, p / 2, p, p, p, p, p / 2, p, p)  # half of the anisotropic scalings are along the image's own axes
    for label, share in zip(labels.T, shares, strict=True):
        assert abs((label != 0).mean() - share) <= 4 * np.sqrt(share * (1 - share) / n)
    for column in (2, 7, 8):
        drawn = labels[labels[:, column] != 0, column]
        assert abs(drawn.var() - 1) < 4 * np.sqrt(2 / len(drawn))
    turned = labels[labels[:, 4] != 0]
    np.testing.assert_allclose((1 + turned[:, 3]) ** 2 + turned[:, 4] ** 2, 1, atol=1e-5)
    np.testing.assert_array_equal(labels[:, 7] != 0, labels[:, 8] != 0)  # one coin for both directions


def test_an_images_labels_depend_on_its_key_alone():
    x = images(3000, 4)
    order = np.random.default_rng(0).integers(0, 3000, 3000)
    y, labels = edm(x, KEYS)
    z, again = edm(x[order], KEYS[order])
    np.testing.assert_allclose(again, labels[order], atol=1e-6)
    np.testing.assert_allclose(z, y[order], atol=1e-5)


def test_a_probability_above_one_is_an_error():
    with pytest.raises(UserError, match="augment.p: 1.2 must be between 0 and 1"):
        EdmAugment(p=1.2)
