"""The probability-flow ODE by an adaptive Runge-Kutta method of diffrax."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from diffjax.diffusion.samplers.sampler import Sampler, Step, no_calls
from diffjax.errors import UserError

SOLVERS = {"tsit5": "Tsit5", "dopri5": "Dopri5"}  # both of order five
STAGES = 6  # network calls a step, accepted or not, of either: seven stages, of which the first is the last one's last


@dataclass(frozen=True, kw_only=True)
class Adaptive(Sampler):
    """dx/dt = alpha' x0 + sigma' eps (Song et al. 2021, eq. 13) to within rtol and atol, for each example by itself.

    A sample does not depend on its neighbours, though it waits for the slowest of the batch. Its own calls are counted:
    6 a step and 1 to begin with, for each of the grid's intervals (more than one serve only to look on). Guidance on an
    interval is counted as if it were on at every time. The ODE ends where sigma / alpha is `level_min`, and the step
    from there to t = 0 is x0 itself. What needs more than `max_steps` becomes NaN. Raises UserError for a table.
    """

    steps: int = 1
    solver: str = "tsit5"  # or "dopri5", the paper's RK45
    rtol: float = 1e-5
    atol: float = 1e-5  # in model units
    level_min: float = 0.002  # sigma / alpha, in model units, at which the ODE ends (Karras et al. 2022, sigma_min)
    max_steps: int = 4096

    def __post_init__(self):
        super().__post_init__()
        if self.solver not in SOLVERS:
            raise UserError(f"sampler.solver: {self.solver!r} is unknown; one of {', '.join(SOLVERS)}")
        for name in ("rtol", "atol", "level_min"):
            if getattr(self, name) <= 0:
                raise UserError(f"sampler.{name}: {getattr(self, name)} must be positive")
        if self.max_steps < 1:
            raise UserError(f"sampler.max_steps: {self.max_steps} is not a number of steps; at least 1")

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        end = process.time_of(jnp.asarray(-2 * jnp.log(self.level_min), x_t.dtype))
        end = jnp.where(process.sigma(s) > 0, s, jnp.clip(end, 1e-5, t))
        x, taken = lax.cond(end < t, lambda: self._solve(process, denoise, x_t, t, end), lambda: (x_t, no_calls(x_t)))
        calls = taken * jnp.max(denoise.cost(jnp.linspace(t, end, 64)))

        def last():
            return denoise(x, end).x0, calls + denoise.cost(end)

        x_s, calls = lax.cond(process.sigma(s) > 0, lambda: (x, calls), last)
        return Step(x_s, x_s, calls)

    def _solve(self, process, denoise, x_t, t, s):
        """x_s, and how often the network was asked for each example."""
        import diffrax  # a second to import, for this and the likelihood alone

        def velocity(x, t):
            return process.velocity(denoise(x, t).x0, x, t)

        def slope(x, t, label):
            """Of one example, at a time of its own."""
            of = None if label is None else label[None]
            return process.velocity(denoise(x[None], t, of).x0, x[None], t)[0]

        def solve(x, label):
            # The first step is tried at a fixed size: diffrax's own choice would cost calls, in some versions only.
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(lambda t, x, _: slope(x, t, label)),
                getattr(diffrax, SOLVERS[self.solver])(),
                t0=t, t1=s, dt0=(s - t) / 100, y0=x,
                stepsize_controller=diffrax.PIDController(rtol=self.rtol, atol=self.atol),
                max_steps=self.max_steps,
                throw=False,
            )  # fmt: skip
            arrived = solution.result == diffrax.RESULTS.successful
            return jnp.where(arrived, solution.ys[0], jnp.nan), solution.stats["num_steps"]

        x_s, taken = jax.vmap(solve)(x_t, denoise.label)
        return x_s, STAGES * taken.astype(jnp.int32) + 1
