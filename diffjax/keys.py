"""The random keys of a run: one for each role, so that roles never share random numbers."""

import enum

import jax
from jaxtyping import Array, Key

from diffjax.errors import UserError

SEEDS = 2**32  # a larger seed would be the same as one below, silently


@enum.unique
class Role(enum.IntEnum):
    """Uses of randomness. Never renumber them: earlier results must be reproducible."""

    INIT = 0
    STEP = 1
    DRAW = 2  # samples
    MEASURE = 3  # estimates of densities


def key_of(seed: int, role: Role) -> Key[Array, ""]:
    """The key of a role under a seed. Raises UserError unless 0 <= seed < 2^32."""
    if not 0 <= seed < SEEDS:
        raise UserError(f"`seed`: {seed} must be from 0 to {SEEDS - 1}")
    return jax.random.fold_in(jax.random.key(seed), role)
