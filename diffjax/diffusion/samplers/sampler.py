"""The base of all samplers: shared settings, the scan along the time grid, and the count of network calls."""

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from diffjax.diffusion import grid, guidance
from diffjax.diffusion.denoiser import Denoiser
from diffjax.diffusion.noise import fold_in
from diffjax.diffusion.process import Batch, Process, Time
from diffjax.errors import UserError


class Samples(NamedTuple):
    """x0 [b, ...]; `nfe` [b], the network calls of each; and with `trajectory` x_t and E[x0 | x_t], [n, b, ...]."""

    x0: Batch
    nfe: Int[Array, "b"]
    x_t: Array | None = None
    x0_hat: Array | None = None


class Step(NamedTuple):
    """The result of one step: x_s, the E[x0 | x_t] used, the network calls (shared or per example) and the memory."""

    x_s: Batch
    x0_hat: Batch
    calls: Int[Array, ""] | Int[Array, "b"]
    memory: Any = ()


@dataclass(frozen=True, kw_only=True)
class Sampler(abc.ABC):
    """Settings shared by all samplers. A subclass defines `step` from x_t to x_s, 0 <= s < t, for one `lax.scan`."""

    steps: int = 50  # intervals of the time grid; equals the network calls of a first-order sampler
    grid: Callable[[Process, int], Array] = grid.linear
    guidance: Callable[[Denoiser, int, Process], Denoiser] = guidance.none
    clip: bool = False  # clip every estimate of x0 to [-1, 1], before a classifier guides it; for images

    def __post_init__(self):
        if self.steps < 1:
            raise UserError(f"sampler.steps: {self.steps} must be at least 1")

    def memory(self, x: Batch) -> Any:
        """The memory for the first step: a pytree of arrays, empty for single-step samplers."""
        return ()

    @abc.abstractmethod
    def step(
        self,
        process: Process,
        denoise: Denoiser,
        x_t: Batch,
        t: Time,
        s: Time,
        key: Key[Array, "..."],
        memory: Any = (),
    ) -> Step:
        """Steps from t to s, scalars, over one interval of the grid. `key` is one key [], or one per example [b]."""

    def __call__(
        self,
        process: Process,
        denoise: Denoiser,
        x: Batch,
        times: Float[Array, "n_plus_1"],
        key: Key[Array, "..."],
        trajectory: bool = False,
    ) -> Samples:
        """Runs from x [b, ...] at times[0] to times[-1], which is usually 0."""
        sampler = replace(self, steps=max(len(times) - 1, 1))  # as the grid may have another number

        def body(carry, interval):
            x_t, memory, nfe = carry
            t, s, index = interval
            out = sampler.step(process, denoise, x_t, t, s, fold_in(key, index), memory)
            return (out.x_s, out.memory, nfe + out.calls), (x_t, out.x0_hat) if trajectory else (None, None)

        intervals = (times[:-1], times[1:], jnp.arange(len(times) - 1))
        (x0, _, nfe), (x_t, x0_hat) = lax.scan(body, (x, sampler.memory(x), no_calls(x)), intervals)
        return Samples(x0, nfe, x_t, x0_hat)


def no_calls(x: Batch) -> Int[Array, "b"]:
    """The initial count of network calls: 0 for each example."""
    return jnp.zeros(len(x), jnp.int32)
