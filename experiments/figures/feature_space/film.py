"""The film of the space of features: noise becomes people, and winged beings; then latents between two latents."""

from dataclasses import replace
from functools import partial

import jax.numpy as jnp
import numpy as np

from diffjax.diffusion.grid import log_snr
from diffjax.drawing.films import spread_at
from experiments.figures import style
from experiments.figures.feature_space.drawing import draw_clouds, draw_latents, plane
from experiments.figures.feature_space.measures import HALF, Field, Way, arrows, places

IN_FILM, FEWER = 250, 9  # samples; arrows a side
# The sampler's steps have their log-SNRs evenly apart, up to CLEAR, where noise is hardly seen; before NOISY it alone
# is seen, and those steps are left out.
STEPS, NOISY, CLEAR = 48, -4.0, 5.0
EVERY = 4  # of the latents' places on the way
TURN = (-70.0, -40.0)  # degrees, of the view in space, from the first frame to the last


def frames(people, winged, levels, true: Field, seed: int, between_them: Way) -> list[np.ndarray]:
    """First with two axes and with three, along the score; then along the latents."""
    spec = replace(people.experiment.sampler, grid=partial(log_snr, high=CLEAR), steps=STEPS)
    drawn = [run.sample(IN_FILM, seed, spec=spec, trajectory=True, batch_size=IN_FILM) for run in (people, winged)]
    times = np.asarray(spec.grid(people.process, STEPS))[:-1]
    shown = np.flatnonzero(np.asarray(people.process.log_snr(jnp.asarray(times))) >= NOISY)
    places_on_the_way = range(0, len(between_them.x), EVERY)
    turns = iter(np.linspace(*TURN, len(shown) + len(places_on_the_way)))
    clouds = [
        [np.asarray(run.experiment.method.space.from_model(x.x_t[i] / spread_at(run, times[i]))) for i in shown]
        for run, x in zip((people, winged), drawn, strict=True)
    ]
    noise = [along_the_score(people, winged, levels, true, times[i], *x, drawn[1].x, next(turns))
             for i, *x in zip(shown, *clouds, strict=True)]  # fmt: skip
    return noise + [along_the_latents(winged, clouds[1][-1], between_them, i, next(turns)) for i in places_on_the_way]


def frame(source, x3: np.ndarray, turn: float, left_title: str, right_title: str, becomes: np.ndarray | None = None):
    """A figure, its left axes, and its right ones, where x3 are drawn, in the colours of what they become."""
    figure = style.figure(height=3.6)
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2, projection="3d")
    draw_clouds(right, source, x3, turn, becomes)
    left.set_title(left_title)
    right.set_title(right_title)
    return figure, left, right


def along_the_score(people, winged, levels, true: Field, t: float, x2, x3, becomes, turn: float) -> np.ndarray:
    space, noise = people.experiment.method.space, float(jnp.exp(-0.5 * people.process.log_snr(jnp.float32(t))))
    title = f"t = {t:.2f}, σ/α = {noise:.2g}: noise follows the score"
    titles = (title, "with wing span (cm); colours of what it becomes")
    figure, left, _ = frame(winged.experiment.source, x3, turn, *titles, becomes)
    grid, roots = (np.moveaxis(places(space, count), -1, 0) for count in (len(true.log_p), FEWER))
    y = np.stack(np.meshgrid(*[np.linspace(-HALF, HALF, FEWER)] * 2), -1)
    plane(left, space)
    left.contour(*grid, true.log_p, levels, colors=style.grey, linewidths=0.8, linestyles="-")
    left.quiver(*roots, *np.moveaxis(arrows(people, y, t), -1, 0), color=style.grey, scale=48, width=0.004)
    left.scatter(*x2.T, s=5, color=style.blue, alpha=0.7, linewidths=0)
    return style.pixels(figure, style.FILM)


def along_the_latents(winged, x3: np.ndarray, between_them: Way, i: int, turn: float) -> np.ndarray:
    path = between_them.x[:, between_them.middle]
    weight = np.linspace(0, 1, len(path))
    titles = ("latents between two latents", "and what they become")
    figure, left, right = frame(winged.experiment.source, x3, turn, *titles)
    draw_latents(left, between_them.x)
    left.plot(weight[: i + 1], path[: i + 1, 2], color=style.ink)
    left.plot(weight[i], path[i, 2], "o", color=style.ink)
    right.plot(*path[: i + 1].T, color=style.ink, linewidth=1.2)
    right.scatter(*path[i], s=40, color=style.ink, depthshade=False)
    return style.pixels(figure, style.FILM)
