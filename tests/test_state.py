"""What a step does to the state besides the gradient: averages, the sticky flag, optimisers in images."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax import config as configs
from diffjax.ema import HalfLife
from diffjax.errors import UserError
from diffjax.optim import Adam
from diffjax.parallel import Axis
from diffjax.state import HEALTHY, TrainState, update


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
    ],
)
def test_a_schedule_that_makes_no_sense_says_so(fields, message):
    with pytest.raises(UserError, match=message):
        Adam(**fields)
