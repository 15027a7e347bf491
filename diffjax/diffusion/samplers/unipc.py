"""UniPC: a multistep predictor in half log-SNR with a corrector that reuses the next step's network call."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from diffjax.diffusion.process import Batch, along
from diffjax.diffusion.samplers.ddim_step import ddim_step
from diffjax.diffusion.samplers.multistep import History, half_log_snr
from diffjax.diffusion.samplers.sampler import Sampler, Step
from diffjax.errors import UserError


class Before(NamedTuple):
    """The start of the last step: x, t, the estimates of x0 used, and the number of steps taken so far."""

    x: Batch
    t: Float[Array, ""]
    history: History
    taken: Int[Array, ""]


@dataclass(frozen=True, kw_only=True)
class UniPC(Sampler):
    """Zhao et al. 2023, algorithms 1 and 2 (data prediction): UniP-p, then UniC-p with the next step's network call.

    One call per step. The first steps are of lower order, until the history is full; with `lower_order_final` the last
    steps are as well. A step to sigma = 0 or from alpha = 0 is of first order; one from alpha = 0 is not corrected.
    """

    steps: int = 20
    order: int = 2  # the paper: 2 with guidance, 3 without
    variant: str = "bh2"  # B(h): "bh2" is e^h - 1; "bh1" is h, which the paper prefers without guidance at few steps
    lower_order_final: bool = True  # lower the order of the last steps to 2 and 1, as in the paper's code

    def __post_init__(self):
        super().__post_init__()
        if self.order not in (1, 2, 3):
            raise UserError(f"sampler.order: {self.order} must be 1, 2 or 3")
        if self.variant not in ("bh1", "bh2"):
            raise UserError(f"sampler.variant: {self.variant!r} must be 'bh1' or 'bh2'")

    def memory(self, x: Batch) -> Any:
        return Before(x, jnp.ones((), x.dtype), History.empty(x, self.order), jnp.int32(0))

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        x0_hat = denoise(x_t, t).x0
        lambda_t = half_log_snr(process, t)
        last = memory
        x_t = jnp.where(last.history.count > 0, self._corrected(process, last, x0_hat, t), x_t)
        history = last.history.add(x0_hat, lambda_t, jnp.isfinite(lambda_t))
        order = jnp.where(process.sigma(s) > 0, self._order(history, last.taken), 1)
        x_s = self._move(process, x_t, t, s, history, order)
        return Step(x_s, x0_hat, denoise.cost(t), Before(x_t, jnp.asarray(t, x_t.dtype), history, last.taken + 1))

    def _order(self, history: History, taken: Int[Array, ""]) -> Int[Array, ""]:
        """The order of the step after `taken` others."""
        order = jnp.maximum(history.count, 1)
        return jnp.minimum(order, self.steps - taken) if self.lower_order_final else order

    def _corrected(self, process, before, x0_hat, t):
        """UniC: repeats the last step with the x0 at its end."""
        order = self._order(before.history, before.taken - 1)
        return self._move(process, before.x, before.t, t, before.history, order, end=x0_hat)

    def _move(self, process, x_t, t, s, history, order, end=None):
        """The step from t to s by the history up to t, and for UniC by `end`, the x0 at s (eq. 3, 9 and 12)."""
        lambda_t, lambda_s = half_log_snr(process, t), half_log_snr(process, s)
        h = lambda_s - lambda_t

        def correction(order):
            ratios = [(history.at[i] - lambda_t) / h for i in range(1, order)]
            differences = [history.values[i] - history.values[0] for i in range(1, order)]
            if end is not None:
                ratios, differences = [*ratios, jnp.ones_like(h)], [*differences, end - history.values[0]]
            total = jnp.zeros_like(x_t)
            for ratio, weight, difference in zip(ratios, self._weights(ratios, h), differences, strict=True):
                total += weight / ratio * difference
            return total

        branches = [lambda order=order: correction(order) for order in range(1, self.order + 1)]
        first_order = ddim_step(process, history.values[0], x_t, t, s)
        return first_order + along(process.alpha(s), x_t) * lax.switch(order - 1, branches)

    def _weights(self, ratios: list, h: Float[Array, ""]) -> list:
        """-B(h) times the solution a of sum_k r_k^(i-1) a_k = i! phi_{i+1}(-h)(-h) / B(h), i = 1 .. q.

        Solved by Lagrange polynomials: a_k is the right-hand side applied to the coefficients of the polynomial that is
        1 at r_k. A single weight is 1/2 for any h, as published, which is of the same order.
        """
        bh = -h if self.variant == "bh1" else jnp.expm1(-h)
        if len(ratios) < 2:
            return [-bh / 2] * len(ratios)
        rhs, phi, factorial = [], jnp.expm1(-h) / -h - 1, 1
        for i in range(1, len(ratios) + 1):
            rhs.append(phi * factorial)
            factorial *= i + 1
            phi = phi / -h - 1 / factorial
        weights = []
        for k, ratio in enumerate(ratios):
            coefficients, scale = [1.0], 1.0  # of the product of (r - other), constant first
            for other in ratios[:k] + ratios[k + 1 :]:
                coefficients = [
                    lower - other * same for lower, same in zip([0.0, *coefficients], [*coefficients, 0.0], strict=True)
                ]
                scale *= ratio - other
            weights.append(-sum(a * b for a, b in zip(coefficients, rhs, strict=True)) / scale)
        return weights
