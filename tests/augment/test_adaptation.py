import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.augment import Ada, DiffAugment, NoAugment


def driven(augment, signal, updates, batch_size):
    """p after each of many discriminator updates, when the mean sign of D(real) answers to p."""

    def update(history, _):
        history = augment.update(history, signal(augment.strength(history, 0.0)), batch_size)
        return history, augment.strength(history, 0.0)

    return jax.jit(lambda history: jax.lax.scan(update, history, None, updates))(augment.init())


def test_p_settles_where_overfitting_meets_the_target():
    """r_t = 1 - p is 0.6 at p = 0.4."""
    increment = 4 * 64 / 500_000
    history, p = driven(Ada(), lambda p: 1 - p, 4000, 64)
    assert abs(p[-400:] - 0.4).max() <= increment * 1.001
    np.testing.assert_allclose(p[:400:4][1:], increment * np.arange(1, 100), rtol=1e-4)  # on its way, every fourth


@pytest.mark.parametrize(("batch_size", "every"), [(50, 4), (125, 1)])
def test_p_rises_from_0_to_1_in_half_a_million_images_and_on(batch_size, every):
    """As in the authors' code, which bounds p from below alone."""
    augment = Ada(every=every)
    updates = 500_000 // batch_size
    _, p = driven(augment, lambda p: 1.0, updates + 40, batch_size)
    increment = batch_size * every / 500_000
    np.testing.assert_allclose(p[updates - 1], 1, atol=1e-4)
    assert p[updates - 1 - every] <= 1 - 0.9 * increment
    np.testing.assert_allclose(p[-1], 1 + 40 // every * increment, atol=1e-4)


def test_p_falls_to_0_and_stays():
    _, p = driven(Ada(p=0.1), lambda p: -1.0, 100, 5000)
    assert p[0] == np.float32(0.1) and np.all(np.diff(p) <= 0) and np.all(p[-80:] == 0)


def test_the_mean_over_four_updates_decides_and_not_the_last():
    augment, history = Ada(p=0.5), Ada(p=0.5).init()
    for sign in (1.0, 1.0, 1.0, -0.5):  # mean 0.625
        assert history["p"] == 0.5
        history = augment.update(history, sign, 5000)
    np.testing.assert_allclose(history["p"], 0.5 + 4 * 5000 / 500_000, rtol=1e-6)
    assert history["signs"] == 0 and history["updates"] == 0


def test_the_history_is_a_tree_of_arrays_that_keeps_its_formats():
    for context in (False, True):
        with jax.enable_x64(context):
            augment = Ada()
            before = augment.init()
            after = jax.jit(lambda h, augment=augment: augment.update(h, jnp.asarray(0.3), 64))(before)
            assert jax.tree.map(jax.typeof, before) == jax.tree.map(jax.typeof, after)
            assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(before))


def test_target_zero_follows_the_ramp_and_keeps_no_history():
    augment = Ada(target=0.0, p=0.0, p_last=0.55, ramp_images=20e6)  # R3GAN on CIFAR-10
    assert augment.init() == {} == augment.update({}, 1.0, 512)
    for seen, p in ((0, 0), (5e6, 0.55 * (1 - np.cos(np.pi / 4)) / 2), (10e6, 0.275), (20e6, 0.55), (90e6, 0.55)):
        np.testing.assert_allclose(augment.strength({}, jnp.float32(seen)), p, atol=1e-7)
    np.testing.assert_allclose(Ada(target=0.0, p=0.3).strength({}, 1e9), 0.3, rtol=1e-6)


def test_what_does_not_adapt_keeps_no_history():
    for augment, p in ((DiffAugment(), 1), (NoAugment(), 0)):
        assert augment.init() == {} == augment.update({}, 1.0, 64)
        assert augment.strength({}, 1e6) == p
