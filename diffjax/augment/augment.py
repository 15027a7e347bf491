"""What the discriminator looks at: images transformed at random, the real and the generated ones alike."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from diffjax.errors import UserError

Images = Float[Array, "b ..."]  # [b, h, w, c]; `each` says so to whoever brings anything else
Keys = Key[Array, "b"]
History = dict[str, Array]


class Augment(abc.ABC):
    """Transformations of images that can be differentiated, any number of times; and how often they happen.

    What happens to an image depends on its key and on p alone. With p = 0 nothing happens, to the bit. One that adapts
    keeps a history, arrays that belong into the training state.
    """

    def init(self) -> History:
        """The history before training."""
        return {}

    @abc.abstractmethod
    def strength(self, history: History, seen: ArrayLike) -> Float[Array, ""]:
        """p: the probability of each transformation after `seen` images of training, in [0, 1]."""

    @abc.abstractmethod
    def __call__(self, x: Images, keys: Keys, p: ArrayLike) -> Images:
        """Images [b, h, w, c] in model units (grey is 0), a key for each; the result has the format of x.

        Raises UserError for anything but images of at least 4x4 pixels.
        """

    def update(self, history: History, signs: ArrayLike, batch_size: float | int) -> History:
        """The history after an update of D, which took so many images: `signs` is the mean of sign(D(real))."""
        return history


@dataclass(frozen=True)
class NoAugment(Augment):
    """Images as they are."""

    def strength(self, history: History, seen: ArrayLike) -> Float[Array, ""]:
        return jnp.zeros(())

    def __call__(self, x: Images, keys: Keys, p: ArrayLike) -> Images:
        return x


def each(function: Callable[..., Any], x: Images, keys: Keys) -> Any:
    """function(image [h, w, c], key) of every image, computed in float32 or better."""
    if x.ndim != 4 or min(x.shape[1:3]) < 4:
        raise UserError(f"augment: examples of shape {x.shape[1:]} are not images of at least 4x4 pixels; use 'none'")
    return jax.vmap(function)(x.astype(jnp.promote_types(x.dtype, jnp.float32)), keys)
