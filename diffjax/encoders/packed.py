"""What an encoder says of a text as one array, so that it travels as labels do: batch first, with nothing beside it.

Of n tokens of d numbers: [1 + n, d + 1]. The first row is of the whole text, the others of its tokens; the last column
is 1 in rows that are there, and rows that are not are zeros. The row of the whole always is.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


class Unpacked(NamedTuple):
    """Both parts, on the device: of the whole, and of the rows, the whole's first."""

    pooled: Float[Array, "b d"]
    rows: Float[Array, "b 1+n d"]
    there: Bool[Array, "b 1+n"]


def pack(
    tokens: Float[np.ndarray, "b n d"], pooled: Float[np.ndarray, "b d"], there: Bool[np.ndarray, "b n"]
) -> Float[np.ndarray, "b 1+n d+1"]:
    """Tokens, the wholes, and which tokens there are, as one float32 array."""
    b, n, d = tokens.shape
    packed = np.zeros((b, 1 + n, d + 1), np.float32)
    packed[:, 0, :d], packed[:, 0, d] = pooled, 1
    packed[:, 1:, :d], packed[:, 1:, d] = np.where(there[..., None], tokens, 0), there
    return packed


def unpack(packed: Float[Array, "b 1+n d+1"]) -> Unpacked:
    """The inverse, for networks."""
    rows = jnp.asarray(packed[..., :-1])
    return Unpacked(rows[:, 0], rows, packed[..., -1] > 0)
