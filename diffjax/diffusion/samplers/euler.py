"""Euler's method in the time t of the process, on the probability-flow ODE and on the reverse SDE."""

from dataclasses import dataclass

import jax.numpy as jnp

from diffjax.diffusion.noise import normal
from diffjax.diffusion.process import along
from diffjax.diffusion.samplers.sampler import Sampler, Step


@dataclass(frozen=True, kw_only=True)
class Euler(Sampler):
    """x_s = x_t + (s - t) dx/dt, with dx/dt = alpha' x0 + sigma' eps (Song et al. 2021, eq. 13). First order.

    Equals DDIM where alpha and sigma are linear in t, as for flow and EDM. The step to sigma = 0 is x0 itself.
    Raises UserError for a table, which has no derivative in t.
    """

    steps: int = 100

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        x0_hat = denoise(x_t, t).x0
        x_s = x_t + (s - t) * process.velocity(x0_hat, x_t, t)
        return Step(jnp.where(process.sigma(s) > 0, x_s, x0_hat), x0_hat, denoise.cost(t))


@dataclass(frozen=True, kw_only=True)
class EulerMaruyama(Sampler):
    """x_s = x_t + (s - t) (f x_t - g^2 score) + g sqrt(t - s) noise (Song et al. 2021, eq. 6, appendix D).

    Weak order 1. The step to sigma = 0 is x0 itself; at alpha_t = 0, where f is infinite, x_s is drawn from
    q(x_s | x0). Raises UserError for a table.
    """

    steps: int = 1000

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        x0_hat = denoise(x_t, t).x0
        f, g2 = process.sde(t)
        score = process.score(x0_hat, x_t, t)
        mean = x_t + (s - t) * (along(f, x_t) * x_t - along(g2, x_t) * score)
        std = jnp.sqrt(g2 * (t - s))
        has_signal = process.alpha(t) > 0
        mean = jnp.where(has_signal, mean, along(process.alpha(s), x_t) * x0_hat)
        x_s = mean + along(jnp.where(has_signal, std, process.sigma(s)), x_t) * normal(key, x_t)
        return Step(jnp.where(process.sigma(s) > 0, x_s, x0_hat), x0_hat, denoise.cost(t))
