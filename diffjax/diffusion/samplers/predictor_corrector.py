"""The samplers of score-based generative modelling: reverse diffusion, and predictors with Langevin correction."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import lax

from diffjax.diffusion.fields import not_negative
from diffjax.diffusion.noise import fold_in, normal
from diffjax.diffusion.process import along, sum_dims
from diffjax.diffusion.samplers.ancestral import Ancestral
from diffjax.diffusion.samplers.euler import EulerMaruyama
from diffjax.diffusion.samplers.sampler import Sampler, Step
from diffjax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ReverseDiffusion(Sampler):
    """x_s = (2 - a) x_t + v score + sqrt(v) noise, which reverses the forward step x_t = a x_s + sqrt(v) noise.

    Song et al. 2021, eq. 46 (algorithm 2 for VE, 3 for VP), with the exact a and v of q(x_t | x_s). Weak order 1;
    the last step adds no noise. At alpha_t = 0, where x_t is independent of x_s, x_s is drawn from q(x_s | x0).
    """

    steps: int = 1000

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        x0_hat = denoise(x_t, t).x0
        factor, variance = process.transition(s, t)
        score = process.score(x0_hat, x_t, t)
        mean = along(2 - factor, x_t) * x_t + along(variance, x_t) * score
        std = jnp.where(process.sigma(s) > 0, jnp.sqrt(variance), 0.0)
        has_signal = process.alpha(t) > 0
        mean = jnp.where(has_signal, mean, along(process.alpha(s), x_t) * x0_hat)
        std = jnp.where(has_signal, std, process.sigma(s))
        return Step(mean + along(std, x_t) * normal(key, x_t), x0_hat, denoise.cost(t))


class ProbabilityFlow(Sampler):
    """x_s = (2 - a) x_t + v score / 2: reverse diffusion's step of the ODE (Song et al. 2021, eq. 47-48).

    Only as a predictor; alone it is `euler` by another name. The step to sigma = 0 is x0 itself.
    """

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        x0_hat = denoise(x_t, t).x0
        factor, variance = process.transition(s, t)
        score = process.score(x0_hat, x_t, t)
        x_s = along(2 - factor, x_t) * x_t + along(variance / 2, x_t) * score
        inside = (process.alpha(t) > 0) & (process.sigma(s) > 0)
        return Step(jnp.where(inside, x_s, along(process.alpha(s), x_t) * x0_hat), x0_hat, denoise.cost(t))


PREDICTORS = {
    "ancestral": Ancestral(), "ancestral_large": Ancestral(variance="large"), "reverse_diffusion": ReverseDiffusion(),
    "euler_maruyama": EulerMaruyama(), "probability_flow": ProbabilityFlow(),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PredictorCorrector(Sampler):
    """A predictor step from t to s, then Langevin dynamics at s (Song et al. 2021, algorithms 1, 4 and 5).

    x += e score + sqrt(2 e) noise with e = 2 (alpha_t / alpha_s)^2 (snr |noise| / |score|)^2. The paper's code averages
    the norms over the batch; here they are per example, so that a sample does not depend on its neighbours. In few
    dimensions |score| can be near 0, which makes these steps unstable: use step_size "level" there. There is no
    correction at sigma = 0, where the score is undefined. Network calls: steps + corrector_steps (steps - 1). Without a
    predictor they are 1 + corrector_steps (steps - 1), and the E[x0 | x_t] of a step is that of its last correction.
    """

    steps: int = 1000
    predictor: str = "reverse_diffusion"  # one of PREDICTORS; "none" is pure annealed Langevin dynamics
    corrector_steps: int = 1
    snr: float = 0.16  # the paper's r, table 5: 0.16 or 0.17 for VE on CIFAR-10; 0.01 for VP
    step_size: str = "norms"  # or "level": sigma replaces |noise| / |score|, to which it is close in many dimensions

    def __post_init__(self):
        super().__post_init__()
        if self.predictor not in (*PREDICTORS, "none"):
            raise UserError(f"sampler.predictor: {self.predictor!r} must be one of {', '.join(PREDICTORS)}, none")
        if self.corrector_steps < 0:
            raise UserError(f"sampler.corrector_steps: {self.corrector_steps} must be at least 0")
        if self.predictor == "none" and not self.corrector_steps:
            raise UserError("sampler.corrector_steps: 0 must be at least 1 with predictor='none', or x never moves")
        if self.step_size not in ("norms", "level"):
            raise UserError(f"sampler.step_size: {self.step_size!r} must be 'norms' or 'level'")
        not_negative("sampler.snr", self.snr, "the paper's is 0.16")

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        x_s, x0_hat, calls, _ = self._predict(process, denoise, x_t, t, s, key)
        estimate = (x0_hat,) if self.predictor == "none" else ()  # E[x0 | x_t], where the corrector has to make it

        def correct(i, carry):
            x, *estimate = carry
            noise = normal(fold_in(key, i + 1), x)  # 0 is the predictor's
            sigma = process.sigma(s)
            x0 = denoise(x, s).x0
            score = -process.eps(x0, x, s) / along(sigma, x)  # `process.score` would round differently
            ratio = self.snr * along(sigma if self.step_size == "level" else _norm(noise) / _norm(score), x)
            e = 2 * process.transition(s, t)[0] ** 2 * ratio**2
            return x + e * score + jnp.sqrt(2 * e) * noise, *(x0 for _ in estimate)

        def corrected():
            x, *last = lax.fori_loop(0, self.corrector_steps, correct, (x_s, *estimate))
            return x, calls + self.corrector_steps * denoise.cost(s), *last

        x_s, calls, *last = lax.cond(process.sigma(s) > 0, corrected, lambda: (x_s, calls, *estimate))
        return Step(x_s, last[0] if last else x0_hat, calls)

    def _predict(self, process, denoise, x_t, t, s, key):
        if self.predictor != "none":
            return PREDICTORS[self.predictor].step(process, denoise, x_t, t, s, fold_in(key, 0))

        def final_step():
            x0_hat = denoise(x_t, t).x0
            return Step(x0_hat, x0_hat, denoise.cost(t))

        # Annealed Langevin dynamics keeps x and lowers the noise level; only the step to the data needs an estimate.
        # The second x_t stands for E[x0 | x_t] until the corrector has made it.
        return lax.cond(process.sigma(s) > 0, lambda: Step(x_t, x_t, jnp.int32(0)), final_step)


def _norm(x):
    """The Euclidean norm of each example: [b]."""
    return jnp.sqrt(sum_dims(x**2))
