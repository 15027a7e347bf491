"""What augmentations have in common, and the interface of those for GANs.

Images [b, h, w, c] are transformed with one key each, on which the result for an image depends. There are two kinds:

    augment(x, keys, p) -> x             `Augment`: what a GAN's discriminator sees, real or generated
    augment(x, keys)    -> x, labels     `EdmAugment`: a diffusion model's training images, with `labels` numbers each
                                         that tell the network what was done

`NoAugment` serves both.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from diffjax.errors import UserError

Images = Float[Array, "b ..."]  # [b, h, w, c]; `each` raises for any other shape
Keys = Key[Array, "b"]
History = dict[str, Array]


class Augment(abc.ABC):
    """Differentiable transformations of images, to any order, and the schedule of their probability p.

    The result for an image depends on its key and on p alone. With p = 0 it is bit-identical to the image. An adaptive
    augmentation keeps a history: arrays that belong in the training state.
    """

    labels: ClassVar[int] = 0  # numbers that tell a network the transformation

    def init(self) -> History:
        """The history before training."""
        return {}

    @abc.abstractmethod
    def strength(self, history: History, seen: ArrayLike) -> Float[Array, ""]:
        """The probability p >= 0 of each transformation after `seen` training images; above 1 it counts as 1."""

    @abc.abstractmethod
    def __call__(self, x: Images, keys: Keys, p: ArrayLike) -> Images:
        """Transforms images [b, h, w, c] in model units (grey is 0) with one key each; keeps the dtype of x.

        Raises UserError unless x holds images of at least 4x4 pixels.
        """

    def update(self, history: History, signs: ArrayLike, batch_size: float | int) -> History:
        """The history after a discriminator update on `batch_size` images; `signs` is the mean of sign(D(real))."""
        return history


@dataclass(frozen=True)
class NoAugment(Augment):
    """The images unchanged."""

    def strength(self, history: History, seen: ArrayLike) -> Float[Array, ""]:
        return jnp.zeros(())

    def __call__(self, x: Images, keys: Keys, p: ArrayLike) -> Images:
        return x


def each(function: Callable[..., Any], x: Images, keys: Keys) -> Any:
    """function(image [h, w, c], key) for every image, computed in float32 or better."""
    if x.ndim != 4 or min(x.shape[1:3]) < 4:
        raise UserError(
            f"method.augment: must be none for examples of shape {x.shape[1:]}; it needs images of at least 4x4 pixels"
        )
    return jax.vmap(function)(x.astype(jnp.promote_types(x.dtype, jnp.float32)), keys)
