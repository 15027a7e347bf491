"""What every sampler has in common: its settings, its walk along the time grid, and the count of network calls."""

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
    """x0 [b, ...]; `nfe` [b], the network calls each cost; on request x_t and E[x0 | x_t] along it, [n, b, ...]."""

    x0: Batch
    nfe: Int[Array, "b"]
    x_t: Array | None = None
    x0_hat: Array | None = None


class Step(NamedTuple):
    """Where one step went: x_s, the E[x0 | x_t] it went by, the network calls made, for all or each, and its memory."""

    x_s: Batch
    x0_hat: Batch
    calls: Int[Array, ""] | Int[Array, "b"]
    memory: Any = ()


@dataclass(frozen=True, kw_only=True)
class Sampler(abc.ABC):
    """Settings that all share. A sampler is its `step` from x_t to x_s, 0 <= s < t; the walk is one `lax.scan`."""

    steps: int = 50  # intervals of the time grid; the network calls of a first-order sampler
    grid: Callable[[Process, int], Array] = grid.linear
    guidance: Callable[[Denoiser, int, Process], Denoiser] = guidance.none
    clip: bool = False  # hold every estimate of x0 to [-1, 1]; for images

    def __post_init__(self):
        if self.steps < 1:
            raise UserError(f"sampler.steps: {self.steps} is not a number of steps; at least 1")

    def memory(self, x: Batch) -> Any:
        """What the first step is handed: a pytree of arrays, empty for samplers of one step."""
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

        walker = replace(self, steps=max(len(times) - 1, 1))  # whatever the grid it was given

        def body(carry, interval):
            x_t, memory, nfe = carry
            t, s, index = interval
            done = walker.step(process, denoise, x_t, t, s, fold_in(key, index), memory)
            return (done.x_s, done.memory, nfe + done.calls), (x_t, done.x0_hat) if trajectory else (None, None)

        intervals = (times[:-1], times[1:], jnp.arange(len(times) - 1))
        (x0, _, nfe), (x_t, x0_hat) = lax.scan(body, (x, walker.memory(x), no_calls(x)), intervals)
        return Samples(x0, nfe, x_t, x0_hat)


def no_calls(x: Batch) -> Int[Array, "b"]:
    """A count of network calls for each example, at its beginning."""
    return jnp.zeros(len(x), jnp.int32)


def not_negative(field: str, value: float, advice: str) -> None:
    """Raises UserError for a hyper-parameter below 0."""
    if value < 0:
        raise UserError(f"sampler.{field}: {value} is negative; {advice}")
