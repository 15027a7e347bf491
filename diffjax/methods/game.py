"""The pieces of a game of two networks: what a generator draws from, a round, a turn, a verdict."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from diffjax.errors import UserError
from diffjax.methods.method import Batch, keys_of
from diffjax.parallel import Axis
from diffjax.state import Tree


@dataclass(frozen=True)
class Latent:
    """How a generator draws: z ~ N(0, I), each component held to |z_i| <= truncation, and one network call.

    One that makes styles of z first may have them drawn towards their mean.
    """

    steps: int = 1  # network calls; a generator draws in one
    truncation: float = 0.0  # 0: none; from 2 down to 0.04 trades variety for fidelity (Brock et al. 2019, section 3.1)
    psi: float = 1.0  # of a style's distance from the mean style, what is kept; down to 0 does so too (StyleGAN2)

    def __post_init__(self):
        if self.steps != 1:
            raise UserError(f"sampler.steps: {self.steps} must be 1, a generator draws in one network call")
        if not self.truncation >= 0:
            raise UserError(f"sampler.truncation: {self.truncation} must not be negative; 0 truncates nothing")
        if not self.psi >= 0:
            raise UserError(f"sampler.psi: {self.psi} must not be negative; 1 leaves styles as they are")

    def __call__(self, keys: Key[Array, "b"], size: int) -> Float[Array, "b {size}"]:
        """z [b, size], each row from its own key."""
        bound = self.truncation
        if bound:
            return jax.vmap(lambda key: jax.random.truncated_normal(key, -bound, bound, (size,), float))(keys)
        return jax.vmap(lambda key: jax.random.normal(key, (size,), float))(keys)


class Round(NamedTuple):
    """What the discriminator is shown in one turn, and what it is told besides."""

    real: Array
    fake: Array
    given: dict[str, Array]  # further arguments of the discriminator, the same for both sorts
    compared: tuple[Array, Array]  # a real and a generated batch whose spreads tell of collapse
    label: Array  # 0 where there is none
    stats: Tree  # the generator's statistics after it has made `fake`


class Keys(NamedTuple):
    """An example's randomness in one turn: a key for each thing that is random."""

    play: Key[Array, "b"]  # of the round: latents, and whatever else a method draws
    penalty: Key[Array, "b"]
    real: Key[Array, "b"]  # its augmentations
    fake: Key[Array, "b"]


@dataclass(frozen=True)
class Turn:
    """When and where an update happens: what its loss depends on, besides networks and examples."""

    key: Key[Array, ""]  # of the player's turn
    step: Array
    seen: Array  # images of training so far
    p: Array  # of the augmentations, now
    axis: Axis

    def keys(self, batch: Batch) -> Keys:
        split = jax.vmap(lambda key: jax.random.split(key, 4), out_axes=1)
        return Keys(*split(keys_of(self.key, self.step, batch)))


class Verdict(NamedTuple):
    """What a discriminator says: logits [b], and class logits [b, k] if it names classes."""

    logit: Array
    classes: Array | None


def kind_of(network: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """A network's class, whatever is filled in."""
    return getattr(network, "func", network)


def statistics(variables: Tree) -> list[str]:
    """The collections that training keeps without descending on them, such as BatchNorm's."""
    return [name for name in variables if name != "params"]


def moments_of(x: Array) -> dict[str, Array]:
    """The mean example, and the mean squared entry: means, which add up over parts of a batch as a spread does not."""
    return {"mean": jnp.mean(x, axis=0), "square": jnp.mean(x**2)}


def spread(moments: dict[str, Array]) -> Array:
    """Half the mean squared difference of two examples' entries; never quite 0, so that it can be divided by."""
    spread = moments["square"] - jnp.mean(moments["mean"] ** 2)
    return jnp.maximum(spread, jnp.finfo(spread.dtype).tiny)
