"""Parameters as training might leave them: nothing is 0 or 1, as it is at the start, and nothing has to be compiled."""

import jax
import jax.numpy as jnp
import numpy as np


def trained(module, *inputs, size=0.3):
    """Variables for `module.apply(variables, *inputs)`: normal with standard deviation `size`, around 1 for scales."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    numbers = np.random.default_rng(7)

    def draw(path, x):
        return jnp.asarray(numbers.normal(float(path[-1].key == "scale"), size, x.shape), x.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)
