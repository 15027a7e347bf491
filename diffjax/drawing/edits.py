"""`sample --image`: turns the flags about a photo into a sampler that edits it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from diffjax.data.space import Space
from diffjax.diffusion import Sampler, editing
from diffjax.diffusion.process import Process
from diffjax.drawing.photos import read_mask, read_photo
from diffjax.errors import UserError
from diffjax.run import Run

HIDDEN = 128  # grey of the masked pixels in the picture of the known ones


@dataclass(frozen=True)
class Request:
    """The fields of an edit; None if not given. Raises UserError for combinations that make no sense."""

    image: Path | None = None
    strength: float | None = None
    mask: Path | None = None
    noise: float | None = None
    upscale: int | None = None
    inpaint: str | None = None
    resamples: int | None = None
    jump: int | None = None

    def __post_init__(self):
        given = [name for name, value in vars(self).items() if value is not None and name != "image"]
        if given and self.image is None:
            raise UserError(f"`{given[0]}`: needs a photo; give one with `image=FILE`")
        ways = [name for name in ("strength", "mask", "noise", "upscale") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise UserError(
                f"`{ways[1]}`: given with `{ways[0]}`; must be only one of `strength`, `mask`, `noise` and `upscale`"
            )
        if self.inpaint is not None and self.mask is None:
            raise UserError("`inpaint`: needs a mask; give one with `mask=FILE`")
        for name in ("resamples", "jump"):
            if getattr(self, name) is not None and (self.mask is None or self.inpaint == "posterior"):
                raise UserError(f"`{name}`: applies to `inpaint=repaint`; give a `mask`, and no other `inpaint`")

    @property
    def given(self) -> dict[str, Any]:
        """The flags that were given, as JSON values for the note beside the samples."""
        flags = {name: value for name, value in vars(self).items() if value is not None}
        return {name: str(value) if isinstance(value, Path) else value for name, value in flags.items()}


class Plan(NamedTuple):
    """A sampler that edits, pictures to show before the samples (uint8 [k, h, w, c]), and how the photo was adapted."""

    spec: Sampler
    shown: np.ndarray
    notes: list[str]


def plan(request: Request, run: Run, spec: Sampler) -> Plan:
    """Turns the sampler `spec` into one that edits as `request` asks. Raises UserError if it cannot."""
    experiment, space = run.experiment, run.experiment.method.space
    if not isinstance(spec, Sampler) or space.kind != "images":
        raise UserError(f"`image`: needs a diffusion model of images; this is a {experiment.config.method.name} of"
                        f" {space.kind}")  # fmt: skip
    if request.mask is not None or 0 < (request.strength or 0) < 1:
        _several_steps(spec)
    if request.strength is not None:
        return _from_photo(request, space, spec, run.process)
    if request.mask is not None:
        return _inpainted(request, space, spec)
    if request.noise is not None:
        return _denoised(request, space, spec)
    if request.upscale is not None:
        return _upscaled(request, space, spec)
    if getattr(experiment.method, "super_resolution", 0):
        return _conditioned(request, space, spec, experiment.method.super_resolution)
    raise UserError("`image`: given without an edit; add `strength`, `mask`, `noise` or `upscale`")


def _several_steps(spec: Sampler) -> None:
    """Raises UserError for a sampler with a single step, which has no noise level at which a photo could enter."""
    if spec.steps < 2:
        raise UserError(
            "`image`: a photo enters between the sampler's steps, and this sampler takes a single one; give more, such "
            "as `config.sampler.steps=20`"
        )


def _from_photo(request: Request, space: Space, spec: Sampler, process: Process) -> Plan:
    photo = read_photo(request.image, space.shape)
    try:
        edit = editing.SDEdit.around(spec, space.to_model(jnp.asarray(photo.pixels)), strength=request.strength)
    except UserError as error:
        raise error.about("strength", "`strength`") from None
    times = edit.grid(process, edit.steps)
    note = f"strength {request.strength:g}: the last {len(times) - 1} of {spec.steps} steps"
    if 0 < request.strength < 1:
        level = float(process.sigma(times[0]) / process.alpha(times[0])) * space.scale
        note += f", from the photo with noise of standard deviation {level:.3g} of its 255 greys"
    return Plan(edit, photo.pixels[None], [photo.note, note])


def _inpainted(request: Request, space: Space, spec: Sampler) -> Plan:
    photo = read_photo(request.image, space.shape)
    painted, mask_note = read_mask(request.mask, photo)
    x, known = space.to_model(jnp.asarray(photo.pixels)), jnp.asarray(~painted)
    if request.inpaint == "posterior":
        edit = editing.Posterior.around(spec, x, project=editing.pixels(known))
    else:
        options = {name: value for name in ("resamples", "jump") if (value := getattr(request, name)) is not None}
        edit = editing.RePaint.around(spec, x, known, **options)
    visible = np.where(painted, np.uint8(HIDDEN), photo.pixels)
    return Plan(edit, np.stack([photo.pixels, visible]), [photo.note, mask_note])


def _denoised(request: Request, space: Space, spec: Sampler) -> Plan:
    if not request.noise > 0:
        raise UserError(f"`noise`: {request.noise:g} must be a standard deviation above 0, in greys of 0 to 255")
    if getattr(spec, "variance", "") == "learned":
        raise UserError("`noise`: cannot be combined with a learned variance; give `config.sampler.variance=small`")
    photo = read_photo(request.image, space.shape)
    x = space.to_model(jnp.asarray(photo.pixels))
    edit = editing.Denoise.around(spec, x, noise=request.noise / space.scale)
    return Plan(edit, photo.pixels[None], [photo.note])


def _upscaled(request: Request, space: Space, spec: Sampler) -> Plan:
    factor, (height, width, _) = request.upscale, space.shape
    if factor < 2 or height % factor or width % factor:
        raise UserError(
            f"`upscale`: {factor} must be at least 2 and divide the sides of the model's {width}x{height} images"
        )
    blocks, note = _blocks(request, space, factor)
    x = space.to_model(jnp.asarray(blocks))
    return Plan(editing.Posterior.around(spec, x, project=editing.block_means(factor)), blocks[None], [note])


def _conditioned(request: Request, space: Space, spec: Sampler, factor: int) -> Plan:
    blocks, note = _blocks(request, space, factor)
    x = editing.smoothed(space.to_model(jnp.asarray(blocks))[None], factor)[0]
    return Plan(editing.ImageConditioned.around(spec, x), blocks[None], [note])


def _blocks(request: Request, space: Space, factor: int) -> tuple[np.ndarray, str]:
    """The photo reduced by `factor`, each pixel repeated to the model's size; and how the photo was adapted."""
    height, width, channels = space.shape
    small = read_photo(request.image, (height // factor, width // factor, channels), averaged=True)
    return small.pixels.repeat(factor, axis=0).repeat(factor, axis=1), small.note
