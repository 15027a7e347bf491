"""What is added to the discriminator's loss, per example, to hold its gradient: `penalty(critic, real, fake, keys)`.

`critic(x [b, ...]) -> logits [b]` is the discriminator with everything but its images filled in; it must judge each
image alone (no BatchNorm), because the gradient of an image's logit is taken from the gradient of the sum of logits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffjax.errors import UserError

Critic = Callable[[Float[Array, "b ..."]], Float[Array, "b"]]
Images = Float[Array, "b ..."]


def none(critic: Critic, real: Images, fake: Images, keys: Key[Array, "b"]) -> Float[Array, "b"]:
    """No penalty: zeros [b]."""
    return jnp.zeros(len(real))


@dataclass(frozen=True)
class R1:
    """(gamma / 2) |grad_x D(x)|^2 at the real images, D the logit (Mescheder et al. 2018, eq. 9). [b, ...] -> [b].

    The squared norm sums over an image's pixels and channels, in model units.
    """

    gamma: float = 10.0  # Mescheder et al. 2018, section 5.2; smaller where the data are finely structured

    def __post_init__(self):
        if not self.gamma >= 0:
            raise UserError(f"penalty.gamma: {self.gamma} must not be negative; 0 switches the penalty off")

    def __call__(self, critic: Critic, real: Images, fake: Images, keys: Key[Array, "b"]) -> Float[Array, "b"]:
        return 0.5 * self.gamma * squared_gradient(critic, real)


def squared_gradient(critic: Critic, x: Images) -> Float[Array, "b"]:
    """|grad_x D(x)|^2 of each image, summed over its pixels. [b, ...] -> [b]."""
    gradient = jax.grad(lambda x: jnp.sum(critic(x)))(x)
    return jnp.sum(gradient**2, axis=tuple(range(1, x.ndim)))
