"""Adams-Bashforth methods, which extrapolate the slope eps from past network calls: PLMS, PNDM and LMS."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from diffjax.diffusion.process import Batch, Process, Time, along
from diffjax.diffusion.samplers.ddim_step import ddim_step, slope_weight
from diffjax.diffusion.samplers.multistep import History
from diffjax.diffusion.samplers.sampler import Sampler, Step
from diffjax.errors import UserError

EXTRA = {"euler": 0, "heun": 1, "runge_kutta": 3}  # additional network calls of a starting step


@dataclass(frozen=True, kw_only=True)
class AdamsBashforth(Sampler):
    """DDIM's step with eps replaced by its mean over the step, extrapolated from the last `order` evaluations.

    variable "t": PNDM (Liu et al. 2022, algorithm 2), which has weights (55, -59, 37, -9) / 24 on an even grid and
    starts with "runge_kutta"; with "heun" it is the PLMS of latent diffusion. The mean over t differs from the mean
    over sigma / alpha, by which x moves, so that it is of second order for any `order` above 1.
    variable "level": a polynomial in sigma / alpha. With "euler" it is k-diffusion's LMS, whose first step limits it to
    second order; with "runge_kutta" the order is `order`.
    One network call per step, plus 1 at the start with "heun", or 3 (order - 1) with "runge_kutta". A step from
    alpha = 0 is DDIM's. A starting step to sigma = 0 makes no additional call: it extrapolates from those before it.
    """

    steps: int = 50
    order: int = 4
    variable: str = "t"  # or "level", sigma / alpha
    start: str = "heun"  # the first steps; or "runge_kutta", or "euler", which makes no additional calls

    def __post_init__(self):
        super().__post_init__()
        if self.order not in (1, 2, 3, 4):
            raise UserError(f"sampler.order: {self.order} must be 1, 2, 3 or 4")
        if self.variable not in ("t", "level"):
            raise UserError(f"sampler.variable: {self.variable!r} must be 't' or 'level'")
        if self.start not in EXTRA:
            raise UserError(f"sampler.start: {self.start!r} must be one of {', '.join(EXTRA)}")

    def memory(self, x: Batch) -> Any:
        return History.empty(x, self.order)

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        x0_hat = denoise(x_t, t).x0
        eps = process.eps(x0_hat, x_t, t)
        has_signal = process.alpha(t) > 0
        u_t, u_s = self._place(process, t), self._place(process, s)
        history = memory.add(eps, jnp.where(has_signal, u_t, 0.0), has_signal)

        def move(slope, to):
            change = along(slope_weight(process, t, to), x_t) * (slope - eps)
            return ddim_step(process, x0_hat, x_t, t, to) + change

        def slope_at(slope, to):
            """eps at the time `to`, after a step with this slope."""
            x = move(slope, to)
            return process.eps(denoise(x, to).x0, x, to)

        def heun():
            return (eps + slope_at(eps, s)) / 2, denoise.cost(t) + denoise.cost(s)

        def runge_kutta():
            t_mid = self._middle(process, t, s)
            slope_2 = slope_at(eps, t_mid)
            slope_3 = slope_at(slope_2, t_mid)
            slope_4 = slope_at(slope_3, s)
            calls = denoise.cost(t) + 2 * denoise.cost(t_mid) + denoise.cost(s)
            return (eps + 2 * slope_2 + 2 * slope_3 + slope_4) / 6, calls

        def multistep():
            weights = mean_weights((history.at - u_t) / (u_s - u_t), history.count)
            return jnp.tensordot(weights, history.values, 1), denoise.cost(t)

        start_steps = {"euler": 0, "heun": min(1, self.order - 1), "runge_kutta": self.order - 1}[self.start]
        is_start = has_signal & (process.sigma(s) > 0) & (history.count <= start_steps)
        if start_steps:
            slope, calls = lax.cond(is_start, heun if self.start == "heun" else runge_kutta, multistep)
        else:
            slope, calls = multistep()
        return Step(move(slope, s), x0_hat, calls, history)

    def _place(self, process: Process, t: Time) -> Time:
        """The polynomial's variable at t."""
        return t if self.variable == "t" else process.sigma(t) / process.alpha(t)

    def _middle(self, process: Process, t: Time, s: Time) -> Time:
        """Halfway in the polynomial's variable; on a table, rounded to the nearest step."""
        if self.variable == "level":
            return process.time_of(-2 * jnp.log((self._place(process, t) + self._place(process, s)) / 2))
        t_mid = (t + s) / 2
        return jnp.round(t_mid * process.steps) / process.steps if process.steps else t_mid


def mean_weights(places: Float[Array, "k"], count: Int[Array, ""]) -> Float[Array, "k"]:
    """w with sum_j w_j f(u_j) = the integral over [0, 1] of the polynomial through the first `count` of (u_j, f(u_j)).

    Integrates the Lagrange polynomials by two-point Gauss quadrature, which is exact up to degree 3. Evenly spaced
    u = 0, -1, -2 .. give the Adams-Bashforth weights.
    """
    index = jnp.arange(len(places))
    is_node = index < count
    is_factor = is_node[None, :] & (index[:, None] != index[None, :])
    distance = jnp.where(is_factor, places[:, None] - places[None, :], 1.0)
    points = 0.5 + jnp.asarray([-0.5, 0.5]) / jnp.sqrt(3.0)
    factors = jnp.where(is_factor, (points[:, None, None] - places[None, None, :]) / distance, 1.0)
    return jnp.where(is_node, jnp.mean(jnp.prod(factors, axis=-1), axis=0), 0.0)
