"""What the randomness of a run is for: each role has a key of its own, and no two share a number."""

import enum

import jax
from jaxtyping import Array, Key


@enum.unique
class Role(enum.IntEnum):
    """Never renumbered: what was drawn once is drawn again."""

    INIT = 0
    STEP = 1
    DRAW = 2  # samples
    MEASURE = 3  # what a density is estimated with


def key_of(seed: int, role: Role) -> Key[Array, ""]:
    """The key of one role, under a seed."""
    return jax.random.fold_in(jax.random.key(seed), role)
