"""What a step does to the state besides the gradient: averages, the sticky flag, parts of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffjax import config as configs
from diffjax.optim.ema import HalfLife
from diffjax.optim.state import HEALTHY, TrainState, update
from diffjax.parallel import Axis


def state(value=0.0):
    variables = {"params": {"w": jnp.full(2, value)}, "batch_stats": {"mean": jnp.full(2, value)}}
    return TrainState.create({"net": variables}, {"net": optax.sgd(1.0)}, averaged=("net",))


def test_after_its_half_life_in_images_an_average_has_half_forgotten():
    average, now = HalfLife(images=640, ramp=0.0), state(0.0)
    now = now.replace(params=jax.tree.map(jnp.ones_like, now.params))
    for _ in range(10):  # 10 steps of 64 images
        now = now.advance(average, 64, jnp.ones(()))
    np.testing.assert_allclose(now.ema["net"]["params"]["w"], 0.5, rtol=1e-5)
    np.testing.assert_allclose(now.ema["net"]["batch_stats"]["mean"], 0.5, rtol=1e-5)  # statistics too


def test_the_half_life_does_not_depend_on_the_batch():
    for batch in (8, 32, 160):
        decay = HalfLife(images=640, ramp=0.0).decay(jnp.float32(1e6), batch)
        np.testing.assert_allclose(decay ** (640 / batch), 0.5, rtol=1e-5)


def test_the_ramp_holds_the_half_life_to_a_share_of_the_images_seen():
    """Karras et al. 2022: half-life = min(half-life, 0.05 images seen)."""
    np.testing.assert_allclose(HalfLife(1e6, 0.05).decay(jnp.float32(1000.0), 10), 0.5 ** (10 / 50), rtol=1e-5)
    np.testing.assert_allclose(HalfLife(20.0, 0.05).decay(jnp.float32(1000.0), 10), 0.5 ** (10 / 20), rtol=1e-5)


def test_a_half_life_of_zero_keeps_no_average():
    assert HalfLife(images=0.0).decay(jnp.float32(1e6), 10) == 0


def test_cifar10s_half_life_is_the_papers_decay_of_0_9999_a_step():
    ema = configs.build("ema", configs.load("configs/cifar10_ddpm.py").ema)
    np.testing.assert_allclose(ema.decay(jnp.float32(1e9), 128), 0.9999, rtol=1e-7)


def test_the_flag_keeps_the_first_bad_step():
    now = state()
    assert now.extra["first_bad_step"] == HEALTHY
    for loss in (1.0, 2.0, jnp.nan, 1.0, jnp.inf):
        now = now.advance(HalfLife(), 1, jnp.asarray(loss))
    assert now.extra["first_bad_step"] == 3


def test_parts_of_a_batch_give_its_mean_gradient():
    batch = {"x": jnp.arange(12.0)}

    def loss(variables, batch):
        aux = {"metrics": {}, "stats": {"batch_stats": variables["batch_stats"]}}
        return jnp.mean((variables["params"]["w"][0] - batch["x"]) ** 2), aux

    whole, _, norm = update(state(), "net", loss, batch, optax.sgd(1.0), Axis())
    parts, _, other = update(state(), "net", loss, batch, optax.sgd(1.0), Axis(), accumulate=3)
    np.testing.assert_allclose(parts.params["net"]["params"]["w"], whole.params["net"]["params"]["w"])
    np.testing.assert_allclose(other, norm)
