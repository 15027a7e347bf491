"""Building blocks of a game of two networks: the latent sampler, rounds, turns, and the discriminator's output."""

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
    """The sampler of a generator: z ~ N(0, I), truncated to |z_i| <= truncation, and one network call.

    For style-based generators, `psi` pulls styles towards their mean.
    """

    steps: int = 1  # network calls; a generator needs exactly one
    truncation: float = 0.0  # 0: none; lower trades variety for fidelity (Brock et al. 2019, section 3.1: 2 to 0.04)
    psi: float = 1.0  # scales a style's distance from the mean style; below 1 makes the same trade (StyleGAN2)

    def __post_init__(self):
        if self.steps != 1:
            raise UserError(f"sampler.steps: {self.steps} must be 1: a generator samples in one network call")
        if not self.truncation >= 0:
            raise UserError(f"sampler.truncation: {self.truncation} must not be negative; 0 means no truncation")
        if not self.psi >= 0:
            raise UserError(f"sampler.psi: {self.psi} must not be negative; 1 leaves styles unchanged")

    def __call__(self, keys: Key[Array, "b"], size: int) -> Float[Array, "b {size}"]:
        """z [b, size], each row from its own key."""
        bound = self.truncation
        if bound:
            return jax.vmap(lambda key: jax.random.truncated_normal(key, -bound, bound, (size,), float))(keys)
        return jax.vmap(lambda key: jax.random.normal(key, (size,), float))(keys)


class Round(NamedTuple):
    """What the discriminator sees in one turn."""

    real: Array
    fake: Array
    inputs: dict[str, Array]  # further arguments of the discriminator, the same for real and fake
    compared: tuple[Array, Array]  # a real and a generated batch; comparing their spreads reveals mode collapse
    label: Array  # 0 for data without labels
    stats: Tree  # the generator's statistics after generating `fake`


class Keys(NamedTuple):
    """One example's randomness in one turn: a key for each random operation."""

    play: Key[Array, "b"]  # for the round: latents, and whatever else a method draws
    penalty: Key[Array, "b"]
    real: Key[Array, "b"]  # for augmenting the real example
    fake: Key[Array, "b"]  # for augmenting the generated example


@dataclass(frozen=True)
class Turn:
    """The context of one update: everything its loss depends on besides networks and examples."""

    key: Key[Array, ""]  # the turn's own
    step: Array
    seen: Array  # training images so far
    p: Array  # current probability of the augmentations
    axis: Axis

    def keys(self, batch: Batch) -> Keys:
        return split_into(Keys, example_keys(self.key, self.step, batch))


class Turns(NamedTuple):
    """Indices of a step's turns, which select their keys. The discriminator's turns count from 0, these follow."""

    generator: int
    penalty: int  # the update on a lazy penalty
    paths: int  # the update on path lengths

    @classmethod
    def starting(cls, first: int) -> "Turns":
        return cls(*range(first, first + len(cls._fields)))


class Judged(NamedTuple):
    """A discriminator's output for a batch: logits [b], and class logits [b, k] if it is an auxiliary classifier."""

    logit: Array
    classes: Array | None


def kind_of(network: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The class of a network, which may be wrapped in `functools.partial`."""
    return getattr(network, "func", network)


def statistics(variables: Tree) -> list[str]:
    """The collections that training updates without gradients, such as BatchNorm's."""
    return [name for name in variables if name != "params"]


def moments_of(x: Array, label: Array, num_classes: int) -> dict[str, Array]:
    """Each label's share of the batch and contribution to the mean example, and the mean square. x [b, ...], label [b].

    All three are means over the batch, which average over devices and microbatches, as a spread does not. With
    `num_classes` 0 all examples are pooled.
    """
    x = x.reshape(len(x), -1)
    onehot = nn.one_hot(label, num_classes, dtype=x.dtype) if num_classes else jnp.ones((len(x), 1), x.dtype)
    means = jnp.matmul(onehot.T, x, precision=lax.Precision.HIGHEST) / len(x)
    return {"share": jnp.mean(onehot, axis=0), "mean": means, "square": jnp.mean(x**2)}


def spread(moments: dict[str, Array]) -> Array:
    """The within-label variance, averaged over entries and examples, from `moments_of`.

    A generator that makes a single image per label has none. The result is clamped to stay positive, so that it can be
    a divisor. Where no label has two examples, the variance cannot be estimated, and the ratio of two spreads is near
    1.
    """
    share, mean, square = moments["share"], moments["mean"], moments["square"]
    divisor = jnp.where(share > 0, share, 1)
    between_labels = jnp.sum(jnp.mean(mean**2, axis=1) / divisor)
    floor = jnp.maximum(jnp.finfo(square.dtype).eps * square, jnp.finfo(square.dtype).tiny)
    return jnp.maximum(square - between_labels, floor)
