"""How particles, densities, entropies and distances are drawn, in the picture and in the film; and the picture."""

from itertools import product

import numpy as np

from experiments.figures import style
from experiments.figures.entropy import plane
from experiments.figures.ink_drop.motion import MAXIMUM, TIMES, Motion

SHOWN = np.array([0, 7, 10, 16, 40])  # of TIMES: t = 0, 0.03, 0.06, 0.16, 1
PARTICLES, TRAILS = 400, 3  # drawn; of them with a tail, in the film
VIEW = (-2.7, 2.7, -2.7, 2.7)
LEVELS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56)  # of densities, ink for an area of 1
NAMED = (0.01, 0.08, 0.64)  # of LEVELS, in the keys


def draw_particles(axes, x: np.ndarray, colour: str, tails: np.ndarray | None = None) -> None:
    """Particles [n, 2], and of the first ones where they came from: tails [moments, n, 2]."""
    style.bare(axes, VIEW)
    axes.scatter(*x[TRAILS:PARTICLES].T, s=4, color=colour, alpha=0.6, linewidths=0)
    if tails is not None:
        for i in range(TRAILS):
            axes.plot(*tails[:, i].T, color=style.ink, linewidth=1)
            axes.scatter(*x[i], s=14, color=style.ink, linewidths=0, zorder=3)


def draw_density(axes, p: np.ndarray, colour: str):
    style.bare(axes, VIEW)
    points, _ = plane(count=len(p))
    colours = style.shades(colour)(np.linspace(0.1, 1, len(LEVELS)))
    return axes.contourf(points[..., 0], points[..., 1], p, LEVELS, colors=colours, extend="max")


def key_of_density(figure, shades, **where):
    """Which shade is which density."""
    bar = figure.colorbar(shades, ticks=NAMED, **where)
    bar.outline.set_visible(False)
    return bar


def draw_entropy(axes, *exact: np.ndarray) -> None:
    """The entropies of drops at TIMES, below that of N(0, I)."""
    axes.axhline(MAXIMUM, color=style.grey, linewidth=1, linestyle="--")
    axes.text(1, MAXIMUM + 0.06, f"N(0, I): {MAXIMUM:.2f} bits", ha="right", va="bottom")
    for bits in exact:
        axes.plot(TIMES, bits, color=style.grey, label="exact")
    lowest = min(bits[0] for bits in exact)
    axes.set(xlim=(0, 1), ylim=(min(0, lowest), MAXIMUM + 0.6), yticks=range(5), ylabel="entropy (bits)")
    axes.set_xlabel("time t")


def draw_distance(axes) -> None:
    """An empty plot for how far drops are apart."""
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="time t", ylabel="total variation distance")


def still(forth: Motion, back: Motion, densities: list[list[np.ndarray]], bits: np.ndarray, distances) -> np.ndarray:
    """`densities`: of the drop, and of another one."""
    figure = style.figure(height=8.9)
    above, below = figure.subfigures(2, 1, height_ratios=[2.8, 1])
    axes = above.subplots(4, len(SHOWN))
    for column, i in enumerate(SHOWN):
        draw_particles(axes[0, column], forth.x[i], style.blue)
        one = draw_density(axes[1, column], densities[0][i], style.blue)
        other = draw_density(axes[2, column], densities[1][i], style.green)
        draw_particles(axes[3, column], back.x[i], style.orange)
        axes[0, column].set_title(f"t = {TIMES[i]:.2g}")
    for row, name in enumerate(("a drop spreads,\nleft to right", "its density", "another drop's\ndensity",
                                "the model, backward,\nright to left")):  # fmt: skip
        axes[row, 0].set_ylabel(name)
    for row, shades in ((1, one), (2, other)):
        key_of_density(above, shades, ax=axes[row], aspect=14, pad=0.01).set_label("ink per unit of area")

    left, right = below.subplots(1, 2)
    draw_entropy(left, bits)
    left.plot(TIMES[::2], forth.bits[::2], "o", color=style.blue, markersize=5, label="particles, forward")
    left.plot(TIMES[::2], back.bits[::2], "x", color=style.orange, markersize=5, label="samples, backward")
    left.legend(loc="lower right")
    looks = product((style.ink, style.grey), ("-", "--", ":", "-."))  # enough for eight pairs
    for (names, values), (colour, dash) in zip(distances.items(), looks, strict=False):
        right.plot(TIMES, values, dash, color=colour, label=" and ".join(names))
    draw_distance(right)
    right.legend(title="drops told apart")
    return style.pixels(figure, style.STILL)
