import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.adversarial import LOSSES, NonSaturating

REAL, FAKE = jnp.array([-3.0, 0.0, 0.7, 5.0]), jnp.array([2.0, 0.0, -1.3, -4.0])


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_gives_one_number_per_example_to_each_player(name):
    loss = LOSSES[name]()
    assert loss.discriminator(REAL, FAKE).shape == loss.generator(REAL, FAKE).shape == (4,)


def test_non_saturating_is_cross_entropy_of_the_sigmoid():
    with jax.enable_x64(True):
        real, fake = np.float64(REAL), np.float64(FAKE)
        sigmoid = lambda logit: 1 / (1 + np.exp(-logit))  # noqa: E731
        d = NonSaturating().discriminator(jnp.asarray(real), jnp.asarray(fake))
        g = NonSaturating().generator(jnp.asarray(real), jnp.asarray(fake))
        np.testing.assert_allclose(d, -np.log(sigmoid(real)) - np.log(1 - sigmoid(fake)), rtol=1e-12)
        np.testing.assert_allclose(g, -np.log(sigmoid(fake)), rtol=1e-12)


def test_an_undecided_discriminator_pays_two_log_two_and_its_generator_log_two():
    zero = jnp.zeros(1)
    np.testing.assert_allclose(NonSaturating().discriminator(zero, zero), 2 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(NonSaturating().generator(zero, zero), np.log(2), rtol=1e-6)


def test_gradients_are_the_errors_of_the_sigmoid():
    d_real, d_fake = jax.grad(lambda r, f: NonSaturating().discriminator(r, f).sum(), (0, 1))(REAL, FAKE)
    g_real, g_fake = jax.grad(lambda r, f: NonSaturating().generator(r, f).sum(), (0, 1))(REAL, FAKE)
    np.testing.assert_allclose(d_real, -jax.nn.sigmoid(-REAL), rtol=1e-6)
    np.testing.assert_allclose(d_fake, jax.nn.sigmoid(FAKE), rtol=1e-6)
    np.testing.assert_allclose(g_fake, -jax.nn.sigmoid(-FAKE), rtol=1e-6)
    np.testing.assert_array_equal(g_real, 0)


def test_the_generator_keeps_its_gradient_where_the_discriminator_is_certain():
    sure = jnp.array([-1e4])
    assert jax.grad(lambda f: NonSaturating().generator(sure, f).sum())(sure) == -1
    assert NonSaturating().generator(sure, sure) == 1e4  # and nothing overflows


def test_the_best_discriminator_is_the_log_ratio_of_densities_and_its_loss_tells_jensen_shannon():
    """Goodfellow et al. 2014, proposition 1 and theorem 1, on four points."""
    with jax.enable_x64(True):
        p, q = jnp.array([0.1, 0.2, 0.3, 0.4]), jnp.array([0.4, 0.1, 0.25, 0.25])
        loss = NonSaturating()

        def expected(logits):  # E_p over real plus E_q over fake, point by point
            zero = jnp.zeros_like(logits)
            alone = loss.discriminator(zero, zero) / 2
            real = loss.discriminator(logits, zero) - alone
            fake = loss.discriminator(zero, logits) - alone
            return jnp.sum(p * real + q * fake)

        best = jnp.log(p / q)
        np.testing.assert_allclose(jax.grad(expected)(best), 0, atol=1e-15)
        mid = (p + q) / 2
        divergence = (jnp.sum(p * jnp.log(p / mid)) + jnp.sum(q * jnp.log(q / mid))) / 2
        np.testing.assert_allclose(expected(best), 2 * np.log(2) - 2 * divergence, rtol=1e-12)
