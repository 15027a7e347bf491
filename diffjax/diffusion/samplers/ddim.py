"""DDIM: the deterministic sampler, and the family that connects it to the ancestral sampler."""

from dataclasses import dataclass

from diffjax.diffusion.fields import not_negative
from diffjax.diffusion.noise import normal
from diffjax.diffusion.process import along
from diffjax.diffusion.samplers.ddim_step import ddim_step, noise_levels
from diffjax.diffusion.samplers.sampler import Sampler, Step


@dataclass(frozen=True, kw_only=True)
class DDIM(Sampler):
    """Song et al. 2020, eq. 12: x_s = alpha_s x0 + sqrt(sigma_s^2 - n^2) eps + n noise, n = eta * posterior std.

    eta = 0 is Euler's method on the probability-flow ODE in sigma / alpha, eta = 1 the ancestral sampler. First order.
    On the EDM process this is k-diffusion's `euler`, and with eta > 0 its `euler_ancestral`.
    """

    steps: int = 50
    eta: float = 0.0  # noise added per step, as a share of the posterior's standard deviation

    def __post_init__(self):
        super().__post_init__()
        not_negative("sampler.eta", self.eta, "0 is the ODE, 1 the ancestral sampler")

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        x0_hat = denoise(x_t, t).x0
        sigma_down, sigma_up = noise_levels(process, t, s, self.eta)
        x_s = ddim_step(process, x0_hat, x_t, t, s, sigma_down)
        if self.eta:
            x_s += along(sigma_up, x_t) * normal(key, x_t)
        return Step(x_s, x0_hat, denoise.cost(t))
