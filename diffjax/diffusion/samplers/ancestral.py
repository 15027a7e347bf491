"""The ancestral sampler: each step draws from the posterior q(x_s | x_t, x0_hat)."""

from dataclasses import dataclass

import jax.numpy as jnp

from diffjax.diffusion.noise import normal
from diffjax.diffusion.process import along
from diffjax.diffusion.samplers.sampler import Sampler, Step
from diffjax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
    """Ho et al. 2020, algorithm 2, for any s < t: x_s = posterior mean + std noise, without noise at sigma_s = 0.

    First order.
    """

    steps: int = 1000
    variance: str = "small"  # that of the posterior (beta~); "large": that of q(x_t | x_s) (beta); or "learned"

    def __post_init__(self):
        super().__post_init__()
        if self.variance not in ("small", "large", "learned"):
            raise UserError(f"sampler.variance: {self.variance!r} must be 'small', 'large' or 'learned'")

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        prediction = denoise(x_t, t)
        mean, small = process.posterior(prediction.x0, x_t, s, t)
        if self.variance == "learned":
            if prediction.log_var is None:
                raise UserError(
                    "sampler.variance: 'learned' needs a denoiser with a learned variance; use 'small' or 'large'"
                )
            variance = jnp.exp(prediction.log_var(s))
        else:
            variance = small if self.variance == "small" else process.transition(s, t)[1]
        variance = jnp.where(process.sigma(s) > 0, variance, 0.0)
        return Step(mean + along(jnp.sqrt(variance), x_t) * normal(key, x_t), prediction.x0, denoise.cost(t))
