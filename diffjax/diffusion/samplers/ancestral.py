"""The ancestral sampler: each step draws from the posterior q(x_s | x_t, x0_hat)."""

from dataclasses import dataclass

import jax.numpy as jnp

from diffjax.diffusion.denoiser import normal
from diffjax.diffusion.process import along
from diffjax.diffusion.samplers.sampler import Sampler, Step
from diffjax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
    """Ho et al. 2020, algorithm 2, for any s < t: x_s = posterior mean + std * noise. First order; none at s = 0."""

    steps: int = 1000
    variance: str = "small"  # "small": the posterior's own (beta~); "large": that of q(x_t | x_s) (beta)

    def __post_init__(self):
        super().__post_init__()
        if self.variance not in ("small", "large"):
            raise UserError(f"sampler.variance: {self.variance!r} is unknown; it is 'small' or 'large'")

    def step(self, process, denoise, x_t, t, s, key):
        x0_hat = denoise(x_t, t).x0
        mean, small = process.posterior(x0_hat, x_t, s, t)
        _, large = process.transition(s, t)
        variance = jnp.where(process.sigma(s) > 0, small if self.variance == "small" else large, 0.0)
        return Step(mean + along(jnp.sqrt(variance), x_t) * normal(key, x_t), x0_hat, denoise.calls)
