"""Checks of a diffusion model and its sampler: each mistake is a one-line UserError before anything is computed."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.augment import NoAugment
from diffjax.diffusion import (
    SAMPLERS,
    TARGETS,
    TIMES,
    WEIGHTINGS,
    Denoiser,
    LearnedTable,
    Prediction,
    PredictorCorrector,
    Process,
    Sampler,
    editing,
    guidance,
    nested,
)
from diffjax.diffusion.grid import karras, log_snr
from diffjax.diffusion.target import Velocity
from diffjax.diffusion.times import SMALLEST, LogSNRTimes
from diffjax.diffusion.weighting import VLB
from diffjax.errors import UserError
from diffjax.methods.method import name_of

if TYPE_CHECKING:
    from diffjax.methods.diffusion import Diffusion

MOST_SIGNAL = 0.25  # alpha / sigma at a grid's first time, unless that is t = 1; EDM's own grid starts at 1 / 80


def check(method: "Diffusion") -> None:
    """Raises UserError for settings of a `Diffusion` that are invalid, alone or in combination."""
    if method.space.kind == "categories":
        raise UserError(
            "method.name: 'diffusion' needs images or points, and these data are categories; use 'discrete_diffusion'"
        )
    method.check_conditional()
    if not 0 <= method.label_dropout <= 1:
        raise UserError(f"method.label_dropout: {method.label_dropout} must be in [0, 1]; it is a probability")
    if method.reverse_variance.outputs == 2 and not method.process.steps:
        raise UserError("method.reverse_variance: needs the steps of a table to be learned; this process is continuous")
    if not isinstance(method.process, Process) and not isinstance(method.weighting, VLB):
        raise UserError(
            "method.weighting: must be vlb, as a learned schedule would move to wherever another loss is small"
        )
    method.times.init(method.process.steps)  # checks the number of steps
    if method.process.steps:
        _check_on_table(method)
    elif isinstance(method.process, Process):
        _check_last_weight(method)
    method.check_text("network")
    _check_augment(method)
    _check_super_resolution(method)


def _check_on_table(method: "Diffusion") -> None:
    """Raises UserError for what needs a derivative in t, which a table of steps does not have."""
    if isinstance(method.target, Velocity):
        raise UserError("method.target: velocity is a derivative in t, and a table of steps has none; use v")
    if isinstance(method.weighting, VLB) and isinstance(method.times, LogSNRTimes):
        name = name_of(method.times, TIMES)
        raise UserError(
            f"method.times: {name} has no density on a table of steps, and vlb divides by that; use uniform"
        )


def _check_last_weight(method: "Diffusion") -> None:
    """Raises UserError if the loss has no finite weight at the last time that training can draw."""
    t = method.times.quantile(jnp.asarray([1 - SMALLEST]), method.process)
    weight = method.weighting.of_output(method.process.log_snr(t), method.target.gain(t, method.process))
    if not np.isfinite(weight).all():
        name = name_of(method.target, TARGETS)
        raise UserError(
            f"method.target: {name} says nothing of x0 at t = 1, where this process has alpha = 0; use v, x0 or"
            " velocity, or method.times that do not draw t = 1, or method.weighting plain"
        )
    if method.weighting.per_log_snr:  # the loss is multiplied by the rate of log-SNR, and divided by p(t)
        rate = method.process.rate(method.process.log_snr, t) / method.times.density(t, method.process)
        if not np.isfinite(weight * rate).all():
            raise UserError(
                f"method.times: {name_of(method.times, TIMES)} draws t = 1, where log-SNR falls infinitely fast, and"
                f" method.weighting {name_of(method.weighting, WEIGHTINGS)} multiplies by this rate; use uniform"
            )


def _check_augment(method: "Diffusion") -> None:
    if isinstance(method.augment, NoAugment):
        return
    if not method.augment.labels:
        raise UserError(
            "method.augment: must be edm or none; a diffusion model would learn other augmentations as part of the data"
        )
    if method.space.kind != "images":
        raise UserError(f"method.augment: must be none for {method.space.kind}; only images can be augmented")
    if "augment_dim" not in inspect.signature(method.network).parameters:
        raise UserError(
            "method.network: must take the labels of the augmentation; use unet, or method.augment.name=none"
        )


def _check_super_resolution(method: "Diffusion") -> None:
    factor, shape = method.super_resolution, method.space.shape
    if not factor:
        return
    if method.space.kind != "images" or factor < 2 or any(side % factor for side in shape[:2]):
        raise UserError(
            f"method.super_resolution: {factor} must be at least 2 and divide both sides of images, here {shape}"
        )
    if not method.label_dropout:
        raise UserError("method.label_dropout: 0 must be above 0 for super-resolution, to learn to draw alone as well")


def check_sampler(method: "Diffusion", spec: Sampler) -> None:
    """Raises UserError for a sampler that cannot draw from this model."""
    if isinstance(spec, editing.Edit):
        _check_edit(method, spec)
        return check_sampler(method, replace(spec.sampler, guidance=spec.guidance))  # an edit's grid may also rise
    process = method.process.bind(method.process.init(jax.random.key(0)))  # a learned one as before training
    if process.steps:
        _check_step(process, spec)
    nested.check(spec.guidance, process)
    levels = nested.levels(spec.guidance)
    kind = levels[-1]
    if kind is guidance.classifier and not method.space.num_classes:
        raise UserError("sampler.guidance.name: classifier guidance needs labels, and this data set has none")
    if kind is guidance.classifier and method.reads_captions:
        raise UserError(
            "sampler.guidance.name: classifier guidance needs labels, and this model is conditioned on captions"
        )
    if kind is guidance.classifier_free or (kind is guidance.classifier and method.conditional):
        check_guidance(method, "sampler.guidance.name")
    clipping = "sampler.guidance.name: must not be dynamic_threshold" if guidance.dynamic_threshold in levels else ""
    clipping = "sampler.clip: must be false" if spec.clip else clipping
    if clipping and method.space.kind != "images":
        raise UserError(f"{clipping} for {method.space.kind}; it clips x0 to [-1, 1], the range of images")
    if getattr(spec, "variance", "") == "learned":
        _check_learned_variance(method, levels)
    _check_grid(method, process, spec)


def _check_step(process: Process, spec: Sampler) -> None:
    """Raises UserError for a sampler that needs a derivative in t, which a table of steps does not have.

    A step is traced with a denoiser that answers x_t, so that samplers added to the table need no rule of their own.
    """

    def step(x, t, key):
        denoiser = Denoiser(lambda x_t, t, label: Prediction(x_t, lambda s: x_t))
        return spec.step(process, denoiser, x, t, t - 1 / process.steps, key, spec.memory(x)).x_s

    try:
        jax.eval_shape(step, jnp.zeros((1, 1)), jnp.ones(()), jax.random.key(0))
    except UserError as error:
        is_corrected = isinstance(spec, PredictorCorrector)  # its predictor steps
        name = f"predictor: {spec.predictor!r}" if is_corrected else f"name: {name_of(spec, SAMPLERS)!r}"
        raise error.about("method.process: ", f"sampler.{name} cannot draw, as ") from None


def check_guidance(method: "Diffusion", field: str) -> None:
    """Raises UserError, naming `field`, unless the model was trained both with and without labels."""
    if not method.conditional:
        raise UserError(f"{field}: needs a model trained with labels; method.conditional must be true")
    if not method.label_dropout:
        raise UserError(f"{field}: needs a model trained with hidden labels; method.label_dropout must be above 0")


def _check_edit(method: "Diffusion", spec: editing.Edit) -> None:
    if np.shape(spec.photo) != method.space.shape:
        raise UserError(f"sampler.photo: its shape {np.shape(spec.photo)} must be the data's, {method.space.shape}")
    if isinstance(spec, editing.ImageConditioned) and not method.super_resolution:
        raise UserError("sampler.name: ImageConditioned needs a model of super-resolution (method.super_resolution)")


def _check_learned_variance(method: "Diffusion", levels: list[Callable]) -> None:
    if method.reverse_variance.outputs == 1:
        raise UserError(
            "sampler.variance: must be small or large; this model has no learned variance (method.reverse_variance)"
        )
    for level in levels:
        if level in (guidance.interval, guidance.rounded):
            raise UserError(
                f"sampler.variance: 'learned' is not known under guidance by {level.__name__}; small or large"
            )


def _check_grid(method: "Diffusion", process: Process, spec: Sampler) -> None:
    if isinstance(method.process, LearnedTable) and getattr(spec.grid, "func", spec.grid) in (karras, log_snr):
        raise UserError(
            "sampler.grid: must be linear, quadratic, ddim_quadratic or explicit; a learned table's noise levels are"
            " not fixed"
        )
    times = spec.grid(process, spec.steps)
    if not np.all(np.diff(times) < 0):  # NaN does not fall either
        raise UserError(
            f"sampler.grid: its {spec.steps} steps must fall strictly on this process; use fewer, or the grid linear"
        )
    if times[-1] > 0:
        raise UserError(f"sampler.grid: its last time, {times[-1]:g}, must be 0; what is drawn there is still noisy")
    ratio, least = (float(process.alpha(t) / process.sigma(t)) for t in (times[0], jnp.ones_like(times[0])))
    if ratio > max(MOST_SIGNAL, 1.01 * least):  # 1.01: t = 1 itself, after round-off
        raise UserError(
            f"sampler.grid: its first time, {times[0]:g}, must be nearer to 1: there is still {ratio:.2g} times as much"
            f" signal as noise, and sampling starts from noise alone; at most {MOST_SIGNAL:g}"
        )
    if not np.isfinite(method.target.gain(times[:1], process)).all():
        name = name_of(method.target, TARGETS)
        raise UserError(
            f"sampler.grid: must start below t = 1, where alpha = 0 and a network that predicts {name} says nothing of"
            " x0; use log_snr"
        )
