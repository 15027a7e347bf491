"""The spread of examples; what it says of whole batches and of a GAN's step is tested in `tests.methods.test_game`."""

import jax
import jax.numpy as jnp

from diffjax.adversarial.diversity import moments_of, spread


def test_labels_of_one_example_each_tell_nothing_of_collapse():
    x = jax.random.normal(jax.random.key(7), (8, 3))
    alone = spread(moments_of(x, jnp.arange(8), 8)) / spread(moments_of(x[::-1] + 2.0, jnp.arange(8), 8))
    assert 0.01 < alone < 100
