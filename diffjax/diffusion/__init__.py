"""The mathematics of diffusion: a library that needs neither configs, nor data, nor networks.

Of two times, s is the earlier and t the later, s < t. What belongs to the forward process takes them in its order, s
before t: q(x_t | x_s), its posterior q(x_s | x_t, x0), a reverse variance, a term of the bound. What a sampler does
on its way from t down to s takes t before s.
"""

from diffjax.diffusion import bound, clock, editing, grid, guidance, nested, target, times, variance, weighting
from diffjax.diffusion.continuous import EDM, VE, Flow, SubVP, VPCosine, VPLinear
from diffjax.diffusion.denoiser import Denoiser, Prediction
from diffjax.diffusion.discrete import KERNELS
from diffjax.diffusion.learned import LearnedLogSNR, LearnedTable
from diffjax.diffusion.loss import Parametrisation, denoising_loss, end_terms
from diffjax.diffusion.noise import fold_in, normal, split
from diffjax.diffusion.process import Process, along, sum_dims
from diffjax.diffusion.samplers import (
    DDIM,
    SAMPLERS,
    AdamsBashforth,
    Adaptive,
    Ancestral,
    DPMSolverPP,
    Euler,
    EulerMaruyama,
    Heun,
    PredictorCorrector,
    ReverseDiffusion,
    Sampler,
    Samples,
    UniPC,
)
from diffjax.diffusion.table import Table, VPSteps, ddpm_cosine, ddpm_linear, table

PROCESSES = {
    "ddpm_linear": ddpm_linear,
    "ddpm_cosine": ddpm_cosine,
    "table": table,
    "vp_steps": VPSteps,
    "vp_linear": VPLinear,
    "vp_cosine": VPCosine,
    "sub_vp": SubVP,
    "ve": VE,
    "edm": EDM,
    "flow": Flow,
    "learned_log_snr": LearnedLogSNR,
    "learned_table": LearnedTable,
}
TARGETS = {
    "eps": target.Eps,
    "x0": target.X0,
    "mean": target.Mean,
    "v": target.V,
    "score": target.Score,
    "velocity": target.Velocity,
    "F": target.F,
}
VARIANCES = {
    "small": variance.Small,
    "large": variance.Large,
    "learned": variance.Learned,
    "learned_log": variance.LearnedLog,
    "learned_range": variance.LearnedRange,
}
WEIGHTINGS = {
    "simple": weighting.Simple,
    "uniform": weighting.Uniform,
    "plain": weighting.Plain,
    "snr_plus_one": weighting.SNRPlusOne,
    "truncated_snr": weighting.TruncatedSNR,
    "min_snr": weighting.MinSNR,
    "p2": weighting.P2,
    "edm": weighting.EDM,
    "flow_matching": weighting.FlowMatching,
    "vlb": weighting.VLB,
    "sigmoid": weighting.Sigmoid,
    "uncertainty": weighting.Uncertainty,
    # Second names under which two of the above were also published.
    "snr": weighting.Simple,
    "likelihood": weighting.VLB,
}
TIMES = {
    "uniform": times.Uniform,
    "discrete": times.Discrete,
    "log_normal": times.LogNormal,
    "logit_normal": times.LogitNormal,
    "cosine": times.Cosine,
    "loss_second_moment": times.LossSecondMoment,
}
CLOCKS = {
    "index": clock.index,
    "rescaled": clock.rescaled,
    "scaled": clock.scaled,
    "log_noise": clock.log_noise,
    "log_sigma": clock.log_sigma,
    "log_snr": clock.log_snr,
}
GRIDS = {
    "linear": grid.linear,
    "quadratic": grid.quadratic,
    "ddim_quadratic": grid.ddim_quadratic,
    "karras": grid.karras,
    "log_snr": grid.log_snr,
    "explicit": grid.explicit,
}
GUIDANCE = {
    "none": guidance.none,
    "classifier_free": guidance.classifier_free,
    "interval": guidance.interval,
    "autoguidance": guidance.autoguidance,
    "classifier": guidance.classifier,
    "dynamic_threshold": guidance.dynamic_threshold,
    "rounded": guidance.rounded,
}

__all__ = [
    "CLOCKS", "DDIM", "EDM", "GRIDS", "GUIDANCE", "KERNELS", "PROCESSES", "SAMPLERS", "TARGETS", "TIMES", "VARIANCES",
    "VE", "WEIGHTINGS", "AdamsBashforth", "Adaptive", "Ancestral", "DPMSolverPP", "Denoiser", "Euler",
    "EulerMaruyama", "Flow", "Heun", "LearnedLogSNR", "LearnedTable", "Parametrisation", "Prediction",
    "PredictorCorrector", "Process", "ReverseDiffusion", "Sampler", "Samples", "SubVP", "Table", "UniPC", "VPCosine",
    "VPLinear", "VPSteps", "along", "bound", "ddpm_cosine", "ddpm_linear", "denoising_loss", "editing", "end_terms",
    "fold_in", "nested", "normal", "split", "sum_dims", "table",
]  # fmt: skip
