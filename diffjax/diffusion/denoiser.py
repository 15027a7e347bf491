"""What samplers, guidance, likelihood and editing see of a model: a denoiser; and the loss that trains one."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffjax.diffusion.process import Batch, Process, Time
from diffjax.diffusion.target import Target
from diffjax.diffusion.times import Times


class Prediction(NamedTuple):
    """A denoiser's answer: x0 = E[x0 | x_t], and the log-variance of the reverse step where the model learned one."""

    x0: Batch
    log_var: Batch | None = None


class Denoiser(NamedTuple):
    """`denoise(x_t [b, ...], t [b] or [], label [b] or None) -> Prediction`, and the network calls one use costs."""

    predict: Callable[..., Prediction]
    calls: int = 1

    def __call__(self, x_t: Batch, t: Time, label: Array | None = None) -> Prediction:
        return self.predict(x_t, t, label)

    def given(self, label: Array | None) -> "Denoiser":
        """The same denoiser with its label [b] fixed: what a sampler is handed."""
        return self._replace(predict=lambda x_t, t, _: self.predict(x_t, t, label))


def denoising_loss(process: Process, target: Target, weighting: Callable[[Time], Time], times: Times):
    """E_t w(log_snr) |x0_hat(x_t, t) - x0|^2, a mean over an example's dimensions (Kingma & Gao 2023, eq. 5).

    Returns `loss(predict, x0 [b, ...], keys [b]) -> [b]`: `predict(input [b, ...], t [b])` is the network's output, and
    each example draws its t and eps from its own key.
    """

    def loss(predict: Callable[[Batch, Time], Batch], x0: Batch, keys: Key[Array, "b"]) -> Float[Array, "b"]:
        key_t, key_eps = jax.vmap(jax.random.split, out_axes=1)(keys)
        t = times.sample(key_t, process)
        eps = normal(key_eps, x0)
        x_t = process.corrupt(x0, eps, t)
        error = predict(target.input(x_t, t, process), t) - target.of(x0, eps, t, process)
        weight = weighting(process.log_snr(t)) * target.gain(t, process) ** 2
        return weight * jnp.mean(error**2, axis=tuple(range(1, error.ndim)))

    return loss


def normal(key: Key[Array, "..."], like: Batch) -> Batch:
    """Standard normal noise shaped like `like` [b, ...], from one key for all [] or from one for each example [b]."""
    if key.ndim == 0:
        return jax.random.normal(key, like.shape, like.dtype)
    return jax.vmap(lambda key: jax.random.normal(key, like.shape[1:], like.dtype))(key)


def fold_in(key: Key[Array, "..."], data: Array | int) -> Key[Array, "..."]:
    """`jax.random.fold_in` of one number into one key, or into each of several."""
    return jax.random.fold_in(key, data) if key.ndim == 0 else jax.vmap(lambda key: jax.random.fold_in(key, data))(key)
