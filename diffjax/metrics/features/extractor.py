"""Feature extractors: a pure function from images to features, its variables, and its protocol."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float32, Shaped

from diffjax.errors import UserError

Tree = Any


class Outputs(NamedTuple):
    """The outputs of a feature network."""

    features: Float32[Array, "n d"]
    logits: Float32[Array, "n k"] | None = None  # for the Inception Score; None for a network without classes


@dataclass(frozen=True, eq=False)
class Extractor:
    """A feature network with its weights: images uint8 [n, h, w, c] -> features float32 [n, dimensions].

    Images are embedded independently, so batches may be split and padded freely. To shard, compile `apply` with the
    variables replicated and the images split along their first axis; a jit that closes over the extractor itself would
    turn its variables into constants.
    """

    name: str
    dimensions: int
    protocol: dict[str, Any]  # network, hash of the weights, resize, range: must agree for comparable numbers
    variables: Tree
    apply: Callable[[Tree, Any], Outputs]  # (variables, images) -> Outputs; pure
    classes: int = 0  # number of logits; 0: none

    def __call__(self, images: Shaped[ArrayLike, "n h w c"]) -> Float32[Array, "n d"]:
        """The features, [n, dimensions]. Raises UserError unless the images are uint8, grey or RGB."""
        return jax.jit(self.apply)(self.variables, images).features

    def logits(self, images: Shaped[ArrayLike, "n h w c"]) -> Float32[Array, "n k"]:
        """The class logits, [n, k]. Raises UserError if the network has none, and as `__call__` does."""
        logits = jax.jit(self.apply)(self.variables, images).logits
        if logits is None:
            raise UserError(f"features: {self.name!r} has no class logits; must be a classifier or 'inception'")
        return logits

    def without_logits(self) -> "Extractor":
        """The same extractor without logits, which a compiled `apply` then does not compute."""
        return replace(self, apply=lambda variables, images: Outputs(self.apply(variables, images).features), classes=0)


def check_choice(field: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raises UserError, naming the caller's `field`, unless the value is one of those allowed."""
    if value not in allowed:
        raise UserError(f"{field}: {value!r} is not one of {', '.join(map(str, allowed))}")


def check_pixels(images: Shaped[ArrayLike, "n h w c"]) -> Shaped[Array, "n h w c"]:
    """The images. Raises UserError unless they are uint8: features are computed after quantisation."""
    images = jnp.asarray(images)
    if images.dtype != jnp.uint8:
        raise UserError(f"images: {images.dtype} pixels; must be uint8, as features are computed after quantisation")
    return images


def check_channels(shape: tuple[int, int, int]) -> dict[str, str]:
    """The protocol entry for channels of images [h, w, c]. Raises UserError unless they are grey or RGB."""
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise UserError(f"images: {shape}; must be (height, width, 1 or 3)")
    return {"grey": "three equal channels"} if shape[-1] == 1 else {}


def to_rgb(x: Float32[Array, "n h w c"]) -> Float32[Array, "n h w 3"]:
    """Repeats grey images to three channels; colour images are unchanged."""
    return jnp.broadcast_to(x, (*x.shape[:3], 3))
