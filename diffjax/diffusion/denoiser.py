"""What samplers, guidance, likelihood and editing see of a model: a denoiser."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from diffjax.diffusion.process import Batch, Time


class Prediction(NamedTuple):
    """x0 = E[x0 | x_t], and where the model has one the log-variance of its reverse step p(x_s | x_t), asked by s."""

    x0: Batch
    log_var: Callable[[Time], Array] | None = None  # s [] or [b] -> [b, ...], [b] or []


class Denoiser(NamedTuple):
    """`denoise(x_t [b, ...], t [b] or [], label [b, ...] or None) -> Prediction`, and the network calls one use costs.

    A label is whatever the model is conditioned on: a class [b], or a caption's bytes [b, n].
    """

    predict: Callable[..., Prediction]
    calls: int | Callable[[Time], Array] = 1  # the same at every t, or a function of t
    label: Array | None = None  # asked for where a call names none

    def __call__(self, x_t: Batch, t: Time, label: Array | None = None) -> Prediction:
        return self.predict(x_t, t, self.label if label is None else label)

    def given(self, label: Array | None) -> "Denoiser":
        """The same denoiser with its label [b] fixed: what a sampler is handed."""
        return self._replace(label=label)

    def cost(self, t: Time) -> Int[Array, ""]:
        """The network calls that one use at t costs."""
        return jnp.asarray(self.calls(t) if callable(self.calls) else self.calls, jnp.int32)
