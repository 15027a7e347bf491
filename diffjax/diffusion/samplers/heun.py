"""Heun's method on the probability-flow ODE: EDM's sampler, deterministic or with churn."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import lax

from diffjax.diffusion import grid
from diffjax.diffusion.fields import not_negative
from diffjax.diffusion.noise import normal
from diffjax.diffusion.process import along
from diffjax.diffusion.samplers.ddim_step import ddim_step, slope_weight
from diffjax.diffusion.samplers.sampler import Sampler, Step
from diffjax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Heun(Sampler):
    """Karras et al. 2022, algorithms 1 and 2, in y = x / alpha and its noise level l = sigma / alpha: dy/dl = eps.

    Second order, with two network calls per step. A step to sigma = 0 or from alpha = 0, where eps or l is undefined,
    is an Euler step with one call. Churn adds noise before each step, by the forward process, up to 1 + churn / steps
    times the noise level (and at most to t = 1), which corrects earlier errors. `steps` are those of the sampler's
    grid; within SDEdit, of its last part. Levels are sigma / alpha, in model units.
    """

    steps: int = 18
    grid: object = grid.karras
    churn: float = 0.0  # the paper's S_churn: 0 is deterministic; 40 for ImageNet-64
    churn_min: float = 0.0  # S_tmin: no churn below this level; 0.05 for ImageNet-64
    churn_max: float = 1e9  # S_tmax: no churn above this level; 50 for ImageNet-64
    churn_noise: float = 1.0  # S_noise: standard deviation of the added noise; 1.003 for ImageNet-64

    def __post_init__(self):
        super().__post_init__()
        not_negative("sampler.churn", self.churn, "0 is the deterministic sampler")
        not_negative("sampler.churn_noise", self.churn_noise, "1 keeps the noise level true")
        if not 0 <= self.churn_min <= self.churn_max:
            raise UserError(
                f"sampler.churn_min: {self.churn_min} must be at least 0 and at most churn_max={self.churn_max}"
            )

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        if self.churn:
            x_t, t = self._churned(process, x_t, t, key)
        x0_hat = denoise(x_t, t).x0
        euler = ddim_step(process, x0_hat, x_t, t, s)

        def corrected():
            change = process.eps(denoise(euler, s).x0, euler, s) - process.eps(x0_hat, x_t, t)
            return euler + along(slope_weight(process, t, s), x_t) * change / 2, denoise.cost(t) + denoise.cost(s)

        is_regular = (process.sigma(s) > 0) & (process.alpha(t) > 0)
        x_s, calls = lax.cond(is_regular, corrected, lambda: (euler, denoise.cost(t)))
        return Step(x_s, x0_hat, calls)

    def _churned(self, process, x_t, t, key):
        """x_t with added noise, and the later time with that noise level; on a table, rounded to the nearest step."""
        gamma = min(self.churn / self.steps, 2**0.5 - 1)
        level = process.sigma(t) / process.alpha(t)
        in_interval = (level >= self.churn_min) & (level <= self.churn_max)
        t_hat = jnp.minimum(process.time_of(process.log_snr(t) - 2 * jnp.log1p(gamma)), 1.0)
        t_hat = jnp.where(in_interval, jnp.maximum(t_hat, t), t)
        factor, variance = process.transition(t, t_hat)
        std = self.churn_noise * jnp.sqrt(jnp.maximum(variance, 0.0))
        x_hat = along(factor, x_t) * x_t + along(std, x_t) * normal(key, x_t)
        return jnp.where(t_hat > t, x_hat, x_t), t_hat
