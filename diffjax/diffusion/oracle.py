"""Exact denoisers: the predictions of a perfect network for data of known distribution.

Tests of samplers and likelihoods use them, so that every error measured is the algorithm's and none the network's.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffjax.diffusion.denoiser import Denoiser, Prediction
from diffjax.diffusion.process import Batch, Process, Time
from diffjax.errors import UserError


@dataclass(frozen=True)
class GaussianMixture:
    """sum_k w_k N(mean_k, std_k^2 I)."""

    means: Float[Array, "k d"]
    stds: Float[Array, "k"]
    weights: Float[Array, "k"]  # they add up to 1

    def __post_init__(self):
        if abs(float(jnp.sum(self.weights)) - 1) > 1e-5:
            raise UserError(
                f"oracle: the weights of a mixture must add up to 1, not to {float(jnp.sum(self.weights)):.4g}"
            )

    def sample(self, key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
        """Draws `n` samples."""
        key_component, key_noise = jax.random.split(key)
        component = jax.random.choice(key_component, len(self.weights), (n,), p=self.weights)
        return self.means[component] + self.stds[component, None] * jax.random.normal(
            key_noise, (n, self.means.shape[1])
        )

    def log_prob(self, x: Float[Array, "b d"]) -> Float[Array, "b"]:
        """The log-density, in nats."""
        return jax.nn.logsumexp(self._log_joint(x, jnp.ones(()), jnp.zeros(())), axis=-1)

    def log_prob_at(self, x_t: Float[Array, "b d"], t: Time, process: Process) -> Float[Array, "b"]:
        """The log-density of x_t in nats: a mixture of N(alpha mean_k, alpha^2 std_k^2 + sigma^2)."""
        return jax.nn.logsumexp(self._log_joint(x_t, process.alpha(t), process.sigma(t)), axis=-1)

    def log_class(self, x_t: Float[Array, "b d"], t: Time, process: Process) -> Float[Array, "b k"]:
        """log p(k | x_t) with the components as classes: the exact classifier of noisy examples."""
        return jax.nn.log_softmax(self._log_joint(x_t, process.alpha(t), process.sigma(t)), axis=-1)

    def denoiser(self, process: Process) -> Denoiser:
        """E[x0 | x_t, k] for a label k; E[x0 | x_t] for no label, or one beyond the last component."""

        def predict(x_t: Batch, t: Time, label: Array | None = None) -> Prediction:
            alpha, sigma = (jnp.broadcast_to(f(t), len(x_t)) for f in (process.alpha, process.sigma))
            probs = jax.nn.softmax(self._log_joint(x_t, alpha, sigma), axis=-1)
            if label is not None:
                onehot = jax.nn.one_hot(label, len(self.weights), dtype=x_t.dtype)
                probs = jnp.where((label >= len(self.weights))[:, None], probs, onehot)
            # E[x0 | x_t, k] = mean_k + gain_k (x_t - alpha mean_k)
            alpha = alpha[:, None]
            gain = alpha * self.stds**2 / (alpha**2 * self.stds**2 + sigma[:, None] ** 2)
            means = self.means + gain[..., None] * (x_t[:, None] - alpha[..., None] * self.means)
            return Prediction(jnp.sum(probs[..., None] * means, axis=1))

        return Denoiser(predict)

    def _log_joint(self, x: Float[Array, "b d"], alpha: Time, sigma: Time) -> Float[Array, "b k"]:
        """log w_k + log N(x; alpha mean_k, alpha^2 std_k^2 + sigma^2)."""
        alpha, sigma = (jnp.broadcast_to(a, len(x))[:, None] for a in (alpha, sigma))
        variance = alpha**2 * self.stds**2 + sigma**2
        sq_distance = jnp.sum((x[:, None] - alpha[..., None] * self.means) ** 2, axis=-1)
        log_pdf = -0.5 * sq_distance / variance - 0.5 * x.shape[1] * jnp.log(2 * jnp.pi * variance)
        return jnp.log(self.weights) + log_pdf


def finite(points: Float[Array, "n ..."], process: Process) -> Denoiser:
    """E[x0 | x_t] for data that are `points`, equally likely: a softmax of squared distances. Singular at sigma = 0.

    This is what a network that has memorised its training set predicts (Karras et al. 2022, eq. 57).
    """
    flat = points.reshape(len(points), -1)

    def predict(x_t: Batch, t: Time, label: Array | None = None) -> Prediction:
        alpha, sigma = (jnp.broadcast_to(f(t), len(x_t))[:, None] for f in (process.alpha, process.sigma))
        x = x_t.reshape(len(x_t), -1)
        sq_distance = jnp.sum((x[:, None] - alpha[..., None] * flat) ** 2, axis=-1)
        probs = jax.nn.softmax(-0.5 * sq_distance / sigma**2, axis=-1)
        return Prediction((probs @ flat).reshape(x_t.shape))

    return Denoiser(predict)
