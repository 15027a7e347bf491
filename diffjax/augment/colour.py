"""Colours moved by an affine map that treats grey and colourfulness apart. One image at a time."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from diffjax.augment.warp import Image
from diffjax.errors import UserError


def recolour(
    x: Image,
    brightness: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    luma_flip: ArrayLike = 0,
    hue: ArrayLike = 0.0,
    saturation: ArrayLike = 1.0,
) -> Image:
    """Karras et al. 2020, appendix B, in that order: + brightness, x contrast, luma flip, hue rotation, saturation.

    With luma the mean of a pixel's channels (the component along (1, 1, 1)), chroma the rest, and R the rotation by
    `hue` radians about (1, 1, 1):

        luma -> (-1)^luma_flip contrast (luma + brightness),    chroma -> contrast saturation R chroma.

    [h, w, 3] -> [h, w, 3]. An image of one channel is all luma: hue and saturation do nothing. UserError if the image
    has any other number of channels.
    """
    if x.shape[-1] not in (1, 3):
        raise UserError(f"augment: colours of {x.shape[-1]} channels are not defined; 1 or 3, or set their shares to 0")
    luma = x.mean(-1, keepdims=True)
    chroma = x - luma
    across = (jnp.roll(chroma, 1, -1) - jnp.roll(chroma, -1, -1)) / jnp.sqrt(3.0)  # the axis times chroma, as vectors
    turned = jnp.cos(hue) * chroma + jnp.sin(hue) * across
    moved = jnp.where(jnp.asarray(luma_flip) == 1, -1, 1) * (luma + brightness) + saturation * turned
    return (contrast * moved).astype(x.dtype)
