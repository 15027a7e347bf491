"""Films, both ways: data drowned in noise, and noise becoming samples; and how x_t can be shown at all."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.diffusion import normal
from diffjax.drawing.sheets import picture
from diffjax.errors import UserError
from diffjax.run import Run
from diffjax.sampling import Drawn

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
        times = spec.grid(run.process, spec.steps)[:-1]
        x_t = [x / spread_at(run, t) for x, t in zip(x_t, times, strict=True)]
    return [np.asarray(space.from_model(x)) for x in x_t]


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


def times_of(run: Run, count: int) -> list[tuple[int, int]]:
    """`count` steps k, or as many as there are, and all steps T: the times k / T of a forward film, from 1 / T to 1."""
    steps = run.process.steps or 1000
    return [(int(k), steps) for k in sorted({round(k) for k in np.linspace(1, steps, count)})]


def forward(run: Run, num: int, count: int, seed: int) -> dict[tuple[int, int], np.ndarray]:
    """How `num` held-out examples are destroyed: frames by time (k, T), what is left of them, the noise, and x_t."""
    space = run.experiment.method.space
    data = run.experiment.source.split("heldout").take(np.arange(num))
    x0 = jnp.asarray(space.to_model(data["x"]))
    eps, shown = normal(jax.random.key(seed), x0), {}
    label = data["caption" if run.experiment.method.reads_captions else "label"]
    for k, steps in times_of(run, count):
        parts = [Drawn(part, label, np.zeros(len(part), int)) for part in noised(run, x0, eps, k / steps)]
        shown[k, steps] = np.concatenate([picture(run.experiment, part) for part in parts], axis=1)
    return shown


def film_with_x0(run: Run, drawn: Drawn) -> list[np.ndarray]:
    """The frames of a film, and at the right of each what the denoiser takes x0 to be there."""
    space = run.experiment.method.space
    hats = [replace(drawn, x=np.asarray(space.from_model(x0_hat))) for x0_hat in drawn.x0_hat]
    at_right = [picture(run.experiment, hat) for hat in hats]
    return [
        np.concatenate(pair, axis=1) for pair in zip(film(run, run.experiment.sampler, drawn), at_right, strict=False)
    ]
