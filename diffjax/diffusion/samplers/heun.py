"""Heun's method on the probability-flow ODE: EDM's deterministic sampler."""

from dataclasses import dataclass

from jax import lax

from diffjax.diffusion import grid
from diffjax.diffusion.process import along
from diffjax.diffusion.samplers.sampler import Sampler, Step


@dataclass(frozen=True, kw_only=True)
class Heun(Sampler):
    """Karras et al. 2022, algorithm 1, in y = x / alpha and its noise level l = sigma / alpha, where dy/dl = eps.

    Second order; two network calls a step, one in a step to sigma = 0, where eps is not defined. Singular at alpha = 0.
    """

    steps: int = 18
    grid: object = grid.karras

    def step(self, process, denoise, x_t, t, s, key):
        def move(eps):
            level_t, level_s = process.sigma(t) / process.alpha(t), process.sigma(s) / process.alpha(s)
            return (
                along(process.alpha(s) / process.alpha(t), x_t) * x_t
                + along(process.alpha(s) * (level_s - level_t), x_t) * eps
            )

        x0_hat = denoise(x_t, t).x0
        eps = process.eps(x0_hat, x_t, t)
        euler = move(eps)

        def corrected():
            return move((eps + process.eps(denoise(euler, s).x0, euler, s)) / 2), 2 * denoise.calls

        x_s, calls = lax.cond(process.sigma(s) > 0, corrected, lambda: (euler, denoise.calls))
        return Step(x_s, x0_hat, calls)
