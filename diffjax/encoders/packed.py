"""Packs the embedding of a text into one array, so that it can be handled as a label: batch first, no further arrays.

For n tokens of width d its shape is [1 + n, d + 1]. The first row is the pooled embedding, the others are those of
tokens. The last column is the mask: 1 in valid rows; padding rows are zero. The first row is always valid.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


class Unpacked(NamedTuple):
    """The parts of packed embeddings, on the device."""

    pooled: Float[Array, "b d"]
    rows: Float[Array, "b 1+n d"]  # pooled embedding, then tokens
    there: Bool[Array, "b 1+n"]  # mask of `rows`


def pack(
    tokens: Float[np.ndarray, "b n d"], pooled: Float[np.ndarray, "b d"], there: Bool[np.ndarray, "b n"]
) -> Float[np.ndarray, "b 1+n d+1"]:
    """Packs token embeddings, pooled embeddings and the mask of tokens into one float32 array."""
    b, n, d = tokens.shape
    packed = np.zeros((b, 1 + n, d + 1), np.float32)
    packed[:, 0, :d], packed[:, 0, d] = pooled, 1
    packed[:, 1:, :d], packed[:, 1:, d] = np.where(there[..., None], tokens, 0), there
    return packed


def unpack(packed: Float[Array, "b 1+n d+1"]) -> Unpacked:
    """The inverse of `pack`, for networks."""
    rows = jnp.asarray(packed[..., :-1])
    return Unpacked(rows[:, 0], rows, packed[..., -1] > 0)
