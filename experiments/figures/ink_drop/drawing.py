"""How particles, densities, entropies and distances are drawn, in the picture and in the film; and the picture."""

from itertools import product

import numpy as np

from experiments.figures import style
from experiments.figures.entropy import plane
from experiments.figures.ink_drop.motion import MAXIMUM, TIMES, TRAILS, Motion

SHOWN = np.array([0, 7, 10, 16, 40])  # of TIMES: t = 0, 0.03, 0.06, 0.16, 1
PARTICLES = 400  # drawn
VIEW = (-2.7, 2.7, -2.7, 2.7)
LEVELS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56)  # of densities, ink for an area of 1
NAMED = (0.01, 0.08, 0.64)  # of LEVELS, in the keys


def draw_particles(axes, x: np.ndarray, colour: str, tails: np.ndarray | None = None) -> None:
    """Particles [n, 2], and of the first ones where they came from: tails [places, TRAILS, 2]."""
    style.bare(axes, VIEW)
    axes.scatter(*x[TRAILS:PARTICLES].T, s=4, color=colour, alpha=0.6, linewidths=0)
    if tails is not None:
        for i in range(TRAILS):
            axes.plot(*tails[:, i].T, color=style.ink, linewidth=0.7)
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


def still(
    name: str, forth: Motion, back: Motion, densities: dict[str, list[np.ndarray]], bits: np.ndarray, distances
) -> np.ndarray:
    """`densities` of all drops at TIMES, by name; `name` is the one whose particles spread and are brought back."""
    others = [drop for drop in densities if drop != name]
    names = [f"the {name} spreads,\nleft to right", "its density", *(f"the {drop}'s\ndensity" for drop in others),
             "the model, backward,\nright to left"]  # fmt: skip
    figure = style.figure(height=2.6 + 1.6 * len(names))
    above, below = figure.subfigures(2, 1, height_ratios=[0.7 * len(names), 1])
    axes = above.subplots(len(names), len(SHOWN))
    for column, i in enumerate(SHOWN):
        axes[0, column].set_title(f"t = {TIMES[i]:.2g}")
        draw_particles(axes[0, column], forth.x[i], style.blue)
        draw_particles(axes[-1, column], back.x[i], style.orange)
    for row, label in enumerate(names):
        axes[row, 0].set_ylabel(label)
    for row, drop in enumerate([name, *others], 1):
        for column, i in enumerate(SHOWN):
            shades = draw_density(axes[row, column], densities[drop][i], style.blue if row == 1 else style.green)
        key_of_density(above, shades, ax=axes[row], aspect=14, pad=0.01).set_label("ink per unit of area")

    left, right = below.subplots(1, 2)
    draw_entropy(left, bits)
    left.plot(TIMES[::2], forth.bits[::2], "o", color=style.blue, markersize=5, label="particles, forward")
    left.plot(TIMES[::2], back.bits[::2], "x", color=style.orange, markersize=5, label="samples, backward")
    left.legend(loc="lower right")
    looks = product((style.ink, style.grey), ("-", "--", ":", "-."))  # enough for eight pairs
    for (pair, values), (colour, dash) in zip(distances.items(), looks, strict=False):
        right.plot(TIMES, values, dash, color=colour, label=" and ".join(pair))
    draw_distance(right)
    right.legend(title="drops told apart")
    return style.pixels(figure, style.STILL)
