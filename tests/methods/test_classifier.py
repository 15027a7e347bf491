"""The classifier as a method: what it learns from, and what it refuses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax.data.space import Space
from diffjax.errors import UserError
from diffjax.methods import Classifier, NoisyClassifier
from diffjax.models import CNNClassifier
from diffjax.optim.ema import HalfLife
from diffjax.parallel import Axis
from diffjax.precision import Precision

IMAGES = Space("images", (8, 8, 1), num_classes=3)


def method(space=IMAGES, kind=Classifier, **fields):
    run = {"precision": Precision(), "optimizers": {"classifier": optax.adam(1e-2)}, "ema": HalfLife(0.0)}
    network = partial(CNNClassifier, channels=4, width=8, dropout=0.0)
    return kind(space=space, batch_size=12, accumulate=1, network=network, **run | fields)


def test_it_learns_which_image_is_which():
    made, rng = method(max_shift=0), np.random.default_rng(0)
    x = rng.integers(0, 256, (1, 12, 8, 8, 1)).astype(np.uint8)
    label = jnp.arange(12, dtype=jnp.int32)[None] % 3
    batch = {"x": jnp.asarray(x), "label": label, "position": jnp.arange(12, dtype=jnp.int32)[None]}
    state, step = made.init(jax.random.key(0), batch), jax.jit(partial(made.step, axis=Axis()))
    losses = []
    for _ in range(60):
        state, metrics = step(state, batch, jax.random.key(1))
        losses.append(float(metrics["loss"]))
    assert losses[0] > 0.8 and losses[-1] < 0.05 and metrics["accuracy"] == 1
    assert (made.logits(state.params, x[0]).argmax(-1) == label[0]).all()


def test_a_shift_moves_the_image_and_repeats_its_edge():
    made = method(max_shift=1)
    x = jnp.arange(64.0).reshape(8, 8, 1)
    seen = {
        tuple(np.asarray(made._shifted(x, key)[3:5, 3:5, 0]).ravel()) for key in jax.random.split(jax.random.key(0), 99)
    }
    moves = {
        (27.0 + 8 * i + j, 28.0 + 8 * i + j, 35.0 + 8 * i + j, 36.0 + 8 * i + j) for i in (-1, 0, 1) for j in (-1, 0, 1)
    }
    assert seen == moves


def test_what_it_cannot_do_is_said():
    with pytest.raises(UserError, match="needs labelled data"):
        method(space=Space("images", (8, 8, 1)))
    with pytest.raises(UserError, match="method.max_shift: -1 must be at least 0 pixels"):
        method(max_shift=-1)
    with pytest.raises(UserError, match="a classifier draws nothing"):
        method().sample({}, None, None, None)
    with pytest.raises(UserError, match="method.sigma_data: 0.0 must be positive"):
        method(kind=NoisyClassifier, sigma_data=0.0)
