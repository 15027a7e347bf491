"""Samplers: from noise to data with a process and a denoiser. One family per file, each one `lax.scan`.

    name                  order   calls per step      noise          singularities, and the step taken there
    ancestral             1       1                   yes
    ddim                  1       1                   with eta
    euler                 1       1                   no             tables: an error
    euler_maruyama        1 weak  1                   yes            alpha = 0: q(x_s | x0); tables: an error
    reverse_diffusion     1 weak  1                   yes            alpha = 0: q(x_s | x0)
    predictor_corrector   1 weak  1 + corrector_steps yes            sigma = 0: no correction
    heun                  2       2                   with churn     alpha = 0, sigma = 0: ddim's step
    dpm_solver_pp         2       1, singlestep 2     with eta       alpha = 0, sigma = 0: ddim's step
    unipc                 2       1                   no             alpha = 0, sigma = 0: ddim's step
    adams_bashforth       2       1                   no             alpha = 0: ddim's step
    adaptive              5       6                   no             tables: an error

Orders are measured in float64, down to a noise level above 0 (tests/diffusion/test_samplers_orders.py). unipc's is 2
because its last step is of first order; without `lower_order_final` it is p + 1. The number of steps is given, except
for adaptive, which takes as many as its tolerance needs.
"""

from diffjax.diffusion.samplers.adams_bashforth import AdamsBashforth
from diffjax.diffusion.samplers.adaptive import Adaptive
from diffjax.diffusion.samplers.ancestral import Ancestral
from diffjax.diffusion.samplers.ddim import DDIM
from diffjax.diffusion.samplers.dpm_solver import DPMSolverPP
from diffjax.diffusion.samplers.euler import Euler, EulerMaruyama
from diffjax.diffusion.samplers.heun import Heun
from diffjax.diffusion.samplers.predictor_corrector import PredictorCorrector, ReverseDiffusion
from diffjax.diffusion.samplers.sampler import Sampler, Samples, Step
from diffjax.diffusion.samplers.unipc import UniPC

SAMPLERS = {
    "ancestral": Ancestral,
    "ddim": DDIM,
    "euler": Euler,
    "euler_maruyama": EulerMaruyama,
    "reverse_diffusion": ReverseDiffusion,
    "predictor_corrector": PredictorCorrector,
    "heun": Heun,
    "dpm_solver_pp": DPMSolverPP,
    "unipc": UniPC,
    "adams_bashforth": AdamsBashforth,
    "adaptive": Adaptive,
}

__all__ = [
    "DDIM", "SAMPLERS", "AdamsBashforth", "Adaptive", "Ancestral", "DPMSolverPP", "Euler", "EulerMaruyama", "Heun",
    "PredictorCorrector", "ReverseDiffusion", "Sampler", "Samples", "Step", "UniPC",
]  # fmt: skip
