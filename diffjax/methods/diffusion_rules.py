"""Checks of a diffusion model and its sampler: each mistake is a one-line UserError before anything is computed."""

import inspect
from typing import TYPE_CHECKING

import jax
import numpy as np

from diffjax.augment import NoAugment
from diffjax.diffusion import LearnedTable, Process, Sampler, guidance, nested
from diffjax.diffusion.grid import karras, log_snr
from diffjax.diffusion.weighting import VLB
from diffjax.errors import UserError

if TYPE_CHECKING:
    from diffjax.methods.diffusion import Diffusion


def check(method: "Diffusion") -> None:
    """Raises UserError for settings of a `Diffusion` that are invalid, alone or in combination."""
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
    method.check_text("network")
    _check_augment(method)
    _check_super_resolution(method)


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
    process = method.process.bind(method.process.init(jax.random.key(0)))  # a learned one as before training
    nested.check(spec.guidance, process)
    kind = nested.innermost(spec.guidance)
    if kind is guidance.classifier and not method.space.num_classes:
        raise UserError("sampler.guidance.name: classifier guidance needs labels, and this data set has none")
    if kind is guidance.classifier and method.reads_captions:
        raise UserError(
            "sampler.guidance.name: classifier guidance needs labels, and this model is conditioned on captions"
        )
    if kind is guidance.classifier_free or (kind is guidance.classifier and method.conditional):
        check_guidance(method, "sampler.guidance.name")
    if spec.clip and method.space.kind != "images":
        raise UserError(
            f"sampler.clip: must be false for {method.space.kind}; it clips x0 to [-1, 1], the range of images"
        )
    if getattr(spec, "variance", "") == "learned":
        _check_learned_variance(method, spec)
    _check_grid(method, process, spec)


def check_guidance(method: "Diffusion", field: str) -> None:
    """Raises UserError, naming `field`, unless the model was trained both with and without labels."""
    if not method.conditional:
        raise UserError(f"{field}: needs a model trained with labels; method.conditional must be true")
    if not method.label_dropout:
        raise UserError(f"{field}: needs a model trained with hidden labels; method.label_dropout must be above 0")


def _check_learned_variance(method: "Diffusion", spec: Sampler) -> None:
    if method.reverse_variance.outputs == 1:
        raise UserError(
            "sampler.variance: must be small or large; this model has no learned variance (method.reverse_variance)"
        )
    if nested.outermost(spec.guidance) in (guidance.interval, guidance.rounded):
        name = nested.outermost(spec.guidance).__name__
        raise UserError(f"sampler.variance: 'learned' is not known under guidance by {name}; small or large")


def _check_grid(method: "Diffusion", process: Process, spec: Sampler) -> None:
    if isinstance(method.process, LearnedTable) and getattr(spec.grid, "func", spec.grid) in (karras, log_snr):
        raise UserError(
            "sampler.grid: must be linear, quadratic or explicit; the noise levels of a learned table are not fixed"
        )
    if np.any(np.diff(spec.grid(process, spec.steps)) >= 0):
        raise UserError(
            f"sampler.grid: its {spec.steps} steps must fall strictly on this process; use fewer, or the grid linear"
        )
