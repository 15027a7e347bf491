"""Colour transformations: an affine map that treats luma and chroma separately. One image at a time."""

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
    """Brightness, contrast, luma flip, hue rotation and saturation, in that order (Karras et al. 2020, appendix B).

    With luma the mean of a pixel's channels (the component along (1, 1, 1)), chroma the rest, and R the rotation by
    `hue` radians about (1, 1, 1):

        luma -> (-1)^luma_flip contrast (luma + brightness),    chroma -> contrast saturation R chroma.

    [h, w, 3] -> [h, w, 3]. An image of one channel has luma only: hue and saturation do nothing to it. Raises UserError
    for any other number of channels.
    """
    if x.shape[-1] not in (1, 3):
        raise UserError(
            f"method.augment: colour transformations need 1 or 3 channels, not {x.shape[-1]}; set their shares to 0"
        )
    luma = x.mean(-1, keepdims=True)
    chroma = x - luma
    cross = (jnp.roll(chroma, 1, -1) - jnp.roll(chroma, -1, -1)) / jnp.sqrt(3.0)  # axis x chroma
    rotated_chroma = jnp.cos(hue) * chroma + jnp.sin(hue) * cross
    colour = jnp.where(jnp.asarray(luma_flip) == 1, -1, 1) * (luma + brightness) + saturation * rotated_chroma
    return (contrast * colour).astype(x.dtype)
