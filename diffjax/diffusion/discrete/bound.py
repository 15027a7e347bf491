"""The variational bound of a model of categories, term by term, and the K of Sohl-Dickstein et al. 2015."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key

from diffjax.diffusion.discrete.process import DiscreteProcess, Probabilities, States
from diffjax.diffusion.noise import fold_in, split
from diffjax.diffusion.process import Time, sum_dims

Denoise = Callable[[States, Time], Probabilities]  # (x_t, t) -> p(x0 | x_t), [b, ..., values]


class Bound(NamedTuple):
    """The terms of -log p(x0) <= prior + steps + decoder, nats per example [b] (Austin et al. 2021, eq. 1).

    prior: KL(q(x_t | x0) | noise) at t = 1. decoder: -E log p(x0 | x_t) at t = 1/T.
    steps: the sum over t = 2/T, 3/T .. 1 of E KL(q(x_s | x_t, x0) | p(x_s | x_t)) with s = t - 1/T.
    """

    prior: Float[Array, "b"]
    steps: Float[Array, "b"]
    decoder: Float[Array, "b"]

    @property
    def total(self) -> Array | np.ndarray:
        return self.prior + self.steps + self.decoder


def divergence(q: Probabilities, p: Probabilities) -> Float[Array, "b"]:
    """KL(q | p) in nats, summed over an example's entries.

    Computed as sum_j q_j (d_j - log(1 + d_j)) with d = p/q - 1. No term is negative, so that nothing cancels: it is
    accurate for the nearly equal distributions of a short step, also in float32. Where q_j = 0 the term is p_j.
    """
    is_possible = q > 0
    safe_q = jnp.where(is_possible, q, 1)
    d = jnp.where(is_possible, (p - q) / safe_q, 0)
    is_near = jnp.abs(d) < 0.5  # elsewhere d rounds, to -1 where p is small, but log p itself is accurate
    log_ratio = jnp.where(
        is_near, jnp.log1p(jnp.where(is_near, d, 0)), jnp.log(jnp.where(is_near, 1, p)) - jnp.log(safe_q)
    )
    terms = jnp.where(is_possible, q * (d - log_ratio), p)
    return sum_dims(terms)


def step_divergence(
    process: DiscreteProcess, x0_hat: Probabilities, x0: States, x_t: States, t: Time
) -> Float[Array, "b"]:
    """KL(q(x_s | x_t, x0) | p(x_s | x_t)) for s = t - 1/T, nats per example [b]; -log p(x0 | x_t) at t = 1/T."""
    onehot_0 = jax.nn.one_hot(x0, process.values, dtype=x0_hat.dtype)
    s = t - 1 / process.steps
    return divergence(process.posterior(onehot_0, x_t, s, t), process.posterior(x0_hat, x_t, s, t))


def bound(process: DiscreteProcess, denoise: Denoise, x0: States, keys: Key[Array, "b"], draws: int) -> Bound:
    """An unbiased estimate of each term, with every divergence in closed form: `draws` + 1 calls of `denoise`.

    The sum over steps 2 .. T is T - 1 times a mean over `draws` steps, one from each of `draws` equal strata. With the
    exact p(x0 | x_t) of each entry, the bound exceeds -log p(x0) only because a reverse step draws the entries
    independently of each other; the gap vanishes as T grows.
    """
    later_steps = process.steps - 1

    def term_at(n, key):
        t = jnp.broadcast_to(n / process.steps, len(x0))
        x_t = process.corrupt(x0, t, key)
        return step_divergence(process, denoise(x_t, t), x0, x_t, t)

    def stratum(total, i):
        key_n, key_x = split(fold_in(keys, i))
        u = (i + jax.vmap(jax.random.uniform)(key_n)) / draws  # in [0, 1)
        return total + term_at(2 + jnp.minimum(jnp.floor(u * later_steps), later_steps - 1), key_x), None

    zero = jnp.zeros(len(x0), jnp.result_type(float))
    total, _ = lax.scan(stratum, zero, jnp.arange(draws)) if later_steps else (zero, None)
    q_T = process.marginal(x0, jnp.ones(len(x0)))
    prior = divergence(q_T, jnp.broadcast_to(jnp.asarray(process.noise, q_T.dtype), q_T.shape))
    return Bound(prior, total * (later_steps / draws), term_at(1, fold_in(keys, draws)))


def edge_entropy(process: DiscreteProcess, entries: int) -> float:
    """H_q(X_1 | X_0) + H_p(X_T) - H_q(X_T | X_0) in nats: the K of 2015, eq. 14, is -(steps + edge_entropy).

    To avoid edge effects, the paper (appendix B.2) sets p(x0 | x_1) to the forward kernel of the first step. This costs
    the entropy of the first step, 0.067 bits for heartbeat (20 bits, T = 2000): there K cannot exceed -2.389 bits,
    although log p is -2.322 bits. (Published: -2.414.) Raises ValueError for a mask, whose kernel cannot be inverted.
    """
    if process.absorbing:
        raise ValueError("the forward kernel of an absorbing chain cannot serve as p(x0 | x_1); K is not defined")
    q_1, q_T = (process.marginal(jnp.zeros((1, 1), jnp.int32), jnp.ones(1) * t) for t in (1 / process.steps, 1.0))
    return entries * float(entropy(q_1) + np.log(process.values) - entropy(q_T))


def entropy(p) -> float:
    """-sum p log p of one distribution, in nats and in float64."""
    p = np.asarray(p, np.float64)
    return -float(np.sum(p * np.log(np.where(p > 0, p, 1))))
