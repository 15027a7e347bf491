"""Optimisers: where rates end, what is shared, and whose they are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from diffjax.config import component
from diffjax.errors import UserError
from diffjax.experiment import Experiment
from diffjax.optim.optimizers import Adam, RMSProp
from diffjax.parallel import Axis
from tests import tiny
from tests.methods.games import KEY, assert_equal, batches, gan, moved


def test_a_decay_ends_with_the_run_however_often_the_discriminator_is_updated():
    adam = Adam(learning_rate=1.0, b1=0.0, b2=0.0, eps=0.0, decay="cosine")
    method = gan(d_steps=5, lazy=4)
    optimizer = method.optimizer("discriminator", adam, images=8 * 8)  # 8 steps of 8
    state, sizes = optimizer.init(jnp.ones(())), []
    for _ in range(43):
        updates, state = optimizer.update(jnp.ones(()), state)
        sizes.append(-float(updates))
    c = 5 / 5.25  # 42 updates in all: 5 a step, and one more every fourth
    np.testing.assert_allclose((sizes[0], sizes[21], sizes[42]), (c, c / 2, 0), atol=1e-6)
    generator = method.optimizer("generator", adam, images=8 * 8)
    state = generator.init(jnp.ones(()))
    for _ in range(9):
        updates, state = generator.update(jnp.ones(()), state)
    np.testing.assert_allclose(updates, 0, atol=1e-6)


def test_rates_and_b2_end_where_they_are_told_to():
    """R3GAN's schedule: everything on half a cosine, counted in images."""
    adam = Adam(learning_rate=1.0, learning_rate_last=0.25, b1=0.0, b2=0.9, b2_last=0.99, decay="cosine")
    rate = adam.schedule(images_per_update=10, images=100)
    assert_equal([rate(n) for n in (0, 5, 10, 12)], [1.0, 0.625, 0.25, 0.25], rtol=1e-6)
    optimizer = adam.build(images_per_update=10, images=100)
    state, found = optimizer.init(jnp.ones(())), []
    for _ in range(12):
        _, state = optimizer.update(jnp.ones(()), state)
        found.append(float(state[0].hyperparams["b2"]))
    assert_equal([found[n] for n in (0, 5, 10, 11)], [0.9, 0.945, 0.99, 0.99], rtol=1e-6)


def test_rmsprop_is_pytorchs_and_shares_adams_schedule(x64):
    """v <- b2 v + (1 - b2) g^2 from 0; the update is -rate g / (sqrt(v) + eps), eps outside of the root."""
    spec = RMSProp(learning_rate=0.5, b2=0.9, eps=1e-2, decay="linear", weight_decay=0.1, clip_norm=2.0)
    optimizer, w, v = spec.build(images_per_update=10, images=80), np.array([1.0, -2.0]), np.zeros(2)
    state = optimizer.init(w)
    for n in range(4):
        g = np.array([3.0 * n - 4.0, 0.5])
        updates, state = optimizer.update(g, state, w)
        g *= min(1, 2 / np.linalg.norm(g))
        v = 0.9 * v + 0.1 * g**2
        expected = -0.5 * (1 - n / 8) * (g / (np.sqrt(v) + 1e-2) + 0.1 * w)
        np.testing.assert_allclose(updates, expected, rtol=1e-10)
        w += updates
    c = spec.interleaved(0.2)
    assert_equal((c.learning_rate, c.b2, c.eps), (0.4, 0.9**0.8, 1e-2), rtol=1e-12)
    for field, value in (("b2", 1.0), ("learning_rate_last", 0.1)):
        with pytest.raises(UserError, match=f"optim.{field}: {value}"):
            RMSProp(**{field: value})


def test_each_network_has_the_optimiser_that_its_section_says():
    idle, busy = component("optim", "adam", learning_rate=0.0), component("optim", "rmsprop")
    config = tiny.ring(train__steps=8).unlock()
    config.optim = ConfigDict({"generator": idle, "discriminator": busy})
    method = Experiment.of(config).method
    batch = batches(method)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    new, _ = jax.jit(partial(method.step, axis=Axis()))(state, batch, KEY)
    assert not moved(state.params["generator"], new.params["generator"])
    assert moved(state.params["discriminator"], new.params["discriminator"])
    first = jax.tree.map(lambda a, b: np.abs(a - b).max(), state.params["discriminator"], new.params["discriminator"])
    np.testing.assert_allclose(max(jax.tree.leaves(first)), 5e-5 / 0.1, rtol=1e-2)  # sqrt(v) is a tenth of g at first
    config.optim = ConfigDict({"generator": idle})
    with pytest.raises(
        UserError, match="optim: generator must be the networks that this method trains, generator, discriminator"
    ):
        Experiment.of(config)


@pytest.mark.parametrize("batch", [10, 40])
def test_rates_are_counted_in_images(batch):
    schedule = Adam(learning_rate=1.0, warmup=400.0, decay="cosine").schedule(batch, 1200)
    at = lambda images: float(schedule(images // batch))  # noqa: E731
    np.testing.assert_allclose([at(400), at(800), at(1200)], [1.0, 0.5, 0.0], atol=1e-6)
    assert 0 < at(0) < at(200) < 1
    np.testing.assert_allclose(at(200), 0.5, atol=0.1)


def test_a_gradient_longer_than_allowed_is_shortened_before_adam():
    """Adam forgets a gradient's scale, so clipping shows in its second moment."""
    clipped, gradient = Adam(clip_norm=1.0).build(1, 1), {"w": jnp.asarray([30.0, 40.0])}
    _, opt_state = clipped.update(gradient, clipped.init(gradient), gradient)
    moment = next(s.nu["w"] for s in opt_state if hasattr(s, "nu"))
    np.testing.assert_allclose(moment, 0.001 * np.asarray([0.6, 0.8]) ** 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decay": "exponential"}, "optim.decay: 'exponential'"),
        ({"decay": "cosine", "warmup": 9.0, "decay_images": 8.0}, "optim.decay_images: 8 must be"),
        ({"decay_images": 1e6}, "optim.decay_images: 1000000.0 needs a decay; optim.decay must not be 'constant'"),
    ],
)
def test_a_schedule_that_makes_no_sense_says_so(fields, message):
    with pytest.raises(UserError, match=message):
        Adam(**fields)
