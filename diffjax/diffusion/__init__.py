"""The mathematics of diffusion: a library that needs neither configs, nor data, nor networks."""

from diffjax.diffusion import clock, grid, guidance, target, times, weighting
from diffjax.diffusion.denoiser import Denoiser, Prediction, denoising_loss, fold_in, normal
from diffjax.diffusion.process import EDM, Process, Table, VPCosine, VPLinear, ddpm_cosine, ddpm_linear
from diffjax.diffusion.samplers import DDIM, SAMPLERS, Ancestral, Heun, Sampler, Samples

PROCESSES = {
    "ddpm_linear": ddpm_linear,
    "ddpm_cosine": ddpm_cosine,
    "vp_linear": VPLinear,
    "vp_cosine": VPCosine,
    "edm": EDM,
}
TARGETS = {"eps": target.Eps, "x0": target.X0, "F": target.F}
WEIGHTINGS = {"simple": weighting.simple, "uniform": weighting.uniform, "edm": weighting.edm}
TIMES = {"uniform": times.Uniform, "log_normal": times.LogNormal}
CLOCKS = {"index": clock.index, "scaled": clock.scaled, "log_noise": clock.log_noise, "log_snr": clock.log_snr}
GRIDS = {"linear": grid.linear, "karras": grid.karras}
GUIDANCE = {"none": guidance.none, "classifier_free": guidance.classifier_free}

__all__ = [
    "CLOCKS", "DDIM", "EDM", "GRIDS", "GUIDANCE", "PROCESSES", "SAMPLERS", "TARGETS", "TIMES", "WEIGHTINGS",
    "Ancestral", "Denoiser", "Heun", "Prediction", "Process", "Sampler", "Samples", "Table", "VPCosine", "VPLinear",
    "ddpm_cosine", "ddpm_linear", "denoising_loss", "fold_in", "normal",
]  # fmt: skip
