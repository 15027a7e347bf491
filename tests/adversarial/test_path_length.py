import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.adversarial import path_lengths, running_mean


def normal(*shape, seed=1):
    return jax.random.normal(jax.random.key(seed), shape)


def linear(matrix):
    """Styles [b, layers, n] -> images [b, 2, 3, 2]: the sum of A_l w_l."""
    return lambda styles: jnp.einsum("bln,lpn->bp", styles, matrix).reshape(-1, 2, 3, 2)


def test_those_of_a_linear_generator_are_their_closed_form():
    matrix, styles, keys = normal(3, 12, 4), normal(5, 3, 4, seed=2), jax.random.split(jax.random.key(3), 5)
    y = jax.vmap(lambda key: jax.random.normal(key, (2, 3, 2)))(keys).reshape(5, 12)
    expected = jnp.sqrt(jnp.sum(jnp.einsum("bp,lpn->bln", y, matrix) ** 2, axis=(1, 2)) / 3 / (2 * 3))
    np.testing.assert_allclose(path_lengths(linear(matrix), styles, keys), expected, rtol=1e-5)
    np.testing.assert_allclose(path_lengths(linear(matrix), styles[3:], keys[3:]), expected[3:], rtol=1e-5)


def test_their_gradient_reaches_the_weights():
    matrix, styles, keys = normal(1, 12, 4), normal(5, 1, 4, seed=2), jax.random.split(jax.random.key(3), 5)
    y = jax.vmap(lambda key: jax.random.normal(key, (2, 3, 2)))(keys).reshape(5, 12) / 6**0.5

    def penalty(matrix):
        return jnp.mean((path_lengths(linear(matrix), styles, keys) - 0.7) ** 2)

    back = y @ matrix[0]  # J^T y; d |J^T y| = y (J^T y)^T / |J^T y|
    length = jnp.linalg.norm(back, axis=1)
    slope = jnp.einsum("b,bp,bn->pn", 2 * (length - 0.7) / length / 5, y, back)
    np.testing.assert_allclose(jax.grad(penalty)(matrix)[0], slope, rtol=1e-4, atol=1e-6)


def test_orthogonal_jacobians_have_the_most_even_lengths():
    """Karras et al. 2020, section 3.2 and appendix C: so the penalty is least for them."""
    styles, keys = jnp.zeros((2_000, 1, 4)), jax.random.split(jax.random.key(3), 2_000)
    even, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 4)))
    skew = even * np.array([1.6, 1.0, 0.6, 0.2]) * (4 / 3.96) ** 0.5  # the same mean square
    spread = [float(jnp.var(path_lengths(linear(jnp.asarray(a, "float32")[None]), styles, keys))) for a in (even, skew)]
    assert spread[0] < 0.8 * spread[1]


def test_where_an_image_does_not_change_with_its_style_there_is_no_gradient_and_no_infinity():
    styles, keys = normal(5, 3, 4), jax.random.split(jax.random.key(3), 5)
    gradient = jax.grad(lambda matrix: jnp.sum(path_lengths(linear(matrix), styles, keys)))(jnp.zeros((3, 12, 4)))
    np.testing.assert_array_equal(gradient, jnp.zeros((3, 12, 4)))


def test_the_running_mean_forgets_a_hundredth():
    mean = 0.0
    for _ in range(100):
        mean = running_mean(mean, 2.0)
    assert float(mean) == pytest.approx(2 * (1 - 0.99**100), rel=1e-5)
