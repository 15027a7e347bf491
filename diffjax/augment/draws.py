"""What one image's key decides: whether each transformation happens to it, and by how much."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key

VALUES = 3  # a transformation is described by at most so many numbers


@dataclass(frozen=True)
class Draws:
    """Random numbers by name, in float32 whatever the image's format, so that a key means the same in each.

    Each is 0, which means "not at all", unless a coin falls on heads with the given probability (above 1 counts as 1).
    Each name has its place among the numbers: leaving one unused does not touch the others.
    """

    names: tuple[str, ...]
    numbers: Float[Array, "names values"]  # uniform in [0, 1); first the coin

    @staticmethod
    def of(key: Key[Array, ""], names: tuple[str, ...]) -> "Draws":
        return Draws(names, jax.random.uniform(key, (len(names), 1 + VALUES), jnp.float32))

    def coin(self, name: str, probability: ArrayLike) -> Bool[Array, ""]:
        return self.numbers[self.names.index(name), 0] < probability

    def values(self, name: str) -> Float[Array, "values"]:
        """The numbers themselves, uniform in [0, 1), whatever the coin says."""
        return self.numbers[self.names.index(name), 1:]

    def uniform(self, name: str, probability: ArrayLike) -> Float[Array, "values"]:
        """Uniform in [-1, 1)."""
        return jnp.where(self.coin(name, probability), 2 * self.values(name) - 1, 0)

    def normal(self, name: str, probability: ArrayLike) -> Float[Array, "values"]:
        """Standard normal."""
        inside = jnp.maximum(2 * self.values(name) - 1, np.nextafter(np.float32(-1), np.float32(0)))
        return jnp.where(self.coin(name, probability), np.float32(2**0.5) * jax.scipy.special.erfinv(inside), 0)

    def integer(self, name: str, probability: ArrayLike, below: int) -> Int[Array, ""]:
        """Uniform in 0 .. below - 1: heads can still draw a 0, so of x-flips only half are seen."""
        return jnp.where(self.coin(name, probability), integer(self.values(name)[0], 0, below), 0)


def integer(unit: Float[Array, ""], first: int, below: int) -> Int[Array, ""]:
    """A number uniform in [0, 1) as an integer uniform in first .. below - 1."""
    return first + jnp.floor(unit * (below - first)).astype(jnp.int32)


def happens(*drawn: Array) -> Bool[Array, ""]:
    """Whether any of the drawn numbers is other than 0."""
    return jnp.any(jnp.stack([number != 0 for number in drawn]))
