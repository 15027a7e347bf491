"""The ramp of a hyper-parameter over a run."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def cosine_ramp(seen: ArrayLike, first: float, last: float, over: float) -> Float[Array, ""]:
    """last + (first - last) (1 + cos(pi min(seen / over, 1))) / 2: `first` at the start, `last` from `over` on.

    `seen` and `over` are both images, or both updates. With `over` 0 it is `first` throughout. R3GAN changes its rates,
    gamma, half-life and augmentation in this way (Huang et al. 2024, section 3.5).
    """
    if not over:
        return jnp.asarray(first, jnp.result_type(float))
    fraction = jnp.minimum(seen / over, 1.0)
    return last + (first - last) * 0.5 * (1 + jnp.cos(jnp.pi * fraction))
