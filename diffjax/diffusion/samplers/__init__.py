"""Samplers: from noise to data with a process and a denoiser, one file each."""

from diffjax.diffusion.samplers.ancestral import Ancestral
from diffjax.diffusion.samplers.ddim import DDIM
from diffjax.diffusion.samplers.heun import Heun
from diffjax.diffusion.samplers.sampler import Sampler, Samples, Step

SAMPLERS = {"ancestral": Ancestral, "ddim": DDIM, "heun": Heun}

__all__ = ["DDIM", "SAMPLERS", "Ancestral", "Heun", "Sampler", "Samples", "Step"]
