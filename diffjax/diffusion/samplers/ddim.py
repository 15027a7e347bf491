"""DDIM: the deterministic sampler, and the family between it and the ancestral one."""

from dataclasses import dataclass

import jax.numpy as jnp

from diffjax.diffusion.denoiser import normal
from diffjax.diffusion.process import along
from diffjax.diffusion.samplers.sampler import Sampler, Step


@dataclass(frozen=True, kw_only=True)
class DDIM(Sampler):
    """Song et al. 2020, eq. 12: x_s = alpha_s x0 + sqrt(sigma_s^2 - n^2) eps + n noise, n = eta * posterior std.

    eta = 0 is Euler's method on the probability-flow ODE in sigma / alpha, eta = 1 the ancestral sampler. First order.
    """

    steps: int = 50
    eta: float = 0.0  # share of the posterior's standard deviation that is fresh noise

    def step(self, process, denoise, x_t, t, s, key):
        x0_hat = denoise(x_t, t).x0
        eps = process.eps(x0_hat, x_t, t)
        _, variance = process.posterior(x0_hat, x_t, s, t)
        fresh = self.eta**2 * variance
        kept = jnp.sqrt(jnp.maximum(process.sigma(s) ** 2 - fresh, 0.0))
        x_s = along(process.alpha(s), x_t) * x0_hat + along(kept, x_t) * eps
        if self.eta:
            x_s += along(jnp.sqrt(fresh), x_t) * normal(key, x_t)
        return Step(x_s, x0_hat, denoise.calls)
