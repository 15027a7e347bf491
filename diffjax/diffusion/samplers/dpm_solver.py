"""DPM-Solver++: exponential integrators in half log-SNR for the estimate of x0, deterministic or stochastic."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from diffjax.diffusion.noise import normal
from diffjax.diffusion.process import Batch, along
from diffjax.diffusion.samplers.sampler import Sampler, Step, not_negative
from diffjax.diffusion.samplers.transfer import History, half_log_snr, noise_split, transfer
from diffjax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DPMSolverPP(Sampler):
    """Lu et al. 2022b: x_s = transfer of x0 + the change of x0 on the way, from what the network said before.

    With lambda = log(alpha / sigma), h = lambda_s - lambda_t, H = h (for eta = 0) and differences D1, D2 of x0 in units
    of h:   x_s = (kept / sigma_t) x_t + alpha_s ((1 - e^-H) x0 + a1 D1 - a2 D2).
    "multistep" (algorithm 2): one call a step; D1, D2 from the last steps, so the first ones are of lower order.
    "singlestep" (algorithm 1, order 2): a second call at the middle of the step in lambda.
    A step to sigma = 0 or from alpha = 0 has no h: it is of first order, in one call.

    eta > 0 takes the SDE: the same step down to `kept`, where H > h, then fresh noise as in DDIM. At eta = 1 that is
    SDE-DPM-Solver++ of order 1 (the ancestral sampler), 2M (algorithm 4, and k-diffusion's `dpmpp_2m_sde`) and
    k-diffusion's `dpmpp_3m_sde`; singlestep with eta is its `dpmpp_2s_ancestral`.

    Order 3 is published with a2 half of what third order needs, and is of second; `a2` says which it is.
    """

    steps: int = 20
    order: int = 2
    form: str = "multistep"  # or "singlestep", of order 1 or 2
    correction: str = "midpoint"  # order 2's a1: "midpoint" (1 - e^-H) / 2, the paper's; "heun" 1 - (1 - e^-H) / H
    a2: str = "published"  # order 3's, by which all known code draws; or "doubled", which third order needs
    eta: float = 0.0  # share of the posterior's standard deviation that is fresh noise: 0 the ODE, 1 the SDE
    lower_order_final: bool = False  # the last steps of order 3 fall to 2 and 1: the paper's advice below 10 steps

    def __post_init__(self):
        super().__post_init__()
        if self.order not in (1, 2, 3):
            raise UserError(f"sampler.order: {self.order} is not published; 1, 2 or 3")
        if self.form not in ("multistep", "singlestep"):
            raise UserError(f"sampler.form: {self.form!r} is unknown; 'multistep' or 'singlestep'")
        if self.form == "singlestep" and self.order == 3:
            raise UserError("sampler.order: 3 is not published for form='singlestep'; 1 or 2")
        if self.correction not in ("midpoint", "heun"):
            raise UserError(f"sampler.correction: {self.correction!r} is unknown; 'midpoint' or 'heun'")
        if self.a2 not in ("published", "doubled"):
            raise UserError(f"sampler.a2: {self.a2!r} is unknown; 'published' or 'doubled'")
        if self.a2 == "doubled" and self.order != 3:
            raise UserError(f"sampler.a2: 'doubled' is of order 3, and sampler.order is {self.order}; use 'published'")
        not_negative("eta", self.eta, "0 is the ODE, 1 the SDE")

    def memory(self, x: Batch) -> Any:
        """The last estimates of x0, where they were made, and the number of steps taken."""
        return (History.empty(x, self.order), jnp.int32(0)) if self.form == "multistep" else ()

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        kept, fresh = noise_split(process, s, t, self.eta)
        x0_hat = denoise(x_t, t).x0
        solve = self._multistep if self.form == "multistep" else self._singlestep
        x_s, calls, memory = solve(process, denoise, x0_hat, x_t, t, s, kept, memory)
        if self.eta:
            x_s += along(fresh, x_t) * normal(key, x_t)
        return Step(x_s, x0_hat, calls, memory)

    def _multistep(self, process, denoise, x0_hat, x_t, t, s, kept, memory):
        history, taken = memory
        here, there = half_log_snr(process, t), half_log_snr(process, s)
        history = history.add(x0_hat, here, jnp.isfinite(here))
        order = history.count
        if self.lower_order_final:
            order = jnp.minimum(order, self.steps - taken)
        order = jnp.where(jnp.isfinite(there), jnp.maximum(order, 1), 1)
        down = jnp.log(process.alpha(s) / kept)
        change = self._change(history, there - here, down - here, order)
        x_s = transfer(process, x0_hat, x_t, t, s, kept) + along(process.alpha(s), x_t) * change
        return x_s, denoise.cost(t), (history, taken + 1)

    def _change(self, history: History, h: Float[Array, ""], H: Float[Array, ""], order: Int[Array, ""]) -> Batch:
        """a1 D1 - a2 D2 for the order asked."""
        first = -jnp.expm1(-H)  # 1 - e^-H

        def by_one():
            return jnp.zeros_like(history.values[0])

        def by_two():
            slope = (history.values[0] - history.values[1]) * h / (history.at[0] - history.at[1])
            return (first / 2 if self.correction == "midpoint" else 1 - first / H) * slope

        def by_three():
            r0, r1 = (history.at[:2] - history.at[1:]) / h
            near, far = (history.values[0] - history.values[1]) / r0, (history.values[1] - history.values[2]) / r1
            curve = (near - far) / (r0 + r1)
            a2 = (0.5 - (H - first) / H**2) * (2 if self.a2 == "doubled" else 1)
            return (1 - first / H) * (near + r0 * curve) + a2 * curve

        return lax.switch(order - 1, (by_one, by_two, by_three)[: self.order])

    def _singlestep(self, process, denoise, x0_hat, x_t, t, s, kept, memory):
        here, down = half_log_snr(process, t), jnp.log(process.alpha(s) / kept)
        middle = process.time_of(here + down)  # log-SNR is twice lambda
        there = half_log_snr(process, middle)

        def first_order():
            return transfer(process, x0_hat, x_t, t, s, kept), denoise.cost(t)

        def second_order():
            x0_middle = denoise(transfer(process, x0_hat, x_t, t, middle), middle).x0
            ratio = (there - here) / (down - here)  # 1/2, but on a table, which has only its own steps
            weight = 1 / (2 * ratio)
            change = -jnp.expm1(here - down) * weight * (x0_middle - x0_hat)
            x_s = transfer(process, x0_hat, x_t, t, s, kept) + along(process.alpha(s), x_t) * change
            return x_s, denoise.cost(t) + denoise.cost(middle)

        if self.order == 1:
            return *first_order(), ()
        inside = jnp.isfinite(here) & jnp.isfinite(down) & (there > here)
        return *lax.cond(inside, second_order, first_order), ()
