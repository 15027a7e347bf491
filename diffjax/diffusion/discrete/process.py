"""A chain that replaces categories by noise: marginals, posteriors and draws between any two of its times."""

from dataclasses import dataclass, field
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from diffjax.diffusion.process import Time, along

States = Int[Array, "b ..."]  # 0 .. values - 1; `values` is the mask, where there is one
Probabilities = Float[Array, "b ... _"]  # of each value, or each state, of each entry: the last axis sums to 1


@dataclass(frozen=True)
class DiscreteProcess:
    """The chain with these betas, beta_1 .. beta_T, over `values` categories; t is rounded to 0, 1/T, 2/T .. 1."""

    values: int
    betas: tuple[float, ...] = field(repr=False)
    absorbing: bool = False  # noise is a further value, the mask; otherwise all values are equally likely

    @property
    def steps(self) -> int:
        return len(self.betas)

    @property
    def states(self) -> int:
        """How many values x_t can take: one more than x0 where there is a mask."""
        return self.values + self.absorbing

    @property
    def noise(self) -> np.ndarray:
        """[states] the distribution of x_T, and of every entry that is not kept."""
        return np.eye(self.states)[-1] if self.absorbing else np.full(self.values, 1 / self.values)

    @cached_property
    def _kept(self) -> np.ndarray:
        """prod_{i <= n} (1 - beta_i) for n = 0 .. T, in float64."""
        return np.concatenate([[1.0], np.cumprod(1 - np.asarray(self.betas, np.float64))])

    def keep(self, t: Time) -> Time:
        """The probability that an entry was kept from time 0 to t (alpha-bar): 1 at t = 0, 0 or nearly so at t = 1."""
        index = jnp.clip(jnp.round(t * self.steps), 0, self.steps).astype(jnp.int32)
        return jnp.asarray(self._kept, jnp.result_type(float))[index]

    def marginal(self, x0: States, t: Time) -> Probabilities:
        """q(x_t | x0): [b, ..., states] (Austin et al. 2021, eq. 3)."""
        here = jax.nn.one_hot(x0, self.states, dtype=jnp.result_type(float))
        keep = along(self.keep(t), here)
        return keep * here + (1 - keep) * self.noise

    def corrupt(self, x0: States, t: Time, key: Key[Array, "..."]) -> States:
        """x_t ~ q(x_t | x0), from one key, or from one for each example."""
        return draw(key, self.marginal(x0, t))

    def posterior(self, x0: Probabilities, x_t: States, s: Time, t: Time) -> Probabilities:
        """sum_k q(x_s | x_t, x0 = k) p(x0 = k) for any s < t: [b, ..., states]; exact for an x0 that is one-hot.

        q(x_s | x_t, x0) = q(x_t | x_s) q(x_s | x0) / q(x_t | x0). What noise cannot have made is taken for x0 itself,
        whatever `x0` [b, ..., values] says: a value that is not the mask.
        """
        here = jax.nn.one_hot(x_t, self.states, dtype=x0.dtype)
        noise = jnp.asarray(self.noise, x0.dtype)
        kept_s, kept_t = along(self.keep(s), x0), along(self.keep(t), x0)
        made = noise[x_t][..., None]  # how likely noise makes x_t
        likelihood = kept_t * here[..., : self.values] + (1 - kept_t) * made  # q(x_t | x0), of each x0
        x0 = jnp.where((1 - kept_t) * made > 0, x0, here[..., : self.values])
        weight = x0 / jnp.where(likelihood > 0, likelihood, 1)
        whole = jnp.sum(weight, axis=-1, keepdims=True)
        weight = jnp.pad(weight, [(0, 0)] * (weight.ndim - 1) + [(0, self.states - self.values)])
        from_s = (kept_t * here + (kept_s - kept_t) * made) / kept_s  # q(x_t | x_s), of each x_s
        return from_s * (kept_s * weight + (1 - kept_s) * noise * whole)


def draw(key: Key[Array, "..."], probabilities: Probabilities) -> States:
    """One draw of every entry, [b, ..., k] -> [b, ...], from one key, or from one for each example."""
    logits = jnp.log(probabilities)
    return jax.random.categorical(key, logits) if key.ndim == 0 else jax.vmap(jax.random.categorical)(key, logits)
