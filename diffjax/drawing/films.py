"""Films of the forward process, from data to noise, and of sampling, from noise to data; and how to show x_t."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.data.text import decode
from diffjax.diffusion import normal
from diffjax.diffusion.discrete import DiscreteAncestral
from diffjax.drawing import pictures
from diffjax.drawing.sheets import picture
from diffjax.errors import UserError
from diffjax.experiment import Experiment
from diffjax.inference.sampling import Drawn
from diffjax.methods.denoising_gan import DenoisingSteps
from diffjax.methods.method import Method
from diffjax.run import Run

CLEAR = 4.0  # above this log-SNR noise is hardly visible; below -CLEAR nothing else is
SHOWN, POINTS, CAPTIONED = 16, 500, 8  # samples in a film, points in a plane, and samples above their captions
ABREAST = 4  # samples with captions in a row of a block, so that two or three blocks fit side by side on a page
Shown = Callable[[Drawn, np.ndarray | None], np.ndarray]  # (samples, photos before them) -> a picture


def film(
    run: Run, spec: Any, drawn: Drawn, photos: np.ndarray | None = None, show: Shown | None = None
) -> list[np.ndarray]:
    """The frames of sampling: x_t at every step, scaled to the spread of the data, and last the samples.

    Edited `photos` are in every frame.
    """
    show = show or partial(picture, run.experiment)
    return [show(replace(drawn, x=frame), photos) for frame in [*frames(run, spec, drawn), drawn.x]]


def frames(run: Run, spec: Any, drawn: Drawn) -> list[np.ndarray]:
    """x_t at every step, in stored units. Raises UserError for a sampler without steps."""
    if drawn.x_t is None:
        raise UserError("`out`: a film needs a sampler with steps; this one draws in a single call (use .png)")
    space, x_t = run.experiment.method.space, drawn.x_t
    if space.kind != "categories":
        x_t = [x / spread_at(run, t) for x, t in zip(x_t, times_back(run, spec)[:-1], strict=True)]
    return [np.asarray(space.from_model(x)) for x in x_t]


def times_back(run: Run, spec: Any) -> np.ndarray:
    """The times t_0 > .. > t_N that a sampler of N steps visits, usually from 1 to 0."""
    if isinstance(spec, DenoisingSteps):  # one per step of the chain
        return np.linspace(1.0, 0.0, spec.steps + 1)
    if isinstance(spec, DiscreteAncestral):
        return spec.times(run.process)
    return np.asarray(spec.grid(run.process, spec.steps))


def spread_at(run: Run, t: float) -> float:
    """The approximate ratio of the spread of x_t to that of the data; x_t divided by it can be shown like data.

    sqrt(alpha^2 + (sigma / std)^2), with std that of the data in model units.
    """
    t = jnp.asarray(t, jnp.result_type(float))
    std = 0.5 if run.experiment.method.space.kind == "images" else 1.0  # of typical data
    return float(jnp.hypot(run.process.alpha(t), run.process.sigma(t) / std))


class Noised(NamedTuple):
    """The two parts of x_t = alpha x0 + sigma eps and their sum, in stored units [n, ...], scaled to the data's spread.

    Measured from the middle of the range (mid-grey for images), x_t is the sum of the other two, up to rounding and
    clipping.
    """

    image: np.ndarray
    noise: np.ndarray
    x_t: np.ndarray


def noised(run: Run, x0: np.ndarray, eps: np.ndarray, t: float) -> Noised:
    """Examples x0 [n, ...] at t in (0, 1] with noise eps, both in model units."""
    t = jnp.asarray(t, jnp.result_type(float))
    parts = (run.process.alpha(t) * x0, run.process.sigma(t) * eps)
    space, spread = run.experiment.method.space, spread_at(run, t)
    return Noised(*(np.asarray(space.from_model(part / spread)) for part in (*parts, parts[0] + parts[1])))


def few(method: Method) -> int:
    """The number of samples in a film, small enough that each can be seen."""
    if method.reads_captions:
        return CAPTIONED
    return POINTS if method.space.kind == "points" and not method.space.pictured else SHOWN


def _evenly(first: int, last: int, count: int) -> list[int]:
    """`count` evenly spaced integers from `first` to `last`, or all of them if there are fewer."""
    return sorted({round(k) for k in np.linspace(first, last, count)})


def times_of(run: Run, count: int) -> list[tuple[int, int]]:
    """The times k / T of a forward film, as pairs (k, T): the first, the last, and at most `count` - 2 between them.

    Those are evenly spaced in log-SNR from CLEAR to -CLEAR, because at most times the image has already drowned.
    """
    steps = run.process.steps or 1000
    between = run.process.time_of(jnp.linspace(CLEAR, -CLEAR, count - 2))
    rounded = np.clip(np.round(np.asarray(between) * steps), 1, steps).astype(int)
    return [(k, steps) for k in sorted({1, *rounded.tolist(), steps})]


def forward(run: Run, num: int, count: int, seed: int) -> dict[tuple[int, int], np.ndarray]:
    """A film of the forward process on `num` held-out examples, or all if there are fewer: {(k, T): frame}.

    A frame has three blocks of one size side by side: alpha x0, sigma eps and x_t.
    """
    space = run.experiment.method.space
    heldout = run.experiment.source.split("heldout")
    data = heldout.take(np.arange(min(num, len(heldout))))
    x0 = jnp.asarray(space.to_model(data["x"]))
    eps, film_frames = normal(jax.random.key(seed), x0), {}
    label = data["caption" if run.experiment.method.reads_captions else "label"]
    for k, steps in times_of(run, count):
        parts = [Drawn(part, label, np.zeros(len(part), int)) for part in noised(run, x0, eps, k / steps)]
        film_frames[k, steps] = np.concatenate([_block(run.experiment, part) for part in parts], axis=1)
    return film_frames


def backward(run: Run, drawn: Drawn, count: int) -> dict[tuple[int, int, float], np.ndarray]:
    """A film of sampling, from noise to the samples: {(step, steps, t): frame}, `count` frames or one per step.

    A frame has two blocks of one size side by side: x_t after `step` steps, and the denoiser's prediction of x0 from
    it. In the last frame both are the samples.
    """
    space, spec = run.experiment.method.space, run.experiment.sampler
    x_t = [*frames(run, spec, drawn), drawn.x]
    x0_hat = [*(np.asarray(space.from_model(x0)) for x0 in drawn.x0_hat), drawn.x]
    times = times_back(run, spec)
    film_frames, last = {}, len(times) - 1
    for i in _evenly(0, last, count):
        parts = [_block(run.experiment, replace(drawn, x=x)) for x in (x_t[i], x0_hat[i])]
        film_frames[i, last, float(times[i])] = np.concatenate(parts, axis=1)
    return film_frames


def _block(experiment: Experiment, drawn: Drawn) -> np.ndarray:
    """A picture of the samples for one block of a film; in a few columns if they have captions, so that these fit."""
    if experiment.method.space.kind != "images" or not experiment.method.reads_captions:
        return picture(experiment, drawn)
    captions = [pictures.wrapped(text, 18) for text in decode(drawn.label)]
    return pictures.grid(drawn.x, columns=min(ABREAST, len(captions)), captions=captions)
