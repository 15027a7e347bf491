"""How the space of features is drawn, in the picture and in the film; and the picture."""

import numpy as np

from diffjax.data.gaussians import AXES
from experiments.figures import style
from experiments.figures.feature_space.measures import (
    BETWEEN,
    HALF,
    NOISE,
    Field,
    Way,
    is_neither,
    is_winged,
    places,
    plausibility,
)

LABEL = {"facecolor": style.paper, "edgecolor": "none", "pad": 1.0, "alpha": 0.85}  # behind words among points
LOW, HIGH = -60.0, 620.0  # cm of wing span, of the view in space
MARKED = ((171.0, 74.0), (196.0, 60.0), (150.0, 112.0))  # people whose plausibility is said


def plane(axes, space) -> None:
    corners = places(space, 2)
    axes.set(xlim=corners[0, :, 0], ylim=corners[:, 0, 1], xlabel=AXES[0], ylabel=AXES[1])


def shortened(score: np.ndarray) -> np.ndarray:
    """Scores [..., 2] with the roots of their lengths: else the longest would cover others, the shortest vanish."""
    return score / np.sqrt(np.maximum(np.linalg.norm(score, axis=-1, keepdims=True), 1e-9))


def scale_of(*fields: Field) -> float:
    """For `draw_field`: in the view's width, so that the longest arrow of these fields ends before the next begins."""
    longest = max(np.linalg.norm(shortened(field.score), axis=-1).max() for field in fields)
    return float(longest * (len(fields[0].score) - 1) / 0.9)


def draw_field(axes, space, levels, field: Field, colour: str, scale: float) -> None:
    grid, roots = places(space, len(field.log_p)), places(space, len(field.score))
    plane(axes, space)
    colours = style.shades(colour)(np.linspace(0.15, 0.6, len(levels)))
    top = max(field.log_p.max(), levels[-1]) + 1
    axes.contourf(grid[..., 0], grid[..., 1], field.log_p, [*levels, top], colors=colours)
    u, v = np.moveaxis(shortened(field.score), -1, 0)
    axes.quiver(roots[..., 0], roots[..., 1], u, v, color=style.ink, scale=scale, scale_units="width", width=0.005)


def draw_samples(axes, source, x: np.ndarray) -> None:
    plane(axes, source.space)
    share = plausibility(source, source.log_density(x))
    axes.scatter(*x.T, c=share, s=7, cmap=style.shades(style.blue), vmin=-0.25, vmax=1, linewidths=0)
    for person in MARKED:
        found = plausibility(source, source.log_density(np.array([person])))[0]
        axes.plot(*person, "D", color=style.orange, markersize=5)
        said = f"{100 * found:.2g} %"
        axes.annotate(said, person, (6, 5), textcoords="offset points", bbox=LABEL)


def draw_clouds(axes, source, x: np.ndarray, turn: float, becomes: np.ndarray | None = None) -> None:
    """Samples in space: people in blue, winged beings in green, what is neither in orange.

    The colours are of what x itself is, or of what it `becomes`. As in a plane, what is not in the view is not drawn:
    in space it would cover the ticks.
    """
    middle, spread = source.mixture.mean[:2], np.sqrt(np.diag(source.mixture.covariance))[:2]
    low, high = np.append(middle - HALF * spread, LOW), np.append(middle + HALF * spread, HIGH)
    inside = np.all((x > low) & (x < high), axis=-1)
    end = x if becomes is None else becomes
    for name, which, colour in (("winged", is_winged(end) & ~is_neither(end), style.green),
                                ("neither", is_neither(end), style.orange),
                                ("people", ~is_winged(end) & ~is_neither(end), style.blue)):  # fmt: skip
        axes.scatter(*x[inside & which].T, s=5, color=colour, alpha=0.6, linewidths=0, depthshade=False, label=name)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(LOW, HIGH))
    axes.set(xlabel=AXES[0], ylabel=AXES[1], xticks=[150, 170, 190], yticks=[50, 100], zticks=[0, 200, 400, 600])
    axes.view_init(elev=14, azim=turn)
    axes.set_box_aspect((1, 1, 1.15), zoom=1.0)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color(style.paper)
    axes.tick_params(pad=-1)
    axes.legend(loc="upper left", markerscale=2.5, handletextpad=0)


def draw_latents(axes, x: np.ndarray) -> None:
    weight = np.linspace(0, 1, len(x))
    axes.axhspan(*BETWEEN, color=style.orange, alpha=0.15, linewidth=0)
    axes.plot(weight, x[:, :, 2], color=style.blue, linewidth=0.6, alpha=0.5)
    axes.text(0.04, np.mean(BETWEEN), "neither", va="center", bbox=LABEL)
    axes.set(xlim=(0, 1), ylim=(-60, 650), xlabel="a person (0) to winged (1)", ylabel=AXES[2])


def still(people, winged, true: Field, learned: Field, levels, x2, x3, between_them: Way) -> np.ndarray:
    source, space = people.experiment.source, people.experiment.method.space
    figure = style.figure(height=6.4)
    above, below = figure.subfigures(2, 1)
    left, middle, right = above.subplots(1, 3, sharey=True)
    draw_samples(left, source, x2)
    left.set_title("sampled people; share of all\nwho are less plausible")
    scale = scale_of(true, learned)
    draw_field(middle, space, levels, true, style.grey, scale)
    draw_field(right, space, levels, learned, style.blue, scale)
    middle.set_title(f"true: density (50, 90, 99, 99.9 %\nof people), score at σ/α = {NOISE:g}")
    right.set_title("learned: the same. Arrows are as\nlong as the score's square root")
    for axes in (middle, right):
        axes.set_ylabel("")

    grid = below.add_gridspec(1, 3, width_ratios=[1.5, 1, 1])
    clouds = below.add_subplot(grid[0], projection="3d")
    draw_clouds(clouds, winged.experiment.source, x3, -60)
    clouds.set_title("samples with a third axis, wing span (cm)")
    line, latents = below.add_subplot(grid[1]), below.add_subplot(grid[2])
    share = np.linspace(0, 1, len(between_them.exact))
    top = between_them.exact.max()
    line.plot(share, (between_them.exact - top) / np.log(10), color=style.grey, label="true")
    line.plot(share, (between_them.log_p - top) / np.log(10), "--", color=style.blue, label="learned")
    line.set(xlabel="people (0) to winged (1)", ylabel="log$_{10}$ density, from its top", xlim=(0, 1))
    line.set_title("density on the straight\nline between the clouds")
    line.legend(loc="lower right")
    draw_latents(latents, between_them.x)
    path = between_them.x[:, between_them.middle, 2]
    latents.plot(np.linspace(0, 1, len(path)), path, color=style.ink)
    latents.set_title("what latents between\ntwo latents become")
    return style.pixels(figure, style.STILL)
