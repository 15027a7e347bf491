"""What a game of two networks is made of: its sampler, its examples, the context of an update, D's output."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Key

from diffjax.errors import UserError
from diffjax.methods.method import Batch, example_keys, split_into
from diffjax.optim.state import Tree
from diffjax.parallel import Axis


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


class Examples(NamedTuple):
    """The real and the generated examples of one update, and what the discriminator is told of both."""

    real: Array
    fake: Array
    inputs: dict[str, Array]  # further arguments of the discriminator, the same for real and fake
    compared: tuple[Array, Array]  # a real and a generated batch; comparing their spreads reveals mode collapse
    label: Array  # 0 for data without labels
    stats: Tree  # the generator's statistics after generating `fake`


class Keys(NamedTuple):
    """One example's randomness in one update: a key for each random operation."""

    generate: Key[Array, "b"]  # for drawing `Examples`: latents, and whatever else a method draws
    penalty: Key[Array, "b"]
    real: Key[Array, "b"]  # for augmenting the real example
    fake: Key[Array, "b"]  # for augmenting the generated example


@dataclass(frozen=True)
class UpdateContext:
    """What the loss of one update depends on besides networks and examples."""

    key: Key[Array, ""]  # of this update
    step: Array
    seen: Array  # training images so far
    p: Array  # current probability of the augmentations
    axis: Axis

    def keys(self, batch: Batch) -> Keys:
        return split_into(Keys, example_keys(self.key, self.step, batch))


class UpdateIndices(NamedTuple):
    """The indices of a step's updates after the discriminator's, which are 0, 1, ...; an index selects the keys."""

    generator: int
    penalty: int  # of the discriminator, on a lazy penalty
    path_lengths: int  # of the generator, on path lengths


class DiscriminatorOutput(NamedTuple):
    """Logits [b] of a batch, and class logits [b, k] if the discriminator is an auxiliary classifier."""

    logit: Array
    class_logits: Array | None


def nth(batch: Batch, i: int) -> Batch:
    """The i-th real batch of a step."""
    return jax.tree.map(lambda x: x[i], batch)


def statistics(variables: Tree) -> list[str]:
    """The collections that training updates without gradients, such as BatchNorm's."""
    return [name for name in variables if name != "params"]
