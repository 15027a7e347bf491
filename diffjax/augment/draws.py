"""The random numbers of an image's augmentation, drawn from its key: whether each transformation happens, and how."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key

VALUES = 3  # the most numbers that any transformation needs


@dataclass(frozen=True)
class Draws:
    """Named random numbers, in float32 whatever the image's dtype, so that a key means the same in all of them.

    Each draw is 0, which means "no change", unless a coin with the given probability comes up heads (above 1 counts as
    1). Each name owns a fixed row of numbers: not using one does not change the others.
    """

    names: tuple[str, ...]
    numbers: Float[Array, "names values"]  # uniform in [0, 1); the coin comes first

    @staticmethod
    def of(key: Key[Array, ""], names: tuple[str, ...]) -> "Draws":
        return Draws(names, jax.random.uniform(key, (len(names), 1 + VALUES), jnp.float32))

    def coin(self, name: str, probability: ArrayLike) -> Bool[Array, ""]:
        return self.numbers[self.names.index(name), 0] < probability

    def values(self, name: str) -> Float[Array, "values"]:
        """The numbers themselves, uniform in [0, 1), whatever the coin shows."""
        return self.numbers[self.names.index(name), 1:]

    def uniform(self, name: str, probability: ArrayLike) -> Float[Array, "values"]:
        """Uniform in [-1, 1)."""
        return jnp.where(self.coin(name, probability), 2 * self.values(name) - 1, 0)

    def normal(self, name: str, probability: ArrayLike) -> Float[Array, "values"]:
        """Standard normal."""
        u = jnp.maximum(2 * self.values(name) - 1, np.nextafter(np.float32(-1), np.float32(0)))
        return jnp.where(self.coin(name, probability), np.float32(2**0.5) * jax.scipy.special.erfinv(u), 0)

    def integer(self, name: str, probability: ArrayLike, below: int) -> Int[Array, ""]:
        """Uniform in 0 .. below - 1. Heads can still draw 0: with probability 1, half of all images are x-flipped."""
        return jnp.where(self.coin(name, probability), integer(self.values(name)[0], 0, below), 0)


def integer(unit: Float[Array, ""], first: int, below: int) -> Int[Array, ""]:
    """Maps a number uniform in [0, 1) to an integer uniform in first .. below - 1."""
    return first + jnp.floor(unit * (below - first)).astype(jnp.int32)


def happens(*drawn: Array) -> Bool[Array, ""]:
    """Whether any of the drawn numbers is non-zero."""
    return jnp.any(jnp.stack([number != 0 for number in drawn]))
