"""What every sampler has in common: its settings, its walk along the time grid, and the count of network calls."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from diffjax.diffusion import grid, guidance
from diffjax.diffusion.denoiser import Denoiser, fold_in
from diffjax.diffusion.process import Batch, Process, Time
from diffjax.errors import UserError


class Samples(NamedTuple):
    """x0 [b, ...]; `nfe`, the network calls each sample cost; on request x_t and E[x0 | x_t] along it, [n, b, ...]."""

    x0: Batch
    nfe: Int[Array, ""]
    x_t: Array | None = None
    x0_hat: Array | None = None


class Step(NamedTuple):
    """Where one step went: x_s, the E[x0 | x_t] it went by, and the network calls it made."""

    x_s: Batch
    x0_hat: Batch
    calls: Int[Array, ""] | int


@dataclass(frozen=True, kw_only=True)
class Sampler(abc.ABC):
    """Settings that all share. A sampler is its `step` from x_t to x_s, 0 <= s < t; the walk is one `lax.scan`."""

    steps: int = 50  # intervals of the time grid; the network calls of a first-order sampler
    grid: Callable[[Process, int], Array] = grid.linear
    guidance: Callable[[Denoiser, int], Denoiser] = guidance.none
    clip: bool = False  # hold every estimate of x0 to [-1, 1]; for images

    def __post_init__(self):
        if self.steps < 1:
            raise UserError(f"sampler.steps: {self.steps} is not a number of steps; at least 1")

    @abc.abstractmethod
    def step(self, process: Process, denoise: Denoiser, x_t: Batch, t: Time, s: Time, key: Key[Array, "..."]) -> Step:
        """One interval of the grid. `t` and `s` are scalars; `key` is one key, or one per example."""

    def __call__(
        self,
        process: Process,
        denoise: Denoiser,
        x: Batch,
        times: Float[Array, "n_plus_1"],
        key: Key[Array, "..."],
        trajectory: bool = False,
    ) -> Samples:
        """From x [b, ...] at times[0] to times[-1], the last of which is usually 0."""

        def body(carry, interval):
            x_t, nfe = carry
            t, s, index = interval
            x_s, x0_hat, calls = self.step(process, denoise, x_t, t, s, fold_in(key, index))
            return (x_s, nfe + calls), (x_t, x0_hat) if trajectory else (None, None)

        intervals = (times[:-1], times[1:], jnp.arange(len(times) - 1))
        (x0, nfe), (x_t, x0_hat) = lax.scan(body, (x, jnp.int32(0)), intervals)
        return Samples(x0, nfe, x_t, x0_hat)
