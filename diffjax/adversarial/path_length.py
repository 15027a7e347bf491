"""Path length regularisation (StyleGAN2): a step in style space should change every image by the same amount."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from diffjax.adversarial.penalties import safe_sqrt

FORGETS = 0.01  # weight of a batch's mean length in the running mean

Synthesis = Callable[[Float[Array, "b layers n"]], Float[Array, "b h w c"]]


def path_lengths(synthesis: Synthesis, styles: Float[Array, "b layers n"], keys: Key[Array, "b"]) -> Float[Array, "b"]:
    """|J^T y| per example: J is the Jacobian of its image with respect to its styles, y ~ N(0, I) from its key.

    E (|J^T y| - a)^2 is minimal for a J that is orthogonal up to a factor (Karras et al. 2020, "Analyzing and Improving
    the Image Quality of StyleGAN", section 3.2, eq. 4). As in the authors' code, y is divided by sqrt(h w), and the
    squared norm by the number of layers, so that one weight suits all sizes. At r pixels their weight, 2, is the
    paper's ln 2 / (r^2 (ln r - ln 2)). `synthesis` must make each image from its own styles alone.
    """

    def projection(styles):
        images = synthesis(styles)
        y = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(keys)
        return jnp.sum(images * y) / (images.shape[1] * images.shape[2]) ** 0.5

    gradient = jax.grad(projection)(styles)
    return safe_sqrt(jnp.mean(jnp.sum(gradient**2, axis=2), axis=1))


def running_mean(mean: ArrayLike, lengths: ArrayLike) -> ArrayLike:
    """The target length a, updated with a batch whose mean length is `lengths`; a is 0 before the first batch."""
    return mean + FORGETS * (lengths - mean)
