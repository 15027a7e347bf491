"""Adams-Bashforth: the slope eps as a polynomial through the last network calls. PLMS, PNDM and LMS."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from diffjax.diffusion.process import Batch, Process, Time, along
from diffjax.diffusion.samplers.sampler import Sampler, Step
from diffjax.diffusion.samplers.transfer import History, slope_weight, transfer
from diffjax.errors import UserError

EXTRA = {"euler": 0, "heun": 1, "runge_kutta": 3}  # network calls beyond one, of a starting step


@dataclass(frozen=True, kw_only=True)
class AdamsBashforth(Sampler):
    """x_s is DDIM's step with eps replaced by its mean over the step, extrapolated from the last `order` of them.

    variable "t": PNDM (Liu et al. 2022, algorithm 2), on an even grid with weights (55, -59, 37, -9) / 24. It starts
    with "runge_kutta"; with "heun" it is the PLMS of latent diffusion. A mean over t is not the one over sigma / alpha,
    by which x moves: second order, whatever `order`.
    variable "level": a polynomial in sigma / alpha. With "euler" it is k-diffusion's LMS, which its first step keeps to
    second order; with "runge_kutta" the order is `order`.
    One call a step, and at the start 1 more with "heun", 3 (order - 1) more with "runge_kutta". A step from alpha = 0,
    or a starting one to sigma = 0, is DDIM's.
    """

    steps: int = 50
    order: int = 4
    variable: str = "t"  # or "level", sigma / alpha
    start: str = "heun"  # or "runge_kutta", "euler": none

    def __post_init__(self):
        super().__post_init__()
        if self.order not in (1, 2, 3, 4):
            raise UserError(f"sampler.order: {self.order} is none of 1, 2, 3 and 4")
        if self.variable not in ("t", "level"):
            raise UserError(f"sampler.variable: {self.variable!r} is unknown; 't' or 'level'")
        if self.start not in EXTRA:
            raise UserError(f"sampler.start: {self.start!r} is unknown; one of {', '.join(EXTRA)}")

    def memory(self, x: Batch) -> Any:
        return History.empty(x, self.order)

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        x0_hat = denoise(x_t, t).x0
        eps = process.eps(x0_hat, x_t, t)
        some = process.alpha(t) > 0
        here, there = self._place(process, t), self._place(process, s)
        history = memory.add(eps, jnp.where(some, here, 0.0), some)

        def move(slope, to):
            change = along(slope_weight(process, t, to), x_t) * (slope - eps)
            return transfer(process, x0_hat, x_t, t, to) + change

        def slope_at(slope, to):
            """eps where a given slope leads."""
            x = move(slope, to)
            return process.eps(denoise(x, to).x0, x, to)

        def heun():
            return (eps + slope_at(eps, s)) / 2, denoise.cost(t) + denoise.cost(s)

        def runge_kutta():
            middle = self._middle(process, t, s)
            second = slope_at(eps, middle)
            third = slope_at(second, middle)
            fourth = slope_at(third, s)
            calls = denoise.cost(t) + 2 * denoise.cost(middle) + denoise.cost(s)
            return (eps + 2 * second + 2 * third + fourth) / 6, calls

        def multistep():
            weights = mean_weights((history.at - here) / (there - here), history.count)
            return jnp.tensordot(weights, history.values, 1), denoise.cost(t)

        starting = {"euler": 0, "heun": min(1, self.order - 1), "runge_kutta": self.order - 1}[self.start]
        first = some & (process.sigma(s) > 0) & (history.count <= starting)
        if starting:
            slope, calls = lax.cond(first, heun if self.start == "heun" else runge_kutta, multistep)
        else:
            slope, calls = multistep()
        return Step(move(slope, s), x0_hat, calls, history)

    def _place(self, process: Process, t: Time) -> Time:
        return t if self.variable == "t" else process.sigma(t) / process.alpha(t)

    def _middle(self, process: Process, t: Time, s: Time) -> Time:
        """Halfway, in the variable of the polynomial; on a table, the nearest of its steps."""
        if self.variable == "level":
            return process.time_of(-2 * jnp.log((self._place(process, t) + self._place(process, s)) / 2))
        middle = (t + s) / 2
        return jnp.round(middle * process.steps) / process.steps if process.steps else middle


def mean_weights(places: Float[Array, "k"], count: Int[Array, ""]) -> Float[Array, "k"]:
    """w with sum_j w_j f(u_j) = the integral over [0, 1] of the polynomial through the first `count` of (u_j, f(u_j)).

    Lagrange's polynomials at Gauss's two points, which is exact up to third degree. Evenly spaced u = 0, -1, -2 .. give
    Adams and Bashforth's weights.
    """
    index = jnp.arange(len(places))
    there = index < count
    used = there[None, :] & (index[:, None] != index[None, :])
    apart = jnp.where(used, places[:, None] - places[None, :], 1.0)
    points = 0.5 + jnp.asarray([-0.5, 0.5]) / jnp.sqrt(3.0)
    factors = jnp.where(used, (points[:, None, None] - places[None, None, :]) / apart, 1.0)
    return jnp.where(there, jnp.mean(jnp.prod(factors, axis=-1), axis=0), 0.0)
