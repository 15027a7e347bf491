"""What a diffusion model, or its sampler, cannot be: every mistake is one line, before anything is computed."""

import inspect
from typing import TYPE_CHECKING

import jax
import numpy as np

from diffjax.augment import EdmAugment, NoAugment
from diffjax.diffusion import LearnedTable, Process, Sampler, guidance, nested
from diffjax.diffusion.grid import karras, log_snr
from diffjax.diffusion.weighting import VLB
from diffjax.errors import UserError

if TYPE_CHECKING:
    from diffjax.methods.diffusion import Diffusion


def check(method: "Diffusion") -> None:
    """Raises UserError for settings of a `Diffusion` that make no sense, alone or together."""
    method.check_conditional()
    if not 0 <= method.label_dropout <= 1:
        raise UserError(f"method.label_dropout: {method.label_dropout} is not a probability; from 0 to 1")
    if method.reverse_variance.outputs == 2 and not method.process.steps:
        raise UserError("method.reverse_variance: learning it needs the steps of a table; this process has none")
    if not isinstance(method.process, Process) and not isinstance(method.weighting, VLB):
        raise UserError(
            "method.weighting: a learned schedule would move to wherever another loss is small; it must be vlb"
        )
    method.times.init(method.process.steps)  # its own checks
    method.check_text("network")
    _check_augment(method)
    _check_super_resolution(method)


def _check_augment(method: "Diffusion") -> None:
    if isinstance(method.augment, NoAugment):
        return
    if not isinstance(method.augment, EdmAugment):
        raise UserError("method.augment: a diffusion model would learn what is done to its images; edm, or none")
    if method.space.kind != "images":
        raise UserError(f"method.augment: {method.space.kind} cannot be augmented, only images; use 'none'")
    if "hints" not in inspect.signature(method.network).parameters:
        raise UserError("method.network: cannot be told of augmentation; use a UNet, or method.augment.name=none")


def _check_super_resolution(method: "Diffusion") -> None:
    factor, shape = method.super_resolution, method.space.shape
    if not factor:
        return
    if method.space.kind != "images" or factor < 2 or any(side % factor for side in shape[:2]):
        raise UserError(f"method.super_resolution: {factor} is not a factor of both sides of {shape}")
    if not method.label_dropout:
        raise UserError("method.label_dropout: 0, but a model that always sees a small image draws nothing alone")


def check_sampler(method: "Diffusion", spec: Sampler) -> None:
    """Raises UserError for a sampler that cannot draw from this model."""
    kind = nested.innermost(spec.guidance)
    if kind is guidance.classifier and not method.space.num_classes:
        raise UserError("sampler.guidance.name: the data set has no labels for a classifier to tell")
    if kind is guidance.classifier and method.reads_captions:
        raise UserError("sampler.guidance.name: a classifier tells labels, and this model is asked by captions")
    if kind is guidance.classifier_free or (kind is guidance.classifier and method.conditional):
        check_guidance(method, "sampler.guidance.name")
    if spec.clip and method.space.kind != "images":
        raise UserError(f"sampler.clip: holds x0 to [-1, 1], the range of images; these are {method.space.kind}")
    if getattr(spec, "variance", "") == "learned":
        _check_learned_variance(method, spec)
    _check_grid(method, spec)


def check_guidance(method: "Diffusion", field: str) -> None:
    """Raises UserError, about `field`, for a model that has not learned with and without labels."""
    if not method.conditional:
        raise UserError(f"{field}: this model is trained without labels (method.conditional=false)")
    if not method.label_dropout:
        raise UserError(f"{field}: this model never sees a hidden label (method.label_dropout=0)")


def _check_learned_variance(method: "Diffusion", spec: Sampler) -> None:
    if method.reverse_variance.outputs == 1:
        raise UserError("sampler.variance: this model has learned none (method.reverse_variance); small or large")
    if nested.outermost(spec.guidance) in (guidance.interval, guidance.rounded):
        name = nested.outermost(spec.guidance).__name__
        raise UserError(f"sampler.variance: 'learned' is not known under guidance by {name}; small or large")


def _check_grid(method: "Diffusion", spec: Sampler) -> None:
    if isinstance(method.process, LearnedTable) and getattr(spec.grid, "func", spec.grid) in (karras, log_snr):
        raise UserError("sampler.grid: a learned table has no known noise levels; take linear, quadratic or explicit")
    process = method.process.bind(method.process.init(jax.random.key(0)))
    if np.any(np.diff(spec.grid(process, spec.steps)) >= 0):
        raise UserError(
            f"sampler.grid: its {spec.steps} steps do not fall strictly on this process; take fewer, or the grid linear"
        )
