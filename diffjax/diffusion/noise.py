"""Noise by key: one key for a whole batch, or one for each example, so that none depends on its neighbours."""

import jax
from jaxtyping import Array, Key

from diffjax.diffusion.process import Batch


def normal(key: Key[Array, "..."], like: Batch) -> Batch:
    """Standard normal noise shaped like `like` [b, ...], from one key for all [] or from one for each example [b]."""
    if key.ndim == 0:
        return jax.random.normal(key, like.shape, like.dtype)
    return jax.vmap(lambda key: jax.random.normal(key, like.shape[1:], like.dtype))(key)


def fold_in(key: Key[Array, "..."], data: Array | int) -> Key[Array, "..."]:
    """`jax.random.fold_in` of one number into one key, or into each of several."""
    return jax.random.fold_in(key, data) if key.ndim == 0 else jax.vmap(lambda key: jax.random.fold_in(key, data))(key)
