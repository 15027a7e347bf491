"""Noise from one key for a batch, or from one key per example, so that no example depends on its neighbours."""

import jax
from jaxtyping import Array, Key

from diffjax.diffusion.process import Batch


def normal(key: Key[Array, "..."], like: Batch) -> Batch:
    """Standard normal noise of the shape of `like` [b, ...], from one key [] or from one key per example [b]."""
    if key.ndim == 0:
        return jax.random.normal(key, like.shape, like.dtype)
    return jax.vmap(lambda key: jax.random.normal(key, like.shape[1:], like.dtype))(key)


def split(keys: Key[Array, "b"], num: int = 2) -> Key[Array, "num b"]:
    """`jax.random.split` of each of several keys [b], as `num` arrays of one key per example."""
    return jax.vmap(lambda key: jax.random.split(key, num), out_axes=1)(keys)


def fold_in(key: Key[Array, "..."], data: Array | int) -> Key[Array, "..."]:
    """`jax.random.fold_in` of one number into a key [], or into each of several keys [b]."""
    return jax.random.fold_in(key, data) if key.ndim == 0 else jax.vmap(lambda key: jax.random.fold_in(key, data))(key)
