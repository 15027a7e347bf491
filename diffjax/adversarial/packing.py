"""PacGAN's packing (Lin et al. 2018, section 2): the discriminator judges m examples jointly, against mode collapse."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def pack(x: Float[Array, "b ..."], m: int) -> Float[Array, "p ..."]:
    """Concatenates m neighbours in the batch along their channels: [b, .., c] -> [b / m, .., m c]."""
    if m == 1:
        return x
    x = x.reshape(-1, m, *x.shape[1:])
    return jnp.moveaxis(x, 1, -2).reshape(len(x), *x.shape[2:-1], m * x.shape[-1])


def unpack(x: Float[Array, "p ..."], m: int) -> Float[Array, "b ..."]:
    """The inverse of `pack`."""
    if m == 1:
        return x
    x = x.reshape(*x.shape[:-1], m, x.shape[-1] // m)
    return jnp.moveaxis(x, -2, 1).reshape(-1, *x.shape[1:-2], x.shape[-1])
