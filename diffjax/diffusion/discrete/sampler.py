"""The sampler of categories: the reverse chain, from noise to data."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Key

from diffjax.diffusion.discrete.bound import Denoise
from diffjax.diffusion.discrete.process import DiscreteProcess, draw
from diffjax.diffusion.noise import fold_in
from diffjax.diffusion.samplers.sampler import Samples
from diffjax.errors import UserError


@dataclass(frozen=True)
class DiscreteAncestral:
    """Draws x_s ~ p(x_s | x_t) from t = 1 down to 0, on evenly spaced steps of the chain. One network call per step."""

    steps: int = 1000  # at most those of the chain; the fewer, the more entries are drawn independently at once

    def __post_init__(self):
        if self.steps < 1:
            raise UserError(f"sampler.steps: {self.steps} must be at least 1")

    def check(self, process: DiscreteProcess) -> None:
        if self.steps > process.steps:
            raise UserError(f"sampler.steps: {self.steps} must be at most the {process.steps} steps of the kernel")

    def times(self, process: DiscreteProcess) -> np.ndarray:
        """1 = t_0 > t_1 > ... > t_N = 0, each a step of the chain."""
        return np.round(np.linspace(process.steps, 0, self.steps + 1)) / process.steps

    def __call__(
        self,
        process: DiscreteProcess,
        denoise: Denoise,
        shape: tuple[int, ...],
        keys: Key[Array, "b"],
        trajectory: bool = False,
    ) -> Samples:
        """Draws one x0 per key, int32 [b, *shape]; `trajectory` adds x_t and argmax p(x0 | x_t) of every step."""
        self.check(process)
        times = jnp.asarray(self.times(process), jnp.result_type(float))

        def body(x_t, interval):
            t, s, index = interval
            x0_hat = denoise(x_t, jnp.broadcast_to(t, len(x_t)))
            x_s = draw(fold_in(keys, index), process.posterior(x0_hat, x_t, s, t))
            return x_s, (x_t, jnp.argmax(x0_hat, axis=-1)) if trajectory else (None, None)

        noise = jnp.broadcast_to(jnp.asarray(process.noise, times.dtype), (len(keys), *shape, process.states))
        x_T = draw(fold_in(keys, self.steps), noise)
        x0, (x_t, x0_hat) = lax.scan(body, x_T, (times[:-1], times[1:], jnp.arange(self.steps)))
        return Samples(x0, jnp.full(len(x0), self.steps), x_t, x0_hat)
