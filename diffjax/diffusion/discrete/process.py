"""The forward process of categories: marginals, posteriors and draws between any two times."""

from dataclasses import dataclass, field
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from diffjax.diffusion.process import Time, along

States = Int[Array, "b ..."]  # 0 .. values - 1; the mask, if there is one, is `values`
Probabilities = Float[Array, "b ... _"]  # per entry, over values or states on the last axis, which sums to 1


@dataclass(frozen=True)
class DiscreteProcess:
    """A chain over `values` categories with betas beta_1 .. beta_T; t is rounded to 0, 1/T, 2/T .. 1."""

    values: int
    betas: tuple[float, ...] = field(repr=False)
    absorbing: bool = False  # noise is an extra value, the mask; otherwise it is uniform

    @property
    def steps(self) -> int:
        return len(self.betas)

    @property
    def states(self) -> int:
        """The number of values of x_t: one more than that of x0 if there is a mask."""
        return self.values + self.absorbing

    @property
    def noise(self) -> np.ndarray:
        """The distribution of x_T and of every entry that is not kept: [states]."""
        return np.eye(self.states)[-1] if self.absorbing else np.full(self.values, 1 / self.values)

    @cached_property
    def _kept(self) -> np.ndarray:
        """prod_{i <= n} (1 - beta_i) for n = 0 .. T, in float64."""
        return np.concatenate([[1.0], np.cumprod(1 - np.asarray(self.betas, np.float64))])

    def keep(self, t: Time) -> Time:
        """The probability that an entry is kept from time 0 to t (alpha-bar): 1 at t = 0, about 0 at t = 1."""
        index = jnp.clip(jnp.round(t * self.steps), 0, self.steps).astype(jnp.int32)
        return jnp.asarray(self._kept, jnp.result_type(float))[index]

    def marginal(self, x0: States, t: Time) -> Probabilities:
        """q(x_t | x0): [b, ..., states] (Austin et al. 2021, eq. 3)."""
        onehot_0 = jax.nn.one_hot(x0, self.states, dtype=jnp.result_type(float))
        keep = along(self.keep(t), onehot_0)
        return keep * onehot_0 + (1 - keep) * self.noise

    def corrupt(self, x0: States, t: Time, key: Key[Array, "..."]) -> States:
        """Draws x_t ~ q(x_t | x0) from one key [], or from one key per example [b]."""
        return draw(key, self.marginal(x0, t))

    def posterior(self, x0: Probabilities, x_t: States, s: Time, t: Time) -> Probabilities:
        """sum_k q(x_s | x_t, x0 = k) p(x0 = k) for any s < t: [b, ..., states]; the exact posterior for a one-hot x0.

        q(x_s | x_t, x0) = q(x_t | x_s) q(x_s | x0) / q(x_t | x0). An x_t that noise cannot produce, such as any value
        but the mask of an absorbing chain, must be x0 itself, whatever the prediction `x0` [b, ..., values].
        """
        onehot_t = jax.nn.one_hot(x_t, self.states, dtype=x0.dtype)
        noise = jnp.asarray(self.noise, x0.dtype)
        keep_s, keep_t = along(self.keep(s), x0), along(self.keep(t), x0)
        noise_prob = noise[x_t][..., None]  # noise(x_t)
        q_t_given_0 = keep_t * onehot_t[..., : self.values] + (1 - keep_t) * noise_prob  # for each x0
        x0 = jnp.where((1 - keep_t) * noise_prob > 0, x0, onehot_t[..., : self.values])
        ratio = x0 / jnp.where(q_t_given_0 > 0, q_t_given_0, 1)
        normaliser = jnp.sum(ratio, axis=-1, keepdims=True)
        ratio = jnp.pad(ratio, [(0, 0)] * (ratio.ndim - 1) + [(0, self.states - self.values)])
        q_t_given_s = (keep_t * onehot_t + (keep_s - keep_t) * noise_prob) / keep_s  # for each x_s
        return q_t_given_s * (keep_s * ratio + (1 - keep_s) * noise * normaliser)


def draw(key: Key[Array, "..."], probabilities: Probabilities) -> States:
    """Draws every entry, [b, ..., k] -> [b, ...], from one key [] or from one key per example [b]."""
    logits = jnp.log(probabilities)
    return jax.random.categorical(key, logits) if key.ndim == 0 else jax.vmap(jax.random.categorical)(key, logits)
