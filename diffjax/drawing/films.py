"""Films, both ways: data drowned in noise, and noise becoming samples; and how x_t can be shown at all."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax import pictures
from diffjax.data.text import decode
from diffjax.diffusion import normal
from diffjax.diffusion.discrete import DiscreteAncestral
from diffjax.drawing.sheets import picture
from diffjax.errors import UserError
from diffjax.methods.denoising_gan import DenoisingSteps
from diffjax.methods.method import Method
from diffjax.run import Experiment, Run
from diffjax.sampling import Drawn

SHOWN, POINTS, CAPTIONED = 16, 500, 8  # samples in a film, points in a plane, and samples above their captions
ABREAST = 4  # samples above captions in a row of a block: two or three blocks stand side by side on a page
Shown = Callable[[Drawn, np.ndarray | None], np.ndarray]  # samples, and images given before them -> their picture


def film(
    run: Run, spec: Any, drawn: Drawn, given: np.ndarray | None = None, show: Shown | None = None
) -> list[np.ndarray]:
    """Noise becoming data: x_t at every step, brought to the data's own spread, and last the samples themselves.

    Images that were `given` to be edited are in every frame.
    """
    show = show or partial(picture, run.experiment)
    return [show(replace(drawn, x=frame), given) for frame in [*frames(run, spec, drawn), drawn.x]]


def frames(run: Run, spec: Any, drawn: Drawn) -> list[np.ndarray]:
    """x_t at every step, as they are stored. Raises UserError for a sampler that has no steps."""
    if drawn.x_t is None:
        raise UserError("--out: a film needs a sampler that goes step by step; this one draws at once (use .png)")
    space, x_t = run.experiment.method.space, drawn.x_t
    if space.kind != "categories":
        x_t = [x / spread_at(run, t) for x, t in zip(x_t, times_back(run, spec)[:-1], strict=True)]
    return [np.asarray(space.from_model(x)) for x in x_t]


def times_back(run: Run, spec: Any) -> np.ndarray:
    """The times t_0 > .. > t_N that a sampler of N steps visits, from 1 down to 0 in most cases."""
    if isinstance(spec, DenoisingSteps):  # one for each step of the chain
        return np.linspace(1.0, 0.0, spec.steps + 1)
    if isinstance(spec, DiscreteAncestral):
        return spec.times(run.process)
    return np.asarray(spec.grid(run.process, spec.steps))


def spread_at(run: Run, t: float) -> float:
    """By how much wider x_t is than the data, about: divided by it, x_t can be shown as they are."""
    t = jnp.asarray(t, jnp.result_type(float))
    std = 0.5 if run.experiment.method.space.kind == "images" else 1.0  # of the data, about
    return float(jnp.hypot(run.process.alpha(t), run.process.sigma(t) / std))


class Noised(NamedTuple):
    """x_t = alpha x0 + sigma eps and both its parts, in stored units [n, ...], brought to the spread of the data.

    The third is the sum of the other two about their middle, grey of images, but for rounding and clipping.
    """

    image: np.ndarray
    noise: np.ndarray
    x_t: np.ndarray


def noised(run: Run, x0: np.ndarray, eps: np.ndarray, t: float) -> Noised:
    """Examples x0 [n, ...] at t in (0, 1], under noise eps, both in model units."""
    t = jnp.asarray(t, jnp.result_type(float))
    parts = (run.process.alpha(t) * x0, run.process.sigma(t) * eps)
    space, spread = run.experiment.method.space, spread_at(run, t)
    return Noised(*(np.asarray(space.from_model(part / spread)) for part in (*parts, parts[0] + parts[1])))


def few(method: Method) -> int:
    """How many samples a film shows, so that each can be seen."""
    if method.reads_captions:
        return CAPTIONED
    return POINTS if method.space.kind == "points" and not method.space.pictured else SHOWN


def _evenly(first: int, last: int, count: int) -> list[int]:
    """`count` whole numbers, evenly from the first to the last, or as many as there are."""
    return sorted({round(k) for k in np.linspace(first, last, count)})


def times_of(run: Run, count: int) -> list[tuple[int, int]]:
    """`count` steps k, or as many as there are, and all steps T: the times k / T of a forward film, from 1 / T to 1."""
    steps = run.process.steps or 1000
    return [(k, steps) for k in _evenly(1, steps, count)]


def forward(run: Run, num: int, count: int, seed: int) -> dict[tuple[int, int], np.ndarray]:
    """How `num` held-out examples, or as many as there are, are destroyed: frames by time (k, T).

    A frame is three blocks of one size, side by side: what is left of the examples, the noise, and x_t.
    """
    space = run.experiment.method.space
    heldout = run.experiment.source.split("heldout")
    data = heldout.take(np.arange(min(num, len(heldout))))
    x0 = jnp.asarray(space.to_model(data["x"]))
    eps, shown = normal(jax.random.key(seed), x0), {}
    label = data["caption" if run.experiment.method.reads_captions else "label"]
    for k, steps in times_of(run, count):
        parts = [Drawn(part, label, np.zeros(len(part), int)) for part in noised(run, x0, eps, k / steps)]
        shown[k, steps] = np.concatenate([_block(run.experiment, part) for part in parts], axis=1)
    return shown


def backward(run: Run, drawn: Drawn, count: int) -> dict[tuple[int, int, float], np.ndarray]:
    """How samples come up: `count` frames, or as many as there are, by (step, steps, t), from noise to the samples.

    A frame is two blocks of one size, side by side: x_t after that many steps, and the x0 that the denoiser predicts
    from it. In the last frame, which no step leaves, the samples themselves are both.
    """
    space, spec = run.experiment.method.space, run.experiment.sampler
    x_t = [*frames(run, spec, drawn), drawn.x]
    x0_hat = [*(np.asarray(space.from_model(x0)) for x0 in drawn.x0_hat), drawn.x]
    times = times_back(run, spec)
    shown, last = {}, len(times) - 1
    for i in _evenly(0, last, count):
        parts = [_block(run.experiment, replace(drawn, x=x)) for x in (x_t[i], x0_hat[i])]
        shown[i, last, float(times[i])] = np.concatenate(parts, axis=1)
    return shown


def _block(experiment: Experiment, drawn: Drawn) -> np.ndarray:
    """The samples of a block of a film, in a few columns where their captions are to be read."""
    if experiment.method.space.kind != "images" or not experiment.method.reads_captions:
        return picture(experiment, drawn)
    captions = [pictures.wrapped(text, 18) for text in decode(drawn.label)]
    return pictures.grid(drawn.x, columns=min(ABREAST, len(captions)), captions=captions)
