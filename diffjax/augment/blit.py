"""Whole-pixel transformations, exact to the bit: flips, quarter turns and integer shifts. One image at a time."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from diffjax.augment.warp import Image, mirrored


def flip(x: Image, columns: ArrayLike = 0, rows: ArrayLike = 0) -> Image:
    """Swaps left and right where `columns` is 1, top and bottom where `rows` is 1."""
    x = jnp.where(jnp.asarray(columns) == 1, x[:, ::-1], x)
    return jnp.where(jnp.asarray(rows) == 1, x[::-1], x)


def turn(x: Image, quarters: ArrayLike) -> Image:
    """Rotates anticlockwise by 0 to 3 quarter turns. A non-square image turns by twice that, to keep its shape."""
    quarters = jnp.asarray(quarters)
    if x.shape[0] != x.shape[1]:
        return jnp.where(quarters % 2 == 1, x[::-1, ::-1], x)
    x = jnp.where(quarters % 2 == 1, jnp.swapaxes(x, 0, 1)[::-1], x)
    return jnp.where(quarters >= 2, x[::-1, ::-1], x)


def shift(x: Image, right: ArrayLike, down: ArrayLike) -> Image:
    """Shifts by whole pixels, with mirrored borders."""
    h, w, _ = x.shape
    return x[mirrored(jnp.arange(h) - down, h)][:, mirrored(jnp.arange(w) - right, w)]
