"""What turns images into features: a pure function, its variables, and the protocol that its numbers carry."""

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
    """What a network says of images."""

    features: Float32[Array, "n d"]
    logits: Float32[Array, "n k"] | None = None  # for the Inception Score; a network without classes has none


@dataclass(frozen=True, eq=False)
class Extractor:
    """A feature network with its weights: images uint8 [n, h, w, c] -> features float32 [n, dimensions].

    Each image is embedded by itself, so the batch may be cut and padded anyhow. To shard it, compile `apply` with the
    variables replicated and the images split along their first axis; a jit that closes over the extractor itself would
    make constants of its variables.
    """

    name: str
    dimensions: int
    protocol: dict[str, Any]  # network, hash of the weights, resize, range: what two comparable numbers share
    variables: Tree
    apply: Callable[[Tree, Any], Outputs]  # (variables, images) -> Outputs; pure
    classes: int = 0  # that its logits name; 0: it has no logits

    def __call__(self, images: Shaped[ArrayLike, "n h w c"]) -> Float32[Array, "n d"]:
        """The features, [n, dimensions]. Raises UserError unless the images are uint8, grey or RGB."""
        return jax.jit(self.apply)(self.variables, images).features

    def logits(self, images: Shaped[ArrayLike, "n h w c"]) -> Float32[Array, "n k"]:
        """The network's logits of its classes, [n, k]. Raises UserError if it has none, and as a call does."""
        logits = jax.jit(self.apply)(self.variables, images).logits
        if logits is None:
            raise UserError(f"features: {self.name!r} has no classes; take a classifier or 'inception'")
        return logits

    def without_logits(self) -> "Extractor":
        """The same for who asks of no classes: they are not computed, where `apply` is compiled, and not kept."""
        return replace(self, apply=lambda variables, images: Outputs(self.apply(variables, images).features), classes=0)


def check_choice(field: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raises UserError unless the value of what the caller knows as `field` is one of those allowed."""
    if value not in allowed:
        raise UserError(f"{field}: {value!r} is not one of {', '.join(map(str, allowed))}")


def check_pixels(images: Shaped[ArrayLike, "n h w c"]) -> Shaped[Array, "n h w c"]:
    """The images themselves, if they are uint8; features are of what would be stored, after quantisation."""
    images = jnp.asarray(images)
    if images.dtype != jnp.uint8:
        raise UserError(f"images: {images.dtype} pixels; features are taken after quantisation to uint8")
    return images


def check_channels(shape: tuple[int, int, int]) -> dict[str, str]:
    """What the protocol says of images [h, w, c]. Raises UserError unless they are grey or RGB."""
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise UserError(f"images: {shape}; this network sees height, width and 1 or 3 channels")
    return {"grey": "three equal channels"} if shape[-1] == 1 else {}


def to_rgb(x: Float32[Array, "n h w c"]) -> Float32[Array, "n h w 3"]:
    """Grey images as three equal channels; colour images as they are."""
    return jnp.broadcast_to(x, (*x.shape[:3], 3))
