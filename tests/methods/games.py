"""Small games, and what a test needs to play them."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from diffjax.data.space import Space
from diffjax.methods.gan import GAN
from diffjax.models.mlp_gan import MlpDiscriminator, MlpGenerator
from diffjax.optim.ema import HalfLife
from diffjax.parallel import Axis
from diffjax.precision import Precision

POINTS = Space("points", (2,), shift=0.0, scale=1.0)
LABELLED = replace(POINTS, num_classes=3)
KEY = jax.random.key(7)
TINY_R3GAN = {"widths": (4, 4), "blocks": (1, 1), "group": 4}


class Least(nn.Module):
    """A network of which only the call is still to be said."""

    shape: tuple
    num_classes: int
    precision: Precision
    axis: Axis


def gan(space=POINTS, width=8, optimizer=None, batch_size=8, double=False, **fields):
    """A small GAN; `double` computes in float64."""
    networks = {
        "generator": partial(MlpGenerator, width=width),
        "discriminator": partial(MlpDiscriminator, width=width),
    }
    optimizer = optimizer or optax.sgd(0.1)
    return GAN(
        space=space,
        precision=Precision("float64", "float64") if double else Precision(),
        optimizers=dict.fromkeys(GAN.networks, optimizer),
        ema=fields.pop("ema", HalfLife()),
        batch_size=batch_size,
        accumulate=fields.pop("accumulate", 1),
        **networks | fields,
    )


class Styled(Least):
    """The least generator that has styles and noise of its own."""

    latent = 3

    def setup(self):
        formats = self.precision.formats
        self.mapping, self.synthesis = nn.Dense(4, **formats), nn.Dense(64, **formats)
        self.mean = self.variable("styles", "mean", jnp.zeros, (4,), jnp.dtype(self.precision.params))

    def __call__(self, z, label=None, keys=None, train=False, psi=1.0):
        return self.draw(self.styles(z, label, keys, train, psi), keys)

    def styles(self, z, label=None, keys=None, train=False, psi=1.0):
        w = jnp.tanh(self.mapping(z) + label[:, None])
        if train and self.is_mutable_collection("styles") and not self.is_initializing():
            self.mean.value = 0.9 * self.mean.value + 0.1 * self.axis.mean(w.mean(0))
        return jnp.repeat((self.mean.value + psi * (w - self.mean.value))[:, None], 2, axis=1)

    def draw(self, styles, keys=None):
        x = jnp.tanh(self.synthesis(styles.reshape(len(styles), -1)))
        if keys is not None:
            x += 0.3 * jax.vmap(lambda key: jax.random.normal(key, (64,), x.dtype))(keys)
        return x.reshape(-1, 8, 8, 1)


class Judge(Least):
    @nn.compact
    def __call__(self, x, label=None, train=False):
        formats = self.precision.formats
        return nn.Dense(1, **formats)(jnp.tanh(nn.Dense(4, **formats)(x.reshape(len(x), -1))))[:, 0]


def styled(**fields):
    players = {"generator": Styled, "discriminator": Judge}
    return gan(Space("images", (8, 8, 1), num_classes=3), conditional=True, **players | fields)


def batches(method, seed=0):
    """What the loop stacks: one real batch for each update of a network."""
    rng = np.random.default_rng(seed)
    size = (method.batches_per_step, method.batch_size)
    images = method.space.kind == "images"
    x = rng.integers(0, 256, (*size, *method.space.shape)).astype(np.uint8) if images else rng.normal(size=(*size, 2))
    return {
        "x": jnp.asarray(x if images else x.astype(np.float32)),
        "label": jnp.asarray(rng.integers(0, max(method.space.num_classes, 1), size), jnp.int32),
        "position": jnp.tile(jnp.arange(method.batch_size, dtype=jnp.int32), (size[0], 1)),
    }


def start(method):
    """The first state, a batch, and the compiled `(state, batch) -> (state, metrics)`."""
    batch = batches(method)
    step = jax.jit(partial(method.step, axis=Axis()))
    return jax.jit(method.init)(jax.random.key(0), batch), batch, lambda state, batch: step(state, batch, KEY)


def assert_equal(one, other, **tolerance):
    jax.tree.map(partial(np.testing.assert_allclose, **tolerance), one, other)


def moved(old, new):
    return any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True))
