"""The film of the ink: two drops become alike, and one comes back."""

from typing import NamedTuple

import numpy as np

from experiments.figures import style
from experiments.figures.ink_drop.drawing import (
    draw_density,
    draw_distance,
    draw_entropy,
    draw_particles,
    key_of_density,
)
from experiments.figures.ink_drop.motion import SAMPLES, TIMES, TRAILS, Motion


class Cloud(NamedTuple):
    """Ink in the film: what it is called, its colour, its particles, and its density at TIMES."""

    name: str
    colour: str
    motion: Motion
    p: list[np.ndarray]


class Scene(NamedTuple):
    """Half of the film: two clouds side by side, and how far they are apart."""

    clouds: list[Cloud]
    bits: list[np.ndarray]  # entropies of drops at TIMES, exact
    name: str  # of what is told apart
    apart: np.ndarray  # total variation at TIMES
    by_chance: np.ndarray | None = None  # what samples of one and the same drop would have


def frames(there: Scene, back: Scene) -> list[np.ndarray]:
    """Two drops become alike, and one comes back."""
    moments = list(range(len(TIMES)))
    spreads = [frame(there, moments[: i + 1]) for i in moments]
    return spreads + [frame(back, moments[: -i - 2 : -1]) for i in moments]


def tails(motion: Motion, past: list[int]) -> np.ndarray:
    """The ways of the first particles since the moment before the last of `past`, [places, TRAILS, 2]."""
    if len(past) < 2:
        return motion.x[past, :TRAILS]
    before, now = past[-2:]
    way = motion.ways[min(before, now)]
    return way if before < now else way[::-1]


def frame(scene: Scene, past: list[int]) -> np.ndarray:
    """The last of the `past` moments, of TIMES, and the curves up to there."""
    now = past[-1]
    figure = style.figure(height=5.4)
    axes = figure.subplots(2, 3, width_ratios=[1, 1, 0.95])
    draw_entropy(axes[0, 2], *scene.bits)
    for column, (name, colour, motion, p) in enumerate(scene.clouds):
        draw_particles(axes[0, column], motion.x[now], colour, tails(motion, past))
        shades = draw_density(axes[1, column], p[now], colour)
        below = axes[1, column].inset_axes([0.1, -0.09, 0.8, 0.04])
        key_of_density(figure, shades, cax=below, orientation="horizontal")
        axes[0, column].set_title(name)
        axes[0, 2].plot(TIMES[past], motion.bits[past], color=colour, zorder=4 - column)  # the first above the second
        axes[0, 2].plot(TIMES[now], motion.bits[now], "o", color=colour, zorder=4 - column)
    said = " and ".join(f"{cloud.motion.bits[now]:.1f}" for cloud in scene.clouds)
    axes[0, 2].set(title=f"t = {TIMES[now]:.2f}: {said} bits", xlabel="")  # the plot below says it
    axes[0, 0].set_ylabel("particles")
    axes[1, 0].set_ylabel("density (ink per unit of area)")

    draw_distance(axes[1, 2])
    axes[1, 2].plot(TIMES, scene.apart, color=style.ink, linewidth=1)
    axes[1, 2].plot(TIMES[now], scene.apart[now], "o", color=style.ink)
    if scene.by_chance is not None:
        axes[1, 2].plot(TIMES, scene.by_chance, "--", color=style.grey, label=f"by chance, of {SAMPLES:,} particles")
        axes[1, 2].legend(loc="upper left")
    axes[1, 2].set_title(f"{scene.name} told apart: {scene.apart[now]:.2f}")
    return style.pixels(figure, style.FILM)
