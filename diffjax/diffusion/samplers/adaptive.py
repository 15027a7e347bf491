"""The probability-flow ODE, solved by diffrax's adaptive Runge-Kutta methods."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from diffjax.diffusion.fields import positive
from diffjax.diffusion.samplers.sampler import Sampler, Step, no_calls
from diffjax.errors import UserError

SOLVERS = {"tsit5": "Tsit5", "dopri5": "Dopri5"}  # both of order 5
STAGES = 6  # network calls per step, accepted or not: of seven stages, the first is the last one of the step before


@dataclass(frozen=True, kw_only=True)
class Adaptive(Sampler):
    """Solves dx/dt = alpha' x0 + sigma' eps (Song et al. 2021, eq. 13) to within rtol and atol, separately per example.

    A sample does not depend on its neighbours, although the batch takes as long as its slowest example. Network calls
    are counted per example: 6 per step plus 1, for each interval of the grid (more than one interval only serves to
    record the trajectory). Guidance on an interval of noise levels is counted as if active at all times. The ODE ends
    where sigma / alpha is `level_min`; the final step from there to t = 0 is x0 itself. Samples that need more than
    `max_steps` are NaN. Raises UserError for a table.
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
            raise UserError(f"sampler.solver: {self.solver!r} must be one of {', '.join(SOLVERS)}")
        positive("sampler.rtol", self.rtol, "1e-5 is usual")
        positive("sampler.atol", self.atol, "1e-5 is usual")
        positive("sampler.level_min", self.level_min, "the paper's sigma_min is 0.002")
        if self.max_steps < 1:
            raise UserError(f"sampler.max_steps: {self.max_steps} must be at least 1")

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        t_end = process.time_of(jnp.asarray(-2 * jnp.log(self.level_min), x_t.dtype))
        t_end = jnp.where(process.sigma(s) > 0, s, jnp.clip(t_end, 1e-5, t))
        x, solver_calls = lax.cond(
            t_end < t, lambda: self._solve(process, denoise, x_t, t, t_end), lambda: (x_t, no_calls(x_t))
        )
        calls = solver_calls * jnp.max(denoise.cost(jnp.linspace(t, t_end, 64)))

        def final_step():
            return denoise(x, t_end).x0, calls + denoise.cost(t_end)

        x_s, calls = lax.cond(process.sigma(s) > 0, lambda: (x, calls), final_step)
        return Step(x_s, x_s, calls)

    def _solve(self, process, denoise, x_t, t, s):
        """x_s, and the number of network calls for each example."""
        import diffrax  # imported here because it takes a second; only this and the likelihood need it

        def example_velocity(x, t, label):
            """The velocity of a single example."""
            label_batch = None if label is None else label[None]
            return process.velocity(denoise(x[None], t, label_batch).x0, x[None], t)[0]

        def solve(x, label):
            # A fixed size for the first attempt: diffrax's own choice would cost network calls, in some versions only.
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(lambda t, x, _: example_velocity(x, t, label)),
                getattr(diffrax, SOLVERS[self.solver])(),
                t0=t, t1=s, dt0=(s - t) / 100, y0=x,
                stepsize_controller=diffrax.PIDController(rtol=self.rtol, atol=self.atol),
                max_steps=self.max_steps,
                throw=False,
            )  # fmt: skip
            succeeded = solution.result == diffrax.RESULTS.successful
            return jnp.where(succeeded, solution.ys[0], jnp.nan), solution.stats["num_steps"]

        x_s, num_steps = jax.vmap(solve)(x_t, denoise.label)
        return x_s, STAGES * num_steps.astype(jnp.int32) + 1
