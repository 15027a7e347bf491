"""The pieces of a game of two networks: what a generator draws from, a round, a turn, what was judged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Key

from diffjax.errors import UserError
from diffjax.methods.method import Batch, example_keys, split_into
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
    inputs: dict[str, Array]  # further arguments of the discriminator, the same for both sorts
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
        return split_into(Keys, example_keys(self.key, self.step, batch))


class Turns(NamedTuple):
    """The numbers of a step's turns, by which their randomness differs. The discriminator's are counted from 0."""

    generator: int
    penalty: int  # of a lazy penalty alone
    paths: int  # of path lengths alone

    @classmethod
    def starting(cls, first: int) -> "Turns":
        return cls(*range(first, first + len(cls._fields)))


class Judged(NamedTuple):
    """What a discriminator says of a batch: logits [b], and class logits [b, k] if it names classes."""

    logit: Array
    classes: Array | None


def kind_of(network: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """A network's class, whatever is filled in."""
    return getattr(network, "func", network)


def statistics(variables: Tree) -> list[str]:
    """The collections that training keeps without descending on them, such as BatchNorm's."""
    return [name for name in variables if name != "params"]


def moments_of(x: Array, label: Array, num_classes: int) -> dict[str, Array]:
    """Of each label its share and its share of the mean example, and the mean squared entry; x [b, ...], label [b].

    All are means, which add up over devices and parts of a batch as a spread does not. `num_classes` 0 pools labels.
    """
    x = x.reshape(len(x), -1)
    of_label = nn.one_hot(label, num_classes, dtype=x.dtype) if num_classes else jnp.ones((len(x), 1), x.dtype)
    means = jnp.matmul(of_label.T, x, precision=lax.Precision.HIGHEST) / len(x)
    return {"share": jnp.mean(of_label, axis=0), "mean": means, "square": jnp.mean(x**2)}


def spread(moments: dict[str, Array]) -> Array:
    """The variance of an entry among the examples of a label, its mean over entries and examples; for `moments_of`.

    A generator of one image for each label has none. Never quite 0, so that it can be divided by: where no label has
    two examples, which leaves nothing to be seen, the ratio of two spreads is near 1.
    """
    share, mean, square = moments["share"], moments["mean"], moments["square"]
    present = jnp.where(share > 0, share, 1)
    between = jnp.sum(jnp.mean(mean**2, axis=1) / present)
    least = jnp.maximum(jnp.finfo(square.dtype).eps * square, jnp.finfo(square.dtype).tiny)
    return jnp.maximum(square - between, least)
