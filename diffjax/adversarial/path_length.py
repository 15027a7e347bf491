"""Path length regularisation: a step in the styles should change the image as much everywhere (StyleGAN2)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from diffjax.adversarial.penalties import safe_sqrt

FORGETS = 0.01  # the share of the running mean that a batch's mean length replaces

Synthesis = Callable[[Float[Array, "b layers n"]], Float[Array, "b h w c"]]


def path_lengths(synthesis: Synthesis, styles: Float[Array, "b layers n"], keys: Key[Array, "b"]) -> Float[Array, "b"]:
    """|J^T y| of each example, J the Jacobian of its image with respect to its styles, y ~ N(0, I) from its key.

    E (|J^T y| - a)^2 is least for a J that is orthogonal, up to a factor (Karras et al. 2020, "Analyzing and Improving
    the Image Quality of StyleGAN", section 3.2, eq. 4). As in the authors' code y is divided by sqrt(h w), and the
    square of the norm by the number of layers, so that one weight does for all sizes: theirs, 2, is the paper's
    ln 2 / (r^2 (ln r - ln 2)) at r pixels. `synthesis` must make each image of its own styles alone.
    """

    def projected(styles):
        images = synthesis(styles)
        y = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(keys)
        return jnp.sum(images * y) / (images.shape[1] * images.shape[2]) ** 0.5

    gradient = jax.grad(projected)(styles)
    return safe_sqrt(jnp.mean(jnp.sum(gradient**2, axis=2), axis=1))


def running_mean(mean: ArrayLike, lengths: ArrayLike) -> ArrayLike:
    """What lengths are held to, a, after a batch whose mean length is `lengths`; 0 before the first."""
    return mean + FORGETS * (lengths - mean)
