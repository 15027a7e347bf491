"""Denoisers: the interface through which samplers, guidance, likelihood and editing use a model."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from diffjax.diffusion.process import Batch, Time


class Prediction(NamedTuple):
    """x0 = E[x0 | x_t] and, where the model has one, the log-variance of p(x_s | x_t) as a function of s."""

    x0: Batch
    log_var: Callable[[Time], Array] | None = None  # s [] or [b] -> [b, ...], [b] or []


class Denoiser(NamedTuple):
    """`denoise(x_t [b, ...], t [b] or [], label [b, ...] or None) -> Prediction`, with its cost in network calls.

    A label is whatever conditions the model: a class [b], or a caption's bytes [b, n].
    """

    predict: Callable[..., Prediction]
    calls: int | Callable[[Time], Array] = 1  # the same at every t, or a function of t
    label: Array | None = None  # the default of a call without one

    def __call__(self, x_t: Batch, t: Time, label: Array | None = None) -> Prediction:
        return self.predict(x_t, t, self.label if label is None else label)

    def with_label(self, label: Array | None) -> "Denoiser":
        """The same denoiser with a default label [b], as samplers receive it."""
        return self._replace(label=label)

    def cost(self, t: Time) -> Int[Array, ""]:
        """The number of network calls that one evaluation at t costs."""
        return jnp.asarray(self.calls(t) if callable(self.calls) else self.calls, jnp.int32)
