import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.adversarial import PENALTIES, R1
from diffjax.errors import UserError
from diffjax.models.dcgan import DcganDiscriminator
from diffjax.parallel import Axis
from diffjax.precision import Precision

KEYS = jax.random.split(jax.random.key(0), 5)


def penalty_of(penalty, critic, real):
    return penalty(critic, real, jnp.full_like(real, jnp.nan), KEYS[: len(real)])  # neither generated images nor chance


def test_r1_on_a_quadratic_critic_is_its_closed_form():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        a, b, x = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=(5, 3))
        found = penalty_of(R1(gamma=4.0), lambda x: 0.5 * jnp.einsum("bi,ij,bj->b", x, a, x) + x @ b, jnp.asarray(x))
        gradient = x @ (a + a.T) / 2 + b
        np.testing.assert_allclose(found, 2.0 * np.sum(gradient**2, axis=1), rtol=1e-12)


def test_r1_sums_over_pixels():
    """The gradient of an image's sum is one at each of its pixels."""
    found = penalty_of(R1(gamma=10.0), lambda x: x.sum((1, 2, 3)), jnp.zeros((5, 4, 6, 3)))
    np.testing.assert_allclose(found, 5.0 * 4 * 6 * 3)


def test_r1_decays_the_weights_of_a_linear_critic():
    w, x = jnp.array([1.0, -2.0, 0.5]), jnp.ones((5, 3))
    gradient = jax.grad(lambda w: penalty_of(R1(gamma=3.0), lambda x: x @ w, x).mean())(w)
    np.testing.assert_allclose(gradient, 3.0 * w, rtol=1e-6)


def test_the_gradient_of_r1_through_a_convolutional_critic_is_that_of_finite_differences():
    with jax.enable_x64(True):
        network = DcganDiscriminator((8, 8, 2), 0, Precision("float64", "float64"), Axis(), width=3)
        x = jax.random.normal(jax.random.key(1), (4, 8, 8, 2))
        params = jax.jit(network.init)(jax.random.key(2), x)
        direction = jax.tree.map(lambda w: jax.random.normal(jax.random.key(w.size), w.shape), params)

        @jax.jit
        def value(params):
            return penalty_of(R1(), lambda x: network.apply(params, x), x).mean()

        def at(step):
            return value(jax.tree.map(lambda w, d: w + step * d, params, direction))

        slope = sum(
            jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), jax.jit(jax.grad(value))(params), direction))
        )
        step = 1e-6
        np.testing.assert_allclose(slope, (at(step) - at(-step)) / (2 * step), rtol=1e-7)


def test_none_is_no_penalty():
    np.testing.assert_array_equal(penalty_of(PENALTIES["none"], lambda x: x.sum(1), jnp.ones((5, 3))), np.zeros(5))


def test_a_negative_gamma_is_the_users_mistake():
    with pytest.raises(UserError, match="penalty.gamma: -1.0"):
        R1(gamma=-1.0)
