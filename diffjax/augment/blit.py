"""Pixels moved whole: flips, quarter turns and shifts by whole pixels, exact to the bit. One image at a time."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from diffjax.augment.warp import Image, mirrored


def flip(x: Image, columns: ArrayLike = 0, rows: ArrayLike = 0) -> Image:
    """Left and right exchanged where `columns` is 1, top and bottom where `rows` is 1."""
    x = jnp.where(jnp.asarray(columns) == 1, x[:, ::-1], x)
    return jnp.where(jnp.asarray(rows) == 1, x[::-1], x)


def turn(x: Image, quarters: ArrayLike) -> Image:
    """Turned anticlockwise by 0 to 3 quarters. An image that is not square turns by twice that, so that it fits."""
    quarters = jnp.asarray(quarters)
    if x.shape[0] != x.shape[1]:
        return jnp.where(quarters % 2 == 1, x[::-1, ::-1], x)
    x = jnp.where(quarters % 2 == 1, jnp.swapaxes(x, 0, 1)[::-1], x)
    return jnp.where(quarters >= 2, x[::-1, ::-1], x)


def shift(x: Image, right: ArrayLike, down: ArrayLike) -> Image:
    """Shifted by whole pixels; what comes in at a border is mirrored."""
    h, w, _ = x.shape
    return x[mirrored(jnp.arange(h) - down, h)][:, mirrored(jnp.arange(w) - right, w)]
