"""DPM-Solver++: exponential integrators in half log-SNR for data prediction, deterministic or stochastic."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from diffjax.diffusion.fields import not_negative
from diffjax.diffusion.noise import normal
from diffjax.diffusion.process import Batch, along
from diffjax.diffusion.samplers.ddim_step import ddim_step, noise_levels
from diffjax.diffusion.samplers.multistep import History, half_log_snr
from diffjax.diffusion.samplers.sampler import Sampler, Step
from diffjax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DPMSolverPP(Sampler):
    """Lu et al. 2022b: DDIM's step plus corrections for the change of x0, estimated from other network calls.

    With lambda = log(alpha / sigma), h = lambda_s - lambda_t and differences D1, D2 of x0 in units of h:
    x_s = (sigma_down / sigma_t) x_t + alpha_s ((1 - e^-H) x0 + a1 D1 + a2 D2); sigma_down = sigma_s, H = h for eta = 0.
    "multistep" (algorithm 2): one call per step; D1, D2 are of previous steps, so that the first have lower order.
    "singlestep" (algorithm 1, order 2): a second call at the middle of the step in lambda.
    For a step to sigma = 0 or from alpha = 0, h is infinite: it is of first order, with one call.

    eta > 0 solves the SDE: the same step to a lower sigma_down, so that H > h, then noise as in DDIM. At eta = 1 this
    is SDE-DPM-Solver++ of order 1 (the ancestral sampler), 2M (algorithm 4, k-diffusion's `dpmpp_2m_sde`) and, with
    correction "heun", k-diffusion's `dpmpp_3m_sde`; singlestep with eta is its `dpmpp_2s_ancestral`.

    The published a2 of order 3 is half of what third order requires, and yields second order; `a2` selects either.
    """

    steps: int = 20
    order: int = 2
    form: str = "multistep"  # or "singlestep", of order 1 or 2
    correction: str = "midpoint"  # order 2's a1: "midpoint" (1 - e^-H) / 2, the paper's; "heun" 1 - (1 - e^-H) / H
    a2: str = "published"  # of order 3: "published", as in all known code, or "doubled", which gives third order
    eta: float = 0.0  # noise added per step, as a share of the posterior's std: 0 is the ODE, 1 the SDE
    lower_order_final: bool = False  # lower the order of the last steps to 2 and 1: the paper's advice below 10 steps

    def __post_init__(self):
        super().__post_init__()
        if self.order not in (1, 2, 3):
            raise UserError(f"sampler.order: {self.order} must be 1, 2 or 3")
        if self.form not in ("multistep", "singlestep"):
            raise UserError(f"sampler.form: {self.form!r} must be 'multistep' or 'singlestep'")
        if self.form == "singlestep" and self.order == 3:
            raise UserError("sampler.order: 3 must be 1 or 2 for form='singlestep'")
        if self.correction not in ("midpoint", "heun"):
            raise UserError(f"sampler.correction: {self.correction!r} must be 'midpoint' or 'heun'")
        if self.a2 not in ("published", "doubled"):
            raise UserError(f"sampler.a2: {self.a2!r} must be 'published' or 'doubled'")
        if self.a2 == "doubled" and self.order != 3:
            raise UserError(f"sampler.a2: 'doubled' needs sampler.order=3, which is {self.order}; use 'published'")
        not_negative("sampler.eta", self.eta, "0 is the ODE, 1 the SDE")

    def memory(self, x: Batch) -> Any:
        """The last estimates of x0 with their lambda, and the number of steps taken."""
        return (History.empty(x, self.order), jnp.int32(0)) if self.form == "multistep" else ()

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        sigma_down, sigma_up = noise_levels(process, t, s, self.eta)
        x0_hat = denoise(x_t, t).x0
        solve = self._multistep if self.form == "multistep" else self._singlestep
        x_s, calls, memory = solve(process, denoise, x0_hat, x_t, t, s, sigma_down, memory)
        if self.eta:
            x_s += along(sigma_up, x_t) * normal(key, x_t)
        return Step(x_s, x0_hat, calls, memory)

    def _multistep(self, process, denoise, x0_hat, x_t, t, s, sigma_down, memory):
        history, step_index = memory
        lambda_t, lambda_s = half_log_snr(process, t), half_log_snr(process, s)
        history = history.add(x0_hat, lambda_t, jnp.isfinite(lambda_t))
        order = history.count
        if self.lower_order_final:
            order = jnp.minimum(order, self.steps - step_index)
        order = jnp.where(jnp.isfinite(lambda_s), jnp.maximum(order, 1), 1)
        lambda_down = jnp.log(process.alpha(s) / sigma_down)
        change = self._change(history, lambda_s - lambda_t, lambda_down - lambda_t, order)
        x_s = ddim_step(process, x0_hat, x_t, t, s, sigma_down) + along(process.alpha(s), x_t) * change
        return x_s, denoise.cost(t), (history, step_index + 1)

    def _change(self, history: History, h: Float[Array, ""], H: Float[Array, ""], order: Int[Array, ""]) -> Batch:
        """a1 D1 + a2 D2 for this order."""
        phi_1 = -jnp.expm1(-H)  # 1 - e^-H

        def first_order():
            return jnp.zeros_like(history.values[0])

        def second_order():
            d1 = (history.values[0] - history.values[1]) * h / (history.at[0] - history.at[1])
            return (phi_1 / 2 if self.correction == "midpoint" else 1 - phi_1 / H) * d1

        def third_order():
            r0, r1 = (history.at[:2] - history.at[1:]) / h
            d1_0, d1_1 = (history.values[0] - history.values[1]) / r0, (history.values[1] - history.values[2]) / r1
            d2 = (d1_0 - d1_1) / (r0 + r1)
            a2 = (0.5 - (H - phi_1) / H**2) * (2 if self.a2 == "doubled" else 1)
            return (1 - phi_1 / H) * (d1_0 + r0 * d2) + a2 * d2

        return lax.switch(order - 1, (first_order, second_order, third_order)[: self.order])

    def _singlestep(self, process, denoise, x0_hat, x_t, t, s, sigma_down, memory):
        lambda_t, lambda_down = half_log_snr(process, t), jnp.log(process.alpha(s) / sigma_down)
        t_mid = process.time_of(lambda_t + lambda_down)  # log-SNR is twice lambda
        lambda_mid = half_log_snr(process, t_mid)

        def first_order():
            return ddim_step(process, x0_hat, x_t, t, s, sigma_down), denoise.cost(t)

        def second_order():
            x0_middle = denoise(ddim_step(process, x0_hat, x_t, t, t_mid), t_mid).x0
            ratio = (lambda_mid - lambda_t) / (lambda_down - lambda_t)  # 1/2, or near it where a table rounds t_mid
            weight = 1 / (2 * ratio)
            change = -jnp.expm1(lambda_t - lambda_down) * weight * (x0_middle - x0_hat)
            x_s = ddim_step(process, x0_hat, x_t, t, s, sigma_down) + along(process.alpha(s), x_t) * change
            return x_s, denoise.cost(t) + denoise.cost(t_mid)

        if self.order == 1:
            return *first_order(), ()
        is_regular = jnp.isfinite(lambda_t) & jnp.isfinite(lambda_down) & (lambda_mid > lambda_t)
        return *lax.cond(is_regular, second_order, first_order), ()
